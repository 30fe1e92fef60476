"""The matrix as objects: tags, aliases, exclusions, extras, and that one entry adds a Python or an image."""

from __future__ import annotations

import json

import pytest

from imagematrix.matrix.model import Matrix
from tests.conftest import Repository, locked

FIRST = '  - python: "3.9"\n    extra: trio\n'


def test_every_cell_is_there(matrix: Matrix) -> None:
    assert len(matrix.variants) == 48
    assert len({variant.name for variant in matrix.variants}) == 48
    assert len({variant.target for variant in matrix.variants}) == 48
    assert list(matrix.excluded()) == []


def test_the_order_is_that_of_versions_not_of_letters(matrix: Matrix) -> None:
    assert [python.version for python in matrix.pythons] == [f"3.{minor}" for minor in range(8, 16)]
    assert [variant.tag for variant in matrix.variants][:4] == [
        "python3.8",
        "python3.8-slim",
        "python3.8-alpine",
        "python3.9",
    ]


@pytest.mark.parametrize(
    ("python", "os", "tag"),
    [("3.13", "full", "python3.13"), ("3.13", "slim", "python3.13-slim"), ("3.8", "alpine", "python3.8-alpine")],
)
def test_tags(matrix: Matrix, python: str, os: str, tag: str) -> None:
    variant = matrix.variant("hypercorn", python, os)
    assert variant.tag == tag
    short = tag.removeprefix("python")
    release = variant.base.removeprefix("python:")
    assert variant.lasting_tags == (tag, short, release)
    assert variant.version_tags == (f"{variant.server_version}-{tag}",)
    assert variant.dated_tags("20260102") == (f"{tag}-20260102",)
    assert variant.tags == (*variant.lasting_tags, *variant.version_tags)
    assert variant.references[0] == f"hypercorn/hypercorn:{tag}"
    assert variant.directory == f"hypercorn/{tag}"
    assert variant.target == f"hypercorn-{tag}".replace(".", "-")


def test_aliases_are_the_newest_stable_python(matrix: Matrix) -> None:
    found = {(variant.image.name, alias): variant.tag for variant in matrix.variants for alias in variant.aliases}
    assert found == {
        (image, alias): tag
        for image in ("hypercorn", "hypercorn-fastapi")
        for tag, aliases in {
            "python3.15": ["3"],
            "python3.15-slim": ["3-slim", "latest", "slim"],
            "python3.15-alpine": ["3-alpine", "alpine"],
        }.items()
        for alias in aliases
    }
    latest = matrix.variant("hypercorn", "3.15", "slim")
    assert latest.named_tags == (*latest.lasting_tags, "3-slim", "latest", "slim")


def test_an_eol_python_takes_no_alias(repository: Repository) -> None:
    old = '  "3.15":\n    status: stable'
    repository.edit(old, old.replace("stable", "eol"))
    assert repository.load().variant("hypercorn", "3.14", "slim").aliases == ("3-slim", "latest", "slim")
    assert repository.load().variant("hypercorn", "3.15", "slim").aliases == ()


def test_an_alias_may_name_its_python(repository: Repository) -> None:
    repository.edit("latest: {os: slim}", 'previous: {os: full, python: "3.13"}')
    matrix = repository.load()
    assert matrix.variant("hypercorn", "3.13", "full").aliases == ("previous",)
    assert matrix.variant("hypercorn", "3.15", "slim").aliases == ("3-slim", "slim")


def test_extras_are_dropped_with_their_reason(matrix: Matrix) -> None:
    variant = matrix.variant("hypercorn-fastapi", "3.9", "alpine")
    assert [extra.name for extra in variant.extras] == ["uvloop"]
    assert [dropped.extra.name for dropped in variant.dropped] == ["h3", "trio"]
    assert "no musllinux wheel" in variant.dropped[0].exclusion.reason
    assert [extra.facts for extra in variant.extras] == [{"worker_class": "uvloop"}]
    assert [extra.name for extra in matrix.variant("hypercorn", "3.9", "slim").extras] == ["h3", "uvloop"]
    assert matrix.variant("hypercorn", "3.10", "alpine").dropped == ()


