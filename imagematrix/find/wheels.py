"""`make lock`: finds the wheels for every Python with uv and writes locks/ and requirements.txt.

Each Python is resolved for every C library and platform of its variants, from wheels only. Its lock has the newest
versions that all of them have. If there are none, each C library gets a lock of its own.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from packaging.version import Version
from uv import find_uv_bin

from imagematrix import cli
from imagematrix.errors import InputError, UserError
from imagematrix.find import attestations
from imagematrix.find.attestations import AttestationError
from imagematrix.matrix.loading import load
from imagematrix.matrix.locks import without_version
from imagematrix.matrix.model import Matrix, Python, Variant
from imagematrix.writing import refuse_links, write_whole

_MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
"""Docker's name of a platform -> uv's, https://docs.astral.sh/uv/reference/cli/#uv-pip-compile--python-platform."""
_LIBCS = {"glibc": "unknown-linux-gnu", "musl": "unknown-linux-musl"}
_ROUNDS = 8
"""Rounds in which platforms may disagree before each C library gets its own lock. So far one was enough."""
_AT_ONCE = 8
"""Runs of uv at the same time; they mostly wait for the network."""
_PINNED = re.compile(
    r"^(?P<name>\S+?)(?:\[\S*\])?==(?P<version>\S+)(?P<hashes>(?: \\\n +--hash=\S+)+)(?:\n +# from (?P<index>\S+))?",
    re.MULTILINE,
)
"""A package in the output of uv."""


@dataclass(frozen=True)
class Pin:
    """The version of a package that uv chose, the hashes of its files, and the index that has them."""

    version: str
    hashes: tuple[str, ...]
    index: str = ""


Pins = dict[str, Pin]


@dataclass(frozen=True)
class Target:
    """What wheels are sought for: a Python, a C library and a platform."""

    python: str
    libc: str
    platform: str

    @property
    def machine(self) -> str:
        """uv's name of the platform with the C library, such as x86_64-unknown-linux-musl."""
        return f"{_MACHINES[self.platform]}-{_LIBCS[self.libc]}"


class NoWheels(Exception):
    """uv found no set of wheels. The text is uv's message."""


def solve(target: Target, requirements: Iterable[str], bounds: Iterable[str] = (), *, offline: bool = False) -> Pins:
    """Return the newest wheels on `target` that satisfy `requirements` within `bounds`.

    `offline` uses only what is in uv's cache. Raises NoWheels if there are none, or if uv chose a release that is too
    old to have the extra.
    """
    command = [find_uv_bin(), "pip", "compile", "-", "--no-config", "--no-progress", "--no-header", "--no-annotate"]
    command += ["--only-binary", ":all:", "--generate-hashes", "--emit-index-annotation", "--no-python-downloads"]
    command += ["--python-version", target.python, "--python-platform", target.machine, *(["--offline"] * offline)]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("\n".join(bounds))
        constraints.flush()
        command += ["--constraints", constraints.name]
        done = subprocess.run(command, input="\n".join(requirements), capture_output=True, text=True)
    if done.returncode or "does not have an extra named" in done.stderr:
        raise NoWheels(done.stderr.strip())
    return {
        found["name"]: Pin(found["version"], tuple(re.findall(r"sha256:\w+", found["hashes"])), found["index"] or "")
        for found in _PINNED.finditer(done.stdout)
    }


def download(target: Target, pins: Pins) -> str:
    """Download the wheels of these pins for `target`, and compare each with the hashes from the index.

    The wheels stay in uv's cache only. Return uv's message if a wheel is missing or has another hash, else nothing.
    """
    with tempfile.TemporaryDirectory(prefix="wheels-") as scratch:
        listed = Path(scratch, "requirements.txt")
        hashes = {name: " ".join(f"--hash={digest}" for digest in pin.hashes) for name, pin in pins.items()}
        listed.write_text("\n".join(f"{name}=={pin.version} {hashes[name]}" for name, pin in pins.items()))
        command = [find_uv_bin(), "pip", "install", "--no-config", "--no-progress", "--only-binary", ":all:"]
        command += ["--no-deps", "--require-hashes", "-r", str(listed), "--target", str(Path(scratch, "wheels"))]
        command += ["--python-version", target.python, "--python-platform", target.machine, "--no-python-downloads"]
        done = subprocess.run(command, capture_output=True, text=True)
    return " ".join((done.stderr.partition("error: ")[2] or done.stderr).split()) if done.returncode else ""


