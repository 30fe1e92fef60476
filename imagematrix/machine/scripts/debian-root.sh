#!/bin/bash
# debian-root.sh OUT SUITE: root file system (tar) of a Debian suite, as small as debian:SUITE-slim, with the shared
# libraries that CPython's modules want and the certificates, as python:X.Y-slim-SUITE has them.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/glibc-common.sh"
OUT=$1 SUITE=$2
packages=(ca-certificates netbase tzdata libbz2-1.0 libexpat1 libffi8 liblzma5 libncursesw6 libnsl2 libsqlite3-0 libuuid1
    zlib1g)
case $SUITE in
bookworm) packages+=(libssl3 libreadline8) ;;
*) packages+=(libssl3t64 libreadline8t64) ;; # Debian 13 renamed what depends on the size of time_t
esac
make_debian "$SUITE" "$WORK/root" "${packages[@]}"
pack "$WORK/root" "$OUT"
