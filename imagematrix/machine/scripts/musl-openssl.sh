#!/bin/bash
# musl-openssl.sh OUT SUITES: a folder with static OpenSSL for musl (include/, lib/) from the source of the first of
# these Debian suites that gives it: bullseye has 1.1.1, which CPython 3.8 and 3.9 want; trixie 3.5, bookworm 3.0.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/musl-common.sh"
OUT=$1
enter_source "$2" openssl
# -O1 and no ciphers that nobody asks for: half the time. Everything that TLS 1.2, TLS 1.3 and hashlib need stays.
./Configure linux-x86_64 no-shared no-tests no-engine no-idea no-seed no-camellia no-aria no-cast no-bf no-rc2 no-md4 \
    no-whirlpool no-srp no-gost no-cms no-ts -O1 -fPIC --prefix=/usr --libdir=lib --openssldir=/etc/ssl
make -j"$JOBS" build_libs
make install_dev DESTDIR="$WORK/stage"
mv "$WORK/stage/usr" "$OUT"