class Resolver:
    """Resolves all variants of one Python and says what is wrong where it cannot."""

    def __init__(self, matrix: Matrix, python: Python, pool: ThreadPoolExecutor) -> None:
        self.matrix, self.python, self.pool = matrix, python, pool
        self.variants = [variant for variant in matrix.variants if variant.python == python]
        self.libcs = sorted({variant.os.libc for variant in self.variants})
        self.failures: list[str] = []
        self.answers: dict[Target, Pins] = {}
        """The last pins of each target."""
        self.distributions: set[str] = set()
        self.attested: set[str] = set()
        """The hashes of all files in the locks, and of those that have an attestation."""

    def locks(self) -> dict[str, str]:
        """Return file name -> contents of this Python's lock or locks; on failure nothing, with `failures` filled."""
        files = {}
        if (pins := self.agreed(self.libcs)) is not None:
            files[f"python{self.python.version}.txt"] = self.contents(self.libcs, pins)
        elif not self.failures:
            for libc in self.libcs:
                if (own := self.agreed([libc])) is not None:
                    files[f"python{self.python.version}-{libc}.txt"] = self.contents([libc], own)
                elif not self.failures:
                    self.failures.append(f"python{self.python.version}: the platforms have no {libc} wheels in common")
        return {} if self.failures else files

    def checked_locks(self) -> dict[str, str]:
        """Return the same, after a download of the wheels that are new to the lock, to compare their hashes.

        Attestations are verified if the index has them. On failure return nothing, with `failures` filled.
        """
        found = self.locks()
        asked = [(target, new) for target, pins in self.answers.items() if (new := self.unknown(target, pins))]
        for target, said in zip(asked, self.pool.map(lambda pair: download(*pair), asked), strict=True):
            if said:
                self.failures.append(f"python{self.python.version} {target[0].libc} {target[0].platform}: {said}")
        try:
            self.attest({digest for _, pins in asked for pin in pins.values() for digest in pin.hashes})
        except AttestationError as error:
            self.failures.append(f"python{self.python.version}: {error}")
        return {} if self.failures else found

    def attest(self, new: set[str]) -> None:
        """Verify the attestations of files whose hashes are new, and note which of all files have one.

        Raises AttestationError.
        """
        pins = {pair for answer in self.answers.values() for pair in answer.items()}
        offers = self.pool.map(lambda pair: attestations.offered(pair[1].index, pair[0]), pins)
        files = {digest: file for offer in offers for digest, file in offer.items()}
        self.distributions = {digest for _, pin in pins for digest in pin.hashes}
        self.attested = self.distributions & files.keys()
        list(self.pool.map(attestations.verify, [files[digest] for digest in sorted(self.attested & new)]))

    def summary(self, locks: Iterable[str]) -> str:
        """Return what `make lock` prints about these locks of this Python."""
        counted = f"attested: {len(self.attested)} of {len(self.distributions)} distributions"
        return f"{', '.join(locks)}; {counted}" if locks else "FAILED"

    def unknown(self, target: Target, pins: Pins) -> Pins:
        """Return the pins that have a hash which is not in the lock on disk."""
        try:
            lock = self.matrix.locks.lock(target.python, target.libc)
        except InputError:
            return pins
        known = {(package.name, package.version): set(package.hashes) for package in lock.packages}
        return {name: pin for name, pin in pins.items() if not known.get((name, pin.version), set()) >= set(pin.hashes)}

    def targets(self, libcs: Sequence[str]) -> list[Target]:
        """Return the targets that need wheels for these C libraries."""
        return [Target(self.python.version, libc, platform) for libc in libcs for platform in self.matrix.platforms]

    def requirements(self, libcs: Sequence[str]) -> list[str]:
        """Return the requirements of all variants with these C libraries."""
        wanted = {
            requirement for variant in self.variants if variant.os.libc in libcs for requirement in variant.requirements
        }
        return sorted(wanted)

    def agreed(self, libcs: Sequence[str]) -> Pins | None:
        """Return pins that all targets have, or None if there are none."""
        bounds: dict[str, str] = {}
        for _ in range(_ROUNDS):
            answers = list(self.pool.map(partial(self.attempt, bounds=tuple(bounds.values())), self.targets(libcs)))
            if self.failures or any(answer is None for answer in answers):
                return None
            versions: dict[str, set[str]] = {}
            merged: Pins = {}
            for answer in answers:
                for name, pin in (answer or {}).items():
                    versions.setdefault(name, set()).add(pin.version)
                    merged[name] = pin
            apart = {name: min(found, key=Version) for name, found in versions.items() if len(found) > 1}
            if not apart:
                return merged
            bounds.update({name: f"{name}<={version}" for name, version in apart.items()})
        return None

    def attempt(self, target: Target, bounds: Sequence[str]) -> Pins | None:
        """Return the pins of one target, or None. A failure without bounds is noted."""
        requirements = self.requirements([target.libc])
        try:
            self.answers[target] = solve(target, requirements, bounds)
            return self.answers[target]
        except NoWheels as error:
            if not bounds:
                self.failures += self.diagnose(target, str(error))
            return None

    def diagnose(self, target: Target, said: str) -> list[str]:
        """Return which extra has no wheel, with variant, package and platform; if it is none, what uv said."""
        variants = [variant for variant in self.variants if variant.os.libc == target.libc]
        base = sorted(
            {requirement for variant in variants for image in variant.image.lineage for requirement in image.packages}
        )
        tags = ", ".join(dict.fromkeys(variant.tag for variant in variants))
        try:
            solve(target, base)
        except NoWheels as error:
            return [f"{tags} {target.platform}: {' '.join(str(error).split())}"]
        lines = []
        for extra in {extra.name: extra for variant in variants for extra in variant.extras}.values():
            try:
                solve(target, [*base, extra.requirement])
            except NoWheels as error:
                cells = ", ".join(dict.fromkeys(variant.tag for variant in variants if extra in variant.extras))
                missing = re.search(r"Wheels are required for `([^`]+)`", str(error))
                lines.append(
                    f"{cells} {target.platform}: no wheel of {missing[1] if missing else extra.package} "
                    f"for the extra {extra.name}; "
                    f"exclude it in {self.matrix.file}, with `until: wheel` and the reason"
                )
        return lines or [f"{tags} {target.platform}: {' '.join(said.split())}"]

    def contents(self, libcs: Sequence[str], pins: Pins) -> str:
        """Return a lock's text: its requirements, then each package with its hashes and what needs it."""
        requirements = self.requirements(libcs)
        roots: dict[str, set[str]] = {name: set() for name in pins}
        exact = [f"{name}=={pin.version}" for name, pin in pins.items()]
        asked = [(libc, requirement) for libc in libcs for requirement in self.requirements([libc])]
        closures = self.pool.map(lambda each: solve(self.targets([each[0]])[0], [each[1]], exact, offline=True), asked)
        for (_, requirement), closure in zip(asked, closures, strict=True):
            for name in closure:
                roots[name].add(without_version(requirement))
        lines = ["# Generated by `make lock` from matrix.yaml; do not edit.", f"# python: {self.python.version}"]
        lines += [f"# requirement: {requirement}" for requirement in requirements]
        for name, pin in sorted(pins.items()):
            hashes = sorted(pin.hashes)
            lines += [f"{name}=={pin.version} \\", *(f"    --hash={digest} \\" for digest in hashes[:-1])]
            lines += [f"    --hash={hashes[-1]}", f"    # for {', '.join(sorted(roots[name]))}"]
        return "\n".join(lines) + "\n"


