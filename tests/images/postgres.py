"""PostgreSQL from Debian's packages, on a unix socket: what an example's container is given as its database."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.images.container import wait_for
from tests.local import need


@contextmanager
def postgres() -> Iterator[Path]:
    """Run a server with a user `owner` whom it trusts; yield the folder of its socket."""
    need("pg_ctlcluster", package="postgresql")
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # not below pytest's, which only its owner may enter
    other = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
    folder.chmod(0o755)
    data = folder / "data"
    setup = [programs / "initdb", "-D", data, "-U", "owner", "--auth=trust", "--no-sync", "--locale=C.UTF-8"]
    subprocess.run([*other, *setup], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    serve = [programs / "postgres", "-D", data, "-k", folder, "-h", "", "-F"]
    with (folder / "log").open("wb") as log, subprocess.Popen([*other, *serve], stderr=log, cwd=folder) as process:
        try:
            ready = [programs / "pg_isready", "-q", "-h", folder, "-U", "owner"]
            wait_for(lambda: subprocess.run(ready).returncode == 0, "PostgreSQL", (folder / "log").read_text)
            yield folder
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(folder)
