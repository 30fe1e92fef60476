#!/bin/bash
# slim-arm64.sh OUT X.Y SUITE: root file system (tar) standing in for python:X.Y-slim-SUITE on linux/arm64: the files of
# Debian's own pythonX.Y and what it needs, unpacked and not configured, because every script of a package would run
# emulated (13 minutes where this takes one). For proving that one index holds several platforms.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/glibc-common.sh"
OUT=$1 PYTHON=$2
ROOT=$WORK/root
ARCHITECTURE=arm64 VARIANT=extract make_debian "$3" "$ROOT" base-files base-passwd bash ca-certificates coreutils dash \
    grep sed tar tzdata "python$PYTHON" python3-pip-whl
cp "$ROOT/usr/share/base-passwd/passwd.master" "$ROOT/etc/passwd"
cp "$ROOT/usr/share/base-passwd/group.master" "$ROOT/etc/group"
cat "$ROOT"/usr/share/ca-certificates/mozilla/*.crt >"$ROOT/etc/ssl/certs/ca-certificates.crt"
[ -e "$ROOT/usr/bin/sh" ] || ln -s dash "$ROOT/usr/bin/sh"

# /usr/local as a virtual environment of it, as in slim-debian.sh, made by hand: nothing here is run.
SITE=$ROOT/usr/local/lib/python$PYTHON/site-packages
mkdir -p "$SITE" "$ROOT/usr/local/bin"
python3 -m zipfile -e "$ROOT"/usr/share/python-wheels/pip-*.whl "$SITE"
printf 'home = /usr/bin\ninclude-system-site-packages = false\n' >"$ROOT/usr/local/pyvenv.cfg"
for name in python python3 "python$PYTHON"; do ln -s "/usr/bin/python$PYTHON" "$ROOT/usr/local/bin/$name"; done
printf '#!/bin/sh\nexec /usr/local/bin/python3 -m pip "$@"\n' >"$ROOT/usr/local/bin/pip"
chmod +x "$ROOT/usr/local/bin/pip"
pack "$ROOT" "$OUT"