def test_the_first_of_two_exclusions_says_why(repository: Repository) -> None:
    repository.edit(FIRST, f'  - {{python: ["3.9", "3.10"], extra: h3, os: alpine, reason: first}}\n{FIRST}')
    matrix = repository.load()
    assert matrix.variant("hypercorn", "3.9", "alpine").dropped[0].exclusion.reason == "first"
    assert "musllinux" in matrix.variant("hypercorn", "3.8", "alpine").dropped[0].exclusion.reason


def test_packages_are_there_if_and_only_if_something_needs_them(matrix: Matrix) -> None:
    for variant in matrix.variants:
        names = {package.name for package in variant.packages}
        assert "hypercorn" in names
        assert ("fastapi" in names) == (variant.image.name == "hypercorn-fastapi")
        for extra in matrix.extras:
            assert (extra.package in names) == (extra in variant.extras), (variant.name, extra.name)


def test_a_child_installs_what_its_parent_has_not(matrix: Matrix) -> None:
    child = matrix.variant("hypercorn-fastapi", "3.13", "slim")
    parent = matrix.variant("hypercorn", "3.13", "slim")
    own = child.installs(child.image)
    assert "fastapi" in {package.name for package in own}
    assert not {package.name for package in own} & {package.name for package in parent.packages}
    assert {*own, *parent.packages} == set(child.packages)


@pytest.mark.parametrize(
    ("place", "left", "gone"),
    [
        ('python: "3.10"', 42, ("hypercorn", "3.10", "full")),
        ('os: full\n    python: "3.8"', 46, ("hypercorn", "3.8", "full")),
        ('python: ["3.10", "3.11"]\n    os: [full, alpine]', 40, ("hypercorn", "3.11", "alpine")),
        ('python: "3.10"\n    os: slim\n    image: hypercorn', 46, ("hypercorn-fastapi", "3.10", "slim")),
        ('python: "3.10"\n    os: slim\n    image: hypercorn-fastapi', 47, ("hypercorn-fastapi", "3.10", "slim")),
    ],
)
def test_excluded_cells(repository: Repository, place: str, left: int, gone: tuple[str, str, str]) -> None:
    line = repository.edit(FIRST, f"  - {place}\n    reason: because\n{FIRST}")
    matrix = repository.load()
    assert len(matrix.variants) == left
    with pytest.raises(KeyError):
        matrix.variant(*gone)
    excluded = list(matrix.excluded())
    assert len(excluded) == 48 - left
    assert {exclusion.line for *_, exclusion in excluded} == {line}
    assert {exclusion.reason for *_, exclusion in excluded} == {"because"}


def test_a_cell_that_is_excluded_needs_no_base(repository: Repository) -> None:
    repository.edit('full: "python:3.9-trixie", ', "")
    repository.edit(FIRST, f'  - {{python: "3.9", os: full, reason: because}}\n{FIRST}')
    assert len(repository.load().variants) == 46


@pytest.mark.parametrize(
    ("registry", "namespace", "reference"),
    [
        ("docker.io", "hypercorn", "hypercorn/hypercorn:python3.8"),
        ("ghcr.io", "team/web", "ghcr.io/team/web/hypercorn:python3.8"),
        ("localhost:5000", "x", "localhost:5000/x/hypercorn:python3.8"),
    ],
)
def test_references(repository: Repository, registry: str, namespace: str, reference: str) -> None:
    repository.edit("registry: docker.io", f"registry: {registry}")
    repository.edit("namespace: hypercorn", f"namespace: {namespace}")
    assert repository.load().variants[0].references[0] == reference


def test_an_extra_whose_package_is_another_is_refused(repository: Repository) -> None:
    line = repository.edit("package: aioquic", "package: aioquick")
    result = repository.run("--validate")
    assert result.status == 2
    assert result.err.startswith(f"matrix.yaml:{line}: the package aioquick must be installed where the extra h3 is")


QUART = """  hypercorn-quart:
    parent: hypercorn
    title: Hypercorn with Quart
    description: The Hypercorn server and the Quart framework
    packages: ["quart>=0.19"]
"""