def needless(matrix: Matrix, variants: Iterable[Variant]) -> list[str]:
    """Return a line for each exclusion `until: wheel` for which all wheels are there."""
    chosen = {variant.name for variant in variants}
    lines = []
    for exclusion in matrix.exclusions:
        covered = [
            (variant, dropped.extra)
            for variant in matrix.variants
            for dropped in variant.dropped
            if dropped.exclusion is exclusion
        ]
        if not exclusion.until_wheel or not {variant.name for variant, _ in covered} & chosen:
            continue
        asked = {
            (Target(variant.python.version, variant.os.libc, platform), (*variant.requirements, extra.requirement))
            for variant, extra in covered
            for platform in matrix.platforms
        }
        if all(_solvable(target, requirements) for target, requirements in sorted(asked, key=str)):
            extras = ", ".join(sorted(exclusion.extras))
            cells = ", ".join(dict.fromkeys(variant.tag for variant, _ in covered))
            lines.append(
                f"{matrix.file}:{exclusion.line}: no longer needed: {extras} has wheels for {cells} on all platforms; "
                "remove this exclusion and run: make lock"
            )
    return lines


def _solvable(target: Target, requirements: Iterable[str]) -> bool:
    try:
        solve(target, requirements)
    except NoWheels:
        return False
    return True


