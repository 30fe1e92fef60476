#!/bin/sh
# For development: as /start.sh, with one worker that is started again whenever the code changes.
set -eu

case $0 in
    */*) root=${0%/*} ;;
    *) root=. ;;
esac
exec "$root/start.sh" --reloading "$@"
