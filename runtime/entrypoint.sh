#!/opt/hypercorn/block-signals /bin/sh
# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# The image's entry point: arguments that start with a dash go to the server, anything else is run as a command.
# The first line blocks a stop until the server can handle it, see docs/stopping.md. A command gets signals as usual.
set -eu

case $0 in
    */*) root=${0%/*} ;;
    *) root=. ;;
esac

# Tell whether a file is a shell script with the same first line as this one.
is_start_script() {
    [ -f "$1" ] && [ -r "$1" ] && IFS= read -r line <"$1" && [ "$line" = "#!/opt/hypercorn/block-signals /bin/sh" ]
}

case ${1-} in
    "" | -*) script=$root/start.sh ;;
    *)
        is_start_script "$1" || exec "$root/opt/hypercorn/unblock-signals" /usr/bin/env "$@"
        script=$1
        shift
        ;;
esac
# Sourced, because a second shell would delay the start.
# shellcheck source=/dev/null
. "$script"
