#!/bin/sh
# The image's default command: run the prestart script if there is one, then the server, in this very process, so that it
# gets the container's signals. Arguments are arguments of the server. How: /opt/hypercorn/hypercorn_image.
set -eu
trap 'exit 0' TERM INT # until the server takes over

case $0 in
    */*) root=${0%/*} ;;
    *) root=. ;;
esac
code=$root/opt/hypercorn
python=$(command -v python || command -v python3) || {
    echo "hypercorn-image: error: there is no python in PATH=$PATH" >&2
    exit 1
}
set -- "$python" "$code/serve.py" "$@"

prestart=${PRE_START_PATH:-/app/prestart.sh}
if [ -e "$prestart" ]; then
    exec "$python" -IS "$code/hypercorn_image/prestart.py" "$prestart" "$@"
fi
exec "$@"
