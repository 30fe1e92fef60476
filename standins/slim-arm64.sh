#!/bin/bash
# slim-arm64.sh OUT X.Y SUITE: root file system (tar) standing in for python:X.Y-slim-SUITE on linux/arm64: Debian with
# its own python3, which must be X.Y, and /usr/local a virtual environment of it, as in slim-debian.sh. The machine must
# run arm64's programs (imagematrix/emulation.py). For proving that one index holds several platforms.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/glibc-common.sh"
OUT=$1 PYTHON=$2
ROOT=$WORK/root
ARCHITECTURE=arm64 make_debian "$3" "$ROOT" ca-certificates netbase tzdata "python$PYTHON" "python$PYTHON-venv" \
    python3-pip-whl
chroot "$ROOT" env PYTHONDONTWRITEBYTECODE=1 PATH=/usr/bin:/bin "python$PYTHON" -m venv --symlinks /usr/local
rm -f "$ROOT"/usr/local/bin/[aA]ctivate*
find "$ROOT/usr" -name __pycache__ -prune -exec rm -rf {} +
pack "$ROOT" "$OUT"
