#!/bin/bash
# musl-libs.sh OUT: a folder with what CPython needs beside OpenSSL, built for musl: static zlib, libffi, bzip2, xz,
# SQLite and zstd in include/ and lib/ (static, so that nothing is left for a loader to find), musl's own loader, busybox.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/musl-common.sh"
OUT=$1 SUITES="trixie bookworm"
STAGE=$WORK/stage
mkdir -p "$STAGE"/{include,lib}

zlib() {
    enter_source "$SUITES" zlib
    CFLAGS="-O2 -fPIC" ./configure --static --prefix="$STAGE"
    make -j"$JOBS" libz.a
    make install
}
libffi() { # bookworm's: trixie's upstream tarball comes without a configure script
    enter_source bookworm libffi
    ./configure --build=$TRIPLET --prefix="$STAGE" --libdir="$STAGE/lib" --disable-shared --with-pic \
        --disable-docs --disable-multi-os-directory
    make -j"$JOBS"
    make install
}
bzip2() {
    enter_source "$SUITES" bzip2
    make -j"$JOBS" CC=gcc CFLAGS="-O2 -fPIC -D_FILE_OFFSET_BITS=64" libbz2.a
    cp bzlib.h "$STAGE/include/"
    cp libbz2.a "$STAGE/lib/"
}
xz() {
    enter_source "$SUITES" xz-utils
    ./configure --build=$TRIPLET --prefix="$STAGE" --disable-shared --with-pic \
        --disable-{xz,xzdec,lzmadec,lzmainfo,scripts,doc,nls}
    make -j"$JOBS"
    make install
}
sqlite() {
    enter_source "$SUITES" sqlite3
    BUILD_CC=$HOST_CC ./configure --build=$TRIPLET --prefix="$STAGE" --disable-shared --disable-tcl --disable-readline \
        --enable-fts5 CFLAGS="-O2 -fPIC"
    make sqlite3.c
    gcc -c -O1 -fPIC -DSQLITE_ENABLE_FTS5 -DSQLITE_THREADSAFE=1 sqlite3.c -o sqlite3.o
    ar rcs "$STAGE/lib/libsqlite3.a" sqlite3.o
    cp sqlite3.h src/sqlite3ext.h "$STAGE/include/"
}
zstd() {
    enter_source "$SUITES" libzstd
    make -j"$JOBS" -C lib CC=gcc CFLAGS="-O1 -fPIC" ZSTD_LEGACY_SUPPORT=0 libzstd.a
    cp lib/zstd.h lib/zdict.h lib/zstd_errors.h "$STAGE/include/"
    cp lib/libzstd.a "$STAGE/lib/"
}
# The images get trixie's musl 1.2.5, as Alpine 3.21 and later have; what is compiled uses the machine's musl-dev.
loader() {
    enter_source "$SUITES" musl
    CC=$HOST_CC ./configure --prefix=/usr --disable-static
    make -j"$JOBS" lib/libc.so
    strip --strip-unneeded -o "$STAGE/ld-musl-x86_64.so.1" lib/libc.so
}
busybox() {
    enter_source "$SUITES" busybox
    make HOSTCC=$HOST_CC defconfig
    make -j"$JOBS" CC=gcc HOSTCC=$HOST_CC busybox
    cp busybox "$STAGE/"
}

for library in zlib libffi bzip2 xz sqlite zstd loader busybox; do
    started=$SECONDS
    (
        set -e
        $library
    )
    echo "== $library: $((SECONDS - started)) s"
done
rm -rf "$STAGE/share" "$STAGE"/lib/*.la "$STAGE/lib/pkgconfig"
mv "$STAGE" "$OUT"
