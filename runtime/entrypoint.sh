#!/bin/sh
# The image's entry point: arguments that begin with a dash are the server's, anything else is a command to run.
set -eu

case $0 in
    */*) root=${0%/*} ;;
    *) root=. ;;
esac
case ${1-} in
    "" | -*) exec "$root/start.sh" "$@" ;;
    *) exec "$@" ;;
esac