def tooling(repository: Path) -> str:
    """Return requirements.txt: the tools of this repository, for every Python and machine of its maintainers."""
    command = [find_uv_bin(), "pip", "compile", "pyproject.toml", "--no-config", "--no-progress", "--universal"]
    command += ["--generate-hashes", "--group", "test", "--python-version", "3.10", "--no-python-downloads"]
    # With extras: pip 23.2, which Debian has, finds no pin for `pydantic[email]` in a lock that says `pydantic`.
    command += ["--no-strip-extras", "--custom-compile-command", "make lock"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository)
    if done.returncode:
        raise UserError(f"requirements.txt: {' '.join(done.stderr.split())}")
    return done.stdout


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return the exit status."""
    parser = cli.parser("Resolve the wheels of every Python and write locks/, with the tooling's requirements.txt.")
    parser.add_argument("--dry-run", action="store_true", help="say which locks would change and write nothing")
    arguments = parser.parse_args(argv)
    matrix = load(arguments.root)
    variants = cli.select(matrix, arguments)
    files: dict[Path, str] = {}
    failures: list[str] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for python in dict.fromkeys(variant.python for variant in variants):
            resolver = Resolver(matrix, python, pool)
            locks = resolver.checked_locks()
            print(f"python {python.version}: {resolver.summary(locks)}", flush=True)
            failures += resolver.failures
            files.update({matrix.locks.folder / name: text for name, text in locks.items()})
    for line in needless(matrix, variants):
        print(line)
    removed = leftover(matrix, files, everything=not cli.filtered(arguments))
    if not cli.filtered(arguments) and (arguments.root / "pyproject.toml").exists():
        try:
            files[arguments.root / "requirements.txt"] = tooling(arguments.root)
        except UserError as error:
            failures.append(str(error))
    _write(arguments.root, files, removed, arguments.dry_run)
    if failures:
        raise UserError("\n".join(failures) + "\nthese locks stay as they were; all others are written")
    return 0


def leftover(matrix: Matrix, files: Iterable[Path], *, everything: bool) -> set[Path]:
    """Return the locks of the other kind (one for all, one for each C library) of the Pythons that have new ones.

    With `everything` also those of Pythons that are no longer in the matrix.
    """

    def version(path: Path) -> str:
        return path.stem.removeprefix("python").partition("-")[0]

    old = set(matrix.locks.folder.glob("python*.txt")) - set(files)
    gone = {version(path) for path in old} - {python.version for python in matrix.pythons} if everything else set()
    return {path for path in old if version(path) in gone | {version(path) for path in files}}


def _write(repository: Path, files: dict[Path, str], removed: Iterable[Path], dry_run: bool) -> None:
    """Write what differs, each file whole, and remove what is not needed any more."""
    refuse_links(repository / "locks", "")
    for path in sorted(removed):
        print(f"{path.relative_to(repository)}: {'would be ' * dry_run}removed")
        if not dry_run:
            path.unlink()
    for path, text in files.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        print(f"{path.relative_to(repository)}: {'would be ' * dry_run}written")
        if not dry_run:
            write_whole(path, text.encode())


if __name__ == "__main__":
    cli.run(main)
