"""The commit that is published: that the work tree is one, when files changed, and its files."""

import datetime
import io
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imagematrix.errors import UserError


@dataclass(frozen=True)
class Commit:
    """A commit and its time."""

    revision: str
    time: int

    @property
    def moment(self) -> datetime.datetime:
        """Its time, in UTC."""
        return datetime.datetime.fromtimestamp(self.time, datetime.timezone.utc)


def _git(root: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True)
    except OSError as error:
        raise UserError(f"git is needed to publish: {error}") from None
    if done.returncode:
        raise UserError(f"git {arguments[0]}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def refuse_unless_committed(root: Path) -> None:
    """Raise UserError if the work tree has changes, or the clone is shallow."""
    changed = _git(root, "status", "--porcelain").decode().splitlines()
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise UserError(f"the work tree is dirty ({changed[0][3:]}{more}): commit or stash, then publish")
    if _git(root, "rev-parse", "--is-shallow-repository").strip() == b"true":
        raise UserError("the clone is shallow and does not know when its files changed: git fetch --unshallow")


def last_change(root: Path, paths: Iterable[str]) -> Commit:
    """Return the last commit that changed one of the files or folders, which lie below `root`."""
    revision, _, time = _git(root, "log", "-1", "--format=%H %ct", "--", *paths).decode().strip().partition(" ")
    if not time:
        raise UserError(f"{', '.join(paths)}: in no commit")
    return Commit(revision, int(time))


def export(root: Path, folders: Iterable[str], target: Path) -> None:
    """Write folders of the checked-out commit to `target`, with files that are newer than the commit.

    A build's SOURCE_DATE_EPOCH changes only later times to its own; an older file would keep its time.
    """
    archive = _git(root, "-c", "tar.umask=0022", "archive", "HEAD", "--", *folders)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            member.mtime = int(datetime.datetime.now().timestamp())
            tar.extract(member, target)


def origin(root: Path) -> str:
    """Return the address that the repository was cloned from, without credentials; empty if there is none."""
    try:
        url = _git(root, "remote", "get-url", "origin").decode().strip()
    except UserError:
        return ""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else url
