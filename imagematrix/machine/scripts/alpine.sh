#!/bin/bash
# alpine.sh OUT X.Y SUITE OPENSSL: root file system (tar) standing in for python:X.Y-alpine: musl, busybox and
# CPython, linked against musl, from the source package pythonX.Y of a Debian suite. No apk; not Alpine Linux.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/musl-common.sh"
. "$(dirname "$0")/alpine-root.sh"
OUT=$1 PYTHON=$2 SUITE=$3
LIBS=$ARTEFACTS/musl-libs
OPENSSL=$ARTEFACTS/musl-openssl-$4
ROOT=$WORK/root

compile() { # configured as the official image's Dockerfile does, less link-time optimisation
    enter_source "$SUITE" "python$PYTHON"
    local options=()
    case $PYTHON in 3.9) ;; *) options+=(--disable-test-modules) ;; esac # new in 3.10
    ./configure --build=$TRIPLET --prefix=/usr/local --enable-shared --enable-loadable-sqlite-extensions \
        --enable-option-checking=fatal --with-openssl="$OPENSSL" --with-ensurepip=install "${options[@]}" \
        OPT="-DNDEBUG -fwrapv -O2 -Wall" CPPFLAGS="-I$LIBS/include" LDFLAGS="-L$LIBS/lib -Wl,--strip-all"
    make -j"$JOBS" EXTRA_CFLAGS=-DTHREAD_STACK_SIZE=0x100000
    # Byte code is thrown away again, as in the official images: have compileall print its help instead.
    make install DESTDIR="$ROOT" COMPILEALL_OPTS=-h
}

tidy() {
    cd "$ROOT/usr/local"
    slim_python .
    sed -i "s,-[IL]$LIBS/[a-z]*,,g; s,-[IL]$OPENSSL/[a-z]*,,g" \
        "lib/python$PYTHON"/_sysconfigdata*.py "lib/python$PYTHON"/config-*/Makefile lib/pkgconfig/*.pc
    ln -sfn python3 bin/python
    ln -sfn python3-config bin/python-config
    ln -sfn pydoc3 bin/pydoc
    [ -e bin/pip ] || ln -s pip3 bin/pip
}

(compile)
(tidy)
fill_root "$ROOT" "$LIBS" "$PYTHON"
# bullseye's CPython brings pip 20.2, which knows no musllinux tag.
case $PYTHON in 3.9) install_pip "$ROOT" ;; esac
pack "$ROOT" "$OUT"
