#!/bin/sh
# The image's entry point: what is an argument of the server goes to it, anything else is run.
set -eu
case "${1:-}" in
    "" | -*) exec /start.sh "$@" ;;
esac
exec "$@"
