#!/opt/hypercorn/block-signals /bin/sh
# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# For development: like /start.sh, with one worker that is restarted when the code changes.
set -eu

case $0 in
    */*) root=${0%/*} ;;
    *) root=. ;;
esac
set -- --reloading "$@"
# shellcheck source=runtime/start.sh
. "$root/start.sh"
