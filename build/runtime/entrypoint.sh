#!/opt/hypercorn/block-signals /bin/sh
# shellcheck shell=sh
# The image's entry point: arguments that begin with a dash are the server's, anything else is a command to run.
# The first line keeps a stop until the server can act on it, see docs/stopping.md. A command gets its signals as usual.
set -eu

case $0 in
    */*) root=${0%/*} ;;
    *) root=. ;;
esac

# Whether a file is a script for sh with the same first line as this one.
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
# In this very shell: another one would delay the start.
# shellcheck source=/dev/null
. "$script"
