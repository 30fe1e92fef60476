#!/bin/bash
# debian-package.sh OUT SUITE PACKAGE: a folder with the files of one binary package of a Debian suite, not installed.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
(
    flock 9
    private_apt "$2" deb get update -qq
    private_apt "$2" deb get download -qq "$3"
) 9>"$CACHE/apt.lock"
dpkg-deb -x ./*.deb "$WORK/files"
mv "$WORK/files" "$1"
