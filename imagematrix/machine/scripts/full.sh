#!/bin/bash
# full.sh OUT X.Y SUITE: root file system (tar) standing in for python:X.Y-SUITE: the slim stand-in and the packages of
# buildpack-deps (https://github.com/docker-library/buildpack-deps, its Dockerfiles curl, scm and the last one), and the three that python's Dockerfile
# adds to them.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
OUT=$1
ROOT=$WORK/root
mkdir "$ROOT"
tar xf "$(packed_root "slim-$2-$3")" -C "$ROOT" --numeric-owner
packages=(
    ca-certificates curl gnupg netbase sq wget tzdata
    git mercurial openssh-client subversion procps
    autoconf automake bzip2 default-libmysqlclient-dev dpkg-dev file g++ gcc imagemagick libbz2-dev libc6-dev
    libcurl4-openssl-dev libdb-dev libevent-dev libffi-dev libgdbm-dev libglib2.0-dev libgmp-dev libjpeg-dev libkrb5-dev
    liblzma-dev libmagickcore-dev libmagickwand-dev libmaxminddb-dev libncurses5-dev libncursesw5-dev libpng-dev
    libpq-dev libreadline-dev libsqlite3-dev libssl-dev libtool libwebp-dev libxml2-dev libxslt-dev libyaml-dev make
    patch unzip xz-utils zlib1g-dev
    libbluetooth-dev tk-dev uuid-dev
)
install_all() {
    cp /etc/resolv.conf "$ROOT/etc/resolv.conf"
    mount -t proc proc "$ROOT/proc"
    mount --rbind /dev "$ROOT/dev"
    printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d" # start no service in a folder
    chmod +x "$ROOT/usr/sbin/policy-rc.d"
    chroot "$ROOT" apt-get update -q
    chroot "$ROOT" apt-get install -y -q --no-install-recommends "${packages[@]}"
    rm -rf "$ROOT"/var/lib/apt/lists/* "$ROOT"/var/cache/apt/*.bin "$ROOT"/var/cache/apt/archives/*.deb \
        "$ROOT/etc/resolv.conf" "$ROOT/usr/sbin/policy-rc.d"
}
export ROOT
export -f install_all
# In a mount namespace of its own: whatever kills it, no mount stays behind.
unshare --mount -- bash -euo pipefail -c "$(declare -p packages); install_all"
pack "$ROOT" "$OUT"