def test_a_third_image_is_one_entry_and_a_lock(generated: Repository) -> None:
    generated.edit("  hypercorn-fastapi:\n", QUART + "  hypercorn-fastapi:\n")
    for lock in (generated.root / "locks").iterdir():
        text = lock.read_text(encoding="utf-8").replace(
            "# requirement: hypercorn>=", "# requirement: quart>=0.19\n# requirement: hypercorn>=", 1
        )
        lock.write_text(f"{text}quart==0.20.0 \\\n    --hash=sha256:{'0' * 64}\n    # for quart\n", encoding="utf-8")
    result = generated.run()
    assert result.status == 0, result.err
    matrix = generated.load()
    assert len(matrix.variants) == 72
    variant = matrix.variant("hypercorn-quart", "3.9", "alpine")
    assert variant.references[0] == "hypercorn/hypercorn-quart:python3.9-alpine"
    assert [extra.name for extra in variant.extras] == ["uvloop"]
    folder = generated.build / variant.directory
    lines = (folder / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("FROM ")] == [
        "FROM ${BASE} AS hypercorn-packages",
        "FROM hypercorn-packages AS hypercorn",
        "FROM hypercorn-packages AS hypercorn-quart-packages",
        "FROM hypercorn AS hypercorn-quart",
    ]
    parent = generated.build / "hypercorn/python3.9-alpine/Dockerfile"
    shared = parent.read_text(encoding="utf-8").split("ARG BASE\n")[0].splitlines()
    assert [line for line in shared if not line.startswith("#")] == [
        line for line in lines if not line.startswith("#")
    ][: len([line for line in shared if not line.startswith("#")])]
    requirements = (folder / "requirements.txt").read_text(encoding="utf-8")
    assert [line for line in requirements.splitlines() if "==" in line] == ["quart==0.20.0 \\"]
    bake = json.loads((generated.build / "docker-bake.json").read_text(encoding="utf-8"))
    target = bake["target"]["hypercorn-quart-python3-9-alpine"]
    assert target["dockerfile"] == "build/hypercorn-quart/python3.9-alpine/Dockerfile"
    assert "hypercorn-quart-python3-9-alpine" in bake["group"]["default"]["targets"]
    assert "hypercorn/hypercorn-quart:latest" in bake["target"]["hypercorn-quart-python3-15-slim"]["tags"]


def test_a_new_python_is_one_entry_and_a_lock(generated: Repository) -> None:
    generated.edit(
        "# requirement: what is installed.",
        '  "3.16":\n    status: stable\n    end_of_life: 2032-10-31\n    bases: {full: "python:3.16-trixie",'
        ' slim: "python:3.16-slim-trixie", alpine: "python:3.16-alpine3.24"}\n# requirement: what is installed.',
    )
    result = generated.run()
    assert (result.status, result.err) == (2, "locks/python3.16.txt: is missing; run: make lock\n")
    text = (generated.root / "locks/python3.15.txt").read_text(encoding="utf-8")
    (generated.root / "locks/python3.16.txt").write_text(text.replace("# python: 3.15", "# python: 3.16"))
    result = generated.run()
    assert result.status == 2
    assert "hypercorn:latest on Python 3.15 would go" in result.err
    result = generated.run("--allow-removal")
    assert result.status == 0, result.err
    assert len(generated.load().variants) == 54
    assert generated.load().variant("hypercorn", "3.16", "slim").aliases == ("3-slim", "latest", "slim")
    assert (generated.build / "hypercorn/python3.16-alpine/Dockerfile").is_file()


def test_locked_packages_by_root(repository: Repository) -> None:
    """The helper that other tests make locks with makes what the code reads."""
    text = locked("3.16", ("hypercorn", "1.0", "hypercorn, hypercorn[h3]"), requirements=("hypercorn>=0.17.3",))
    (repository.root / "locks/python3.16.txt").write_text(text, encoding="utf-8")
    found = repository.load().locks.closure("3.16", "glibc", ("hypercorn>=0.17.3",))
    assert [(package.name, package.version) for package in found] == [("hypercorn", "1.0")]
