#!/bin/sh
# For development: one worker, started again at every change of the code.
set -eu
root=$(dirname -- "$0")
[ "$root" = / ] && root=
exec python "$root/opt/hypercorn/serve.py" --workers 1 "$@"
