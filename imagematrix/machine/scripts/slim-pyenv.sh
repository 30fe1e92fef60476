#!/bin/bash
# slim-pyenv.sh OUT X.Y SUITE PREFIX: root file system (tar) standing in for python:X.Y-slim-SUITE: Debian with the
# CPython that pyenv built on this machine under PREFIX, moved to /usr/local.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/glibc-common.sh"
OUT=$1 PYTHON=$2 SUITE=$3 PREFIX=$4
ROOT=$WORK/root
unpack_debian "$SUITE" "$ROOT"

# Neither what was installed into it nor its scripts, which name PREFIX: pip comes again from ensurepip.
rsync -a --exclude='__pycache__' --exclude='/lib/python*/test' --exclude='*.a' --exclude='/share/man' \
    --exclude='/lib/python*/site-packages/*' --exclude='*-gdb.py' "$PREFIX"/{bin,include,lib,share} "$ROOT/usr/local/"
find "$ROOT/usr/local/bin" -type f ! -name 'python*' ! -name 'idle*' ! -name 'pydoc*' ! -name '2to3*' -delete
rm -f "$ROOT"/usr/local/bin/pip*
find "$ROOT/usr/local/bin" -xtype l -delete
grep -rlI --null "$PREFIX" "$ROOT/usr/local" | xargs -0r sed -i "s#$PREFIX#/usr/local#g"
sed -i 's#-Wl,-rpath,/usr/local/lib##g; s#-L/usr/local/lib ##g' "$ROOT/usr/local/lib/python$PYTHON"/_sysconfigdata*.py
find "$ROOT/usr/local" -type f \( -name '*.so*' -o -name "python$PYTHON" \) -print0 |
    while IFS= read -r -d '' file; do
        if readelf -d "$file" | grep -qE 'RUNPATH|RPATH'; then patchelf --remove-rpath "$file"; fi
    done
finish_python "$ROOT" "$PYTHON"
pack "$ROOT" "$OUT"
