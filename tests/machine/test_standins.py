"""What the stand-in scripts share. That the stand-ins themselves work is tests/images' business."""

from __future__ import annotations

import subprocess
from pathlib import Path

from imagematrix.cli import ROOT

# An archive whose index for trixie is newer than its files; a private_apt that asks nobody.
SCRIPT = """
. "$1/common.sh"
private_apt() {
    case $1,$4 in
        trixie,source) touch "some.dsc"; return 100 ;;
        *,source) touch some_1.dsc some_1.orig.tar.gz some_1.orig.tar.gz.asc ;;
        *) mkdir -p "$CACHE/apt/$1-$2" ;;
    esac
}
tarball=$(source_tarball "$2" openssl)
echo "${tarball#"$CACHE/"}"
"""


def tarball(cache: Path, suites: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "CACHE": str(cache),
        "ARTEFACTS": str(cache / "artefacts"),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "DEBIAN_ARCHIVE": "http://127.0.0.1/debian",
        "DEBIAN_SECURITY": "http://127.0.0.1/debian-security",
    }
    return subprocess.run(
        ["bash", "-c", SCRIPT, "bash", str(ROOT / "imagematrix/machine/scripts"), suites],
        env=environment,
        capture_output=True,
        text=True,
    )


def test_a_source_that_a_suite_names_and_has_not_comes_from_the_next(tmp_path: Path) -> None:
    done = tarball(tmp_path, "trixie bookworm")
    assert (done.returncode, done.stdout) == (0, "sources/bookworm-openssl/some_1.orig.tar.gz\n"), done.stderr


def test_a_source_that_no_suite_has_ends_the_script_and_is_not_taken_for_whole(tmp_path: Path) -> None:
    for _ in range(2):
        done = tarball(tmp_path, "trixie")
        assert (done.returncode, done.stdout) == (1, "")
        assert not (tmp_path / "sources/trixie-openssl").exists()
