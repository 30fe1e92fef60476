"""`make upstream`: says which assumption of the runtime would break with the newest releases, and pre-releases.

Runs the tests of this folder on the newest Python that can be had. Exit status 1 if an assumption breaks, 2 if the
packages cannot be had.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from packaging.version import Version
from uv import find_uv_bin

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PACKAGES = ("hypercorn[h3,trio,uvloop]", "aioquic", "uvloop", "trio", "h2", "pytest")
ROUNDS = {"newest": (), "pre-releases": ("--prerelease", "allow")}
DOWNLOADS = 2  # Pythons that are not installed here and are tried


class Failed(Exception):
    """uv could not do it; the message says why."""


def uv(*arguments: str) -> str:
    done = subprocess.run([find_uv_bin(), *arguments], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise Failed(done.stderr.strip())
    return done.stdout


def pythons() -> Iterator[str]:
    """Yield what names a Python to uv: the newest that can be downloaded, then those that are here, newest first."""
    found = json.loads(uv("python", "list", "--all-versions", "--output-format", "json"))
    plain = [one for one in found if one["implementation"] == "cpython" and one["variant"] == "default"]
    plain.sort(key=lambda one: Version(one["version"]), reverse=True)
    yield from [one["key"] for one in plain if not one["path"]][:DOWNLOADS]
    here = {one["path"]: Version(one["version"]) for one in plain if one["path"]}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    here |= {str(path): Version(path.parts[-3]) for path in pyenv.glob("3.*/bin/python")}
    yield from sorted(here, key=lambda path: here[path], reverse=True)


def environment(directory: Path, options: Sequence[str]) -> Path:
    """Make an environment in `directory` on the newest Python with wheels of all packages; return its Python."""
    why = []
    for python in pythons():
        try:
            uv("venv", "--clear", "--python", python, str(directory))
            uv("pip", "install", "--python", str(directory), "--only-binary", ":all:", *options, *PACKAGES)
        except Failed as error:
            why.append(f"{python}: {str(error).splitlines()[-1]}")
            continue
        for line in why:
            print(f"  not on {line}")
        return directory / "bin" / "python"
    raise Failed("\n".join(why))


def installed(python: Path) -> dict[str, str]:
    """Return the version of each package, and of Python, as `python`."""
    found = json.loads(uv("pip", "list", "--python", str(python), "--format", "json"))
    version = subprocess.run([python, "-c", "import platform; print(platform.python_version())"], capture_output=True)
    return {"python": version.stdout.decode().strip(), **{one["name"].lower(): one["version"] for one in found}}


def outcome(python: Path, report: Path) -> dict[str, list[str]]:
    """Run the tests; return for each assumption how its tests failed: the last line of each."""
    command = [python, "-m", "pytest", "-q", "-c", HERE / "pytest.ini", "--confcutdir", HERE, f"--junitxml={report}"]
    command += ["-p", "no:cacheprovider", "--ignore", HERE / "test_newest.py", HERE]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if not report.exists():
        raise Failed(done.stdout + done.stderr)
    failed: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        names = [one.get("value", "") for one in case.iter("property") if one.get("name") == "assumption"]
        problems = [one.get("message", "") for one in (*case.iter("failure"), *case.iter("error"))]
        for name in names or ([str(case.get("name"))] if problems else []):
            failed.setdefault(name, []).extend(problems)
    return failed


def assumptions() -> dict[str, Any]:
    """Return the table of the runtime's module."""
    spec = spec_from_file_location("upstream", ROOT / "runtime/opt/hypercorn/hypercorn_image/upstream.py")
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.ASSUMPTIONS)


def main() -> int:
    """Run every round and print what holds; return the exit status."""
    table, broken = assumptions(), 0
    for name, options in ROUNDS.items():
        print(f"{name}:")
        with tempfile.TemporaryDirectory(prefix="upstream-") as directory:
            try:
                python = environment(Path(directory) / "venv", options)
                versions = installed(python)
                failed = outcome(python, Path(directory) / "report.xml")
            except Failed as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
        for assumption in sorted({*table, *failed}):
            package = table[assumption].package if assumption in table else "runtime"
            problems = failed.get(assumption, ["it has no test"])
            broken += bool(problems)
            said = f"BREAKS: {problems[0].splitlines()[0]}" if problems else "holds"
            print(f"  {package} {versions.get(package, '')}  {assumption}: {said}", flush=True)
            if problems and assumption in table:
                print(f"    without it: {table[assumption].without}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
