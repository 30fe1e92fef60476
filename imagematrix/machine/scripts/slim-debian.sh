#!/bin/bash
# slim-debian.sh OUT X.Y: root file system (tar) standing in for python:X.Y-slim-trixie with a Python that pyenv does not
# give: Debian unstable with its package pythonX.Y; unstable and not trixie, because the package wants a newer C library.
# /usr/local is a virtual environment of it: so `python` and `pip` are there, pip installs into
# /usr/local/lib/pythonX.Y/site-packages and its --prefix means what it means in the official images, without Debian's
# own layout (dist-packages, externally-managed). Only sys.base_prefix tells.
# Can go when pyenv on the machines that build has that Python.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/glibc-common.sh"
OUT=$1 PYTHON=$2
ROOT=$WORK/root
make_debian sid "$ROOT" ca-certificates netbase tzdata "python$PYTHON" "python$PYTHON-venv" python3-pip-whl
chroot "$ROOT" env PYTHONDONTWRITEBYTECODE=1 PATH=/usr/bin:/bin "python$PYTHON" -m venv --symlinks /usr/local
rm -f "$ROOT"/usr/local/bin/[aA]ctivate*
find "$ROOT/usr" -name __pycache__ -prune -exec rm -rf {} +
pack "$ROOT" "$OUT"
