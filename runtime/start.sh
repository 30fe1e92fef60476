#!/opt/hypercorn/block-signals /bin/sh
# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# The image's default command. Runs the prestart script if there is one, then becomes the server, which gets the
# container's signals as PID 1. The first line blocks a stop until the server can handle it, see docs/stopping.md.
# Arguments go to the server. Its code is in /opt/hypercorn/hypercorn_image.
set -eu

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
    set -- "$python" -IS "$code/hypercorn_image/prestart.py" "$prestart" "$@"
elif [ -n "${PRE_START_PATH-}" ]; then
    echo "hypercorn-image: warning: PRE_START_PATH=$PRE_START_PATH does not exist: no prestart script is run" >&2
fi
exec "$@"
