"""What `make lock` decides, with a made-up world of wheels in the place of uv and the network."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from imagematrix.errors import UserError
from imagematrix.find import wheels
from imagematrix.find.wheels import NoWheels, Pin, Pins, Resolver, Target, needless
from imagematrix.matrix.locks import read
from tests.conftest import Repository

MUSL = ("musl", "linux/amd64"), ("musl", "linux/arm64")
FIRST = '  - python: "3.9"\n    extra: trio\n'


@dataclass
class World:
    """Which versions of a distribution have wheels, and where not."""

    versions: dict[str, list[str]] = field(
        default_factory=lambda: {
            "hypercorn": ["0.17.3", "0.18.0"],
            "fastapi": ["0.124.0"],
            "aioquic": ["1.2.0", "1.3.0"],
            "trio": ["0.34.0", "0.35.0"],
            "uvloop": ["0.22.0", "0.23.0"],
        }
    )
    absent: set[tuple[str, str, str, str, str]] = field(default_factory=set)  # (name, version, python, libc, platform)
    asked: list[tuple[Target, tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)

    downloaded: list[tuple[Target, str]] = field(default_factory=list)
    other_bytes: set[str] = field(default_factory=set)

    def without(self, name: str, python: str, *places: tuple[str, str], versions: Iterable[str] = ()) -> None:
        for version in versions or self.versions[name]:
            self.absent |= {(name, version, python, *place) for place in places}

    def solve(
        self, target: Target, requirements: Iterable[str], bounds: Iterable[str] = (), *, offline: bool = False
    ) -> Pins:
        requirements, bounds = list(requirements), list(bounds)
        self.asked.append((target, tuple(requirements), tuple(bounds)))
        extras = {"h3": "aioquic", "trio": "trio", "uvloop": "uvloop"}
        parsed = [Requirement(one) for one in requirements]
        names = {one.name for one in parsed} | {extras[extra] for one in parsed for extra in one.extras}
        if "fastapi" not in names or "hypercorn" in names:
            names.add("hypercorn")
        pins = {}
        for name in sorted(names):
            allowed = [one.specifier for one in (*parsed, *map(Requirement, bounds)) if one.name == name]
            found = [
                version
                for version in self.versions[name]
                if all(version in specifier for specifier in allowed)
                and (name, version, target.python, target.libc, target.platform) not in self.absent
            ]
            if not found:
                raise NoWheels(f"Wheels are required for `{name}` because building from source is disabled")
            newest = max(found, key=Version)
            pins[name] = Pin(newest, (f"sha256:{name.encode().hex():0<64}",))
        return pins

    def download(self, target: Target, pins: Pins) -> str:
        self.downloaded += [(target, name) for name in pins]
        return " ".join(f"Hash mismatch for `{name}`" for name in pins if name in self.other_bytes)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(wheels, "solve", made.solve)
    monkeypatch.setattr(wheels, "download", made.download)
    monkeypatch.setattr(wheels, "tooling", lambda repository: "tools\n")
    return made


def resolve(repository: Repository, python: str) -> tuple[dict[str, str], list[str]]:
    matrix = repository.load()
    with ThreadPoolExecutor(2) as pool:
        resolver = Resolver(matrix, next(one for one in matrix.pythons if one.version == python), pool)
        return resolver.locks(), resolver.failures


def pinned(text: str) -> dict[str, str]:
    return dict(line.split(" ")[0].split("==") for line in text.splitlines() if "==" in line and line[0] not in "# ")  # type: ignore[misc]


def test_one_lock_where_all_agree(repository: Repository, world: World) -> None:
    files, failures = resolve(repository, "3.13")
    assert failures == []
    assert list(files) == ["python3.13.txt"]
    assert pinned(files["python3.13.txt"]) == {
        "aioquic": "1.3.0",
        "fastapi": "0.124.0",
        "hypercorn": "0.18.0",
        "trio": "0.35.0",
        "uvloop": "0.23.0",
    }
    assert {target for target, _, bounds in world.asked if not bounds} == {
        Target("3.13", libc, platform) for libc in ("glibc", "musl") for platform in ("linux/amd64", "linux/arm64")
    }


def test_a_lock_can_be_read_and_says_what_each_package_is_for(repository: Repository, world: World) -> None:
    files, _ = resolve(repository, "3.13")
    path = repository.root / "locks/python3.13.txt"
    path.write_text(files["python3.13.txt"], encoding="utf-8")
    made = read(path)
    assert made.python == "3.13"
    assert made.requirements == {
        "fastapi>=0.124",
        "hypercorn>=0.17.3",
        "hypercorn[h3]",
        "hypercorn[trio]",
        "hypercorn[uvloop]",
    }
    assert {package.name: package.roots for package in made.packages} == {
        "aioquic": ("hypercorn[h3]",),
        "fastapi": ("fastapi",),
        "hypercorn": ("hypercorn", "hypercorn[h3]", "hypercorn[trio]", "hypercorn[uvloop]"),
        "trio": ("hypercorn[trio]",),
        "uvloop": ("hypercorn[uvloop]",),
    }
    assert repository.run("--validate").status == 0


def test_platforms_that_disagree_are_brought_to_what_all_have(repository: Repository, world: World) -> None:
    world.without("aioquic", "3.13", ("musl", "linux/arm64"), versions=["1.3.0"])
    world.without("trio", "3.13", ("glibc", "linux/amd64"), versions=["0.35.0"])
    files, failures = resolve(repository, "3.13")
    assert failures == []
    assert list(files) == ["python3.13.txt"]
    versions = pinned(files["python3.13.txt"])
    assert (versions["aioquic"], versions["trio"], versions["uvloop"]) == ("1.2.0", "0.34.0", "0.23.0")


def test_c_libraries_without_a_common_version_get_a_lock_each(repository: Repository, world: World) -> None:
    world.without("uvloop", "3.13", *MUSL, versions=["0.22.0"])
    world.without("uvloop", "3.13", ("glibc", "linux/amd64"), ("glibc", "linux/arm64"), versions=["0.23.0"])
    files, failures = resolve(repository, "3.13")
    assert failures == []
    assert {name: pinned(text)["uvloop"] for name, text in files.items()} == {
        "python3.13-glibc.txt": "0.22.0",
        "python3.13-musl.txt": "0.23.0",
    }


def test_platforms_of_one_c_library_without_a_common_version_fail(repository: Repository, world: World) -> None:
    world.without("uvloop", "3.13", ("musl", "linux/amd64"), versions=["0.22.0"])
    world.without("uvloop", "3.13", ("musl", "linux/arm64"), versions=["0.23.0"])
    files, failures = resolve(repository, "3.13")
    assert files == {}
    assert failures == ["python3.13: the platforms have no musl wheels in common"]


def test_an_extra_without_a_wheel_names_cell_package_and_platform(repository: Repository, world: World) -> None:
    world.without("aioquic", "3.13", ("musl", "linux/arm64"))
    files, failures = resolve(repository, "3.13")
    assert files == {}
    assert failures == [
        "python3.13-alpine linux/arm64: no wheel of aioquic for the extra h3; "
        "exclude it in matrix.yaml, with `until: wheel` and the reason"
    ]


def test_a_package_without_a_wheel_says_what_uv_said(repository: Repository, world: World) -> None:
    world.without("fastapi", "3.13", ("glibc", "linux/amd64"))
    _, failures = resolve(repository, "3.13")
    assert failures == [
        "python3.13, python3.13-slim linux/amd64: "
        "Wheels are required for `fastapi` because building from source is disabled"
    ]


def test_an_excluded_extra_is_not_asked_for(repository: Repository, world: World) -> None:
    files, failures = resolve(repository, "3.9")
    assert failures == []
    assert "trio" not in pinned(files["python3.9.txt"])
    musl = [requirements for target, requirements, _ in world.asked if target.libc == "musl" and len(requirements) > 1]
    assert musl
    assert all("hypercorn[h3]" not in requirements for requirements in musl)


def test_a_python_without_a_wheel_keeps_its_lock_and_others_are_written(repository: Repository, world: World) -> None:
    world.without("aioquic", "3.13", *MUSL)
    before = (repository.root / "locks/python3.13.txt").read_bytes()
    result = repository.run(main=wheels.main)
    assert result.status == 1
    assert "python3.13-alpine linux/amd64: no wheel of aioquic for the extra h3" in result.err
    assert "python3.13-alpine linux/arm64: no wheel of aioquic for the extra h3" in result.err
    assert result.err.endswith("these locks stay as they were; all others are written\n")
    assert "python 3.13: FAILED" in result.out
    assert (repository.root / "locks/python3.13.txt").read_bytes() == before
    assert "fastapi==0.124.0" in (repository.root / "locks/python3.12.txt").read_text()


def test_a_new_hash_is_compared_with_the_download(repository: Repository, world: World) -> None:
    assert repository.run("--python", "3.13", main=wheels.main).status == 0
    assert {target.platform for target, _ in world.downloaded} == {"linux/amd64", "linux/arm64"}
    assert {name for _, name in world.downloaded} == {"aioquic", "fastapi", "hypercorn", "trio", "uvloop"}
    world.downloaded.clear()
    assert repository.run("--python", "3.13", main=wheels.main).status == 0
    assert world.downloaded == [], "the lock has these hashes already"


def test_a_download_with_another_hash_is_not_locked(repository: Repository, world: World) -> None:
    world.other_bytes.add("trio")
    before = (repository.root / "locks/python3.13.txt").read_bytes()
    result = repository.run("--python", "3.13", main=wheels.main)
    assert result.status == 1
    assert "python3.13 glibc linux/amd64: Hash mismatch for `trio`" in result.err
    assert (repository.root / "locks/python3.13.txt").read_bytes() == before


def test_the_lock_of_a_removed_python_goes(repository: Repository, world: World) -> None:
    (repository.root / "locks/python3.7.txt").write_text("old")
    (repository.root / "locks/python3.7-musl.txt").write_text("old")
    assert repository.run("--python", "3.13", main=wheels.main).status == 0
    assert (repository.root / "locks/python3.7.txt").exists(), "a filter leaves the others alone"
    assert "locks/python3.7.txt: removed" in repository.run(main=wheels.main).out
    assert not list((repository.root / "locks").glob("python3.7*"))


def test_an_exclusion_that_is_no_longer_needed_is_said(repository: Repository, world: World) -> None:
    matrix = repository.load()
    (line,) = needless(matrix, matrix.variants)
    exclusion = matrix.exclusions[1]
    assert line.startswith(
        f"matrix.yaml:{exclusion.line}: no longer needed: h3 has wheels for python3.8-alpine, python3.9"
    )
    assert needless(matrix, [matrix.variant("hypercorn", "3.13", "slim")]) == []
    world.without("aioquic", "3.9", ("musl", "linux/arm64"))
    assert needless(matrix, matrix.variants) == [], "one of its cells has no wheel still"


def test_an_exclusion_for_another_reason_is_left_alone(repository: Repository, world: World) -> None:
    matrix = repository.load()
    assert not any("trio" in line for line in needless(matrix, matrix.variants))


def test_locks_are_written_and_those_of_the_other_kind_removed(repository: Repository, world: World) -> None:
    (repository.root / "locks/python3.13-musl.txt").write_text("old")
    dry = repository.run("--dry-run", "--python", "3.13", main=wheels.main)
    assert dry.status == 0, dry.err
    assert "locks/python3.13-musl.txt: would be removed" in dry.out
    assert (repository.root / "locks/python3.13-musl.txt").exists()
    others = (repository.root / "locks/python3.12.txt").read_bytes()
    assert repository.run("--python", "3.13", main=wheels.main).status == 0
    assert not (repository.root / "locks/python3.13-musl.txt").exists()
    assert "fastapi==0.124.0" in (repository.root / "locks/python3.13.txt").read_text()
    assert (repository.root / "locks/python3.12.txt").read_bytes() == others
    assert not (repository.root / "requirements.txt").exists(), "a filter leaves the tools alone"
    assert "written" not in repository.run("--python", "3.13", main=wheels.main).out


def test_no_lock_is_written_through_a_link(repository: Repository, world: World) -> None:
    locks = repository.root / "locks"
    lock = locks / "python3.13.txt"
    lock.rename(locks / "other.txt")
    lock.symlink_to("other.txt")
    before = (locks / "other.txt").read_bytes()
    done = repository.run("--python", "3.13", main=wheels.main)
    says = "python3.13.txt:1: is a symbolic link; nothing is written through it; remove it\n"
    assert (done.status, done.err) == (2, says)
    locks.rename(repository.root / "elsewhere")
    locks.symlink_to("elsewhere")
    done = repository.run("--python", "3.12", main=wheels.main)
    assert (done.status, done.err.startswith("locks:1: is a symbolic link")) == (2, True)
    assert "fastapi==0.124.0" not in (locks / "python3.12.txt").read_text()
    assert (locks / "other.txt").read_bytes() == before


def test_tools_that_cannot_be_resolved_keep_no_lock_from_being_written(
    repository: Repository, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(repository: object) -> str:
        raise UserError("requirements.txt: no solution")

    monkeypatch.setattr(wheels, "tooling", fails)
    (repository.root / "pyproject.toml").touch()
    done = repository.run(main=wheels.main)
    assert (done.status, done.err.splitlines()[0]) == (1, "requirements.txt: no solution")
    assert "fastapi==0.124.0" in (repository.root / "locks/python3.12.txt").read_text()


def test_all_locks_and_the_tools(repository: Repository, world: World) -> None:
    (repository.root / "pyproject.toml").touch()
    result = repository.run(main=wheels.main)
    assert result.status == 0, result.err
    assert (repository.root / "requirements.txt").read_text() == "tools\n"
    assert repository.run("--validate").status == 0
    assert "written" not in repository.run(main=wheels.main).out


def answer(monkeypatch: pytest.MonkeyPatch, returncode: int, out: str, err: str) -> list[list[str]]:
    commands: list[list[str]] = []

    def run(command: list[str], **keywords: Any) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=returncode, stdout=out, stderr=err)

    monkeypatch.setattr(wheels.subprocess, "run", run)
    return commands


def test_what_uv_says_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = [f"sha256:{digit * 64}" for digit in "ab"]
    out = f"hypercorn[h3]==0.18.0 \\\n    --hash={hashes[0]} \\\n    --hash={hashes[1]}\n"
    out += f"    # from https://index.example/simple\nh11==1 \\\n    --hash={hashes[0]}\n"
    commands = answer(monkeypatch, 0, out, "")
    found = wheels.solve(Target("3.8", "musl", "linux/arm64"), ["hypercorn[h3]"])
    hypercorn = Pin("0.18.0", tuple(hashes), "https://index.example/simple")
    assert found == {"hypercorn": hypercorn, "h11": Pin("1", (hashes[0],))}
    (command,) = commands
    said = " ".join(command)
    assert "--only-binary :all:" in said
    assert "--generate-hashes" in said
    assert "--python-version 3.8 --python-platform aarch64-unknown-linux-musl" in said


@pytest.mark.parametrize(
    ("returncode", "err"),
    [
        (1, "  No solution found\n"),
        (0, "warning: The package `hypercorn==0.1` does not have an extra named `h3`"),
    ],
)
def test_a_failure_or_a_release_too_old_for_the_extra_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, returncode: int, err: str
) -> None:
    answer(monkeypatch, returncode, "hypercorn==0.1 \\\n    --hash=sha256:00\n", err)
    with pytest.raises(NoWheels, match=err.strip().replace("`", ".").split("=")[0][:20]):
        wheels.solve(Target("3.8", "musl", "linux/amd64"), ["hypercorn[h3]"])
