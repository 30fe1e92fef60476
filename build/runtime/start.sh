#!/bin/sh
# Run the prestart script, then the server in this very process, so that it gets the container's signals.
set -eu
root=$(dirname -- "$0")
[ "$root" = / ] && root=
PRE_START_PATH=${PRE_START_PATH:-/app/prestart.sh}
if [ -f "$PRE_START_PATH" ]; then
    . "$PRE_START_PATH"
fi
exec python "$root/opt/hypercorn/serve.py" "$@"
