"""Every mistake in matrix.yaml is told in one line with its place, ends with status 2 and writes nothing."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagematrix.errors import InputError
from imagematrix.matrix.loading import load
from tests.conftest import REPOSITORY, Repository

MATRIX = (REPOSITORY / "matrix.yaml").read_text(encoding="utf-8")
PLATFORMS = "[linux/amd64, linux/arm64]"
PYTHON_39 = '  "3.9":\n    status: eol\n'
EXTRAS = "extras: [h3, trio, uvloop]"
SERVER = '["hypercorn>=0.17.3"]'
FIRST = '  - python: "3.9"\n    extra: trio\n'
REASON = "trio was never part of the Python 3.9 images, and these are kept as they were published"
LATEST = "latest: {os: slim}"
BASE = '"python:3.9-trixie"'
END = "2025-10-31"

PAGE = "url: https://hub.docker.com/r/hypercorn/hypercorn"


def other(text: str) -> str:
    """One more exclusion before the first."""
    return f"  - {text}\n    reason: because\n{FIRST}"


MISTAKES = {
    # unknown and missing keys
    "unknown key": ("registry:", "regestry:", "regestry is unknown; did you mean registry? allowed: project, registry"),
    "unknown key of a Python": (PYTHON_39, PYTHON_39.replace("status", "statsu"), "pythons.3.9.statsu is unknown; did you"),
    "unknown key of an exclusion": ("    extra: trio\n", "    extras: trio\n", "did you mean extra? allowed: python, os"),
    "missing key": ("registry: docker.io\n", "", "registry is missing"),
    "missing key of a Python": (PYTHON_39, '  "3.9":\n', "pythons.3.9.status is missing"),
    "no reason": (f"    reason: {REASON}\n", "", "exclusions.0.reason is missing"),
    "unknown key of a probe": ("path: /, expect", "pth: /, expect", "probe.pth is unknown; did you mean path? allowed: port, path, e"),
    # wrong types
    "number for a text": ("registry: docker.io", "registry: 1", 'registry: 1 is read as a number; write it in quotes: "1"'),
    "mapping for a text": ("registry: docker.io", "registry: {}", "registry must be text, not a mapping"),
    "text for a list": (PLATFORMS, "linux/amd64", "platforms must be a list; write it in brackets: ['linux/amd64']"),
    "text for a mapping": (LATEST, "latest: slim", "aliases.latest must be a mapping (key: value), not 'slim'"),
    "list for a mapping": (LATEST, "latest: [slim]", "aliases.latest must be a mapping (key: value), not a list"),
    "nothing for a text": ("registry: docker.io", "registry:", "registry: nothing stands behind it"),
    "nothing for a list": (f"    {EXTRAS}", "    extras:", "images.hypercorn.extras: nothing stands behind it"),
    "nothing for a choice": ('  - python: "3.9"\n', "  - python:\n", "exclusions.0.python: nothing stands behind it"),
    "empty list": (PLATFORMS, "[]", "platforms must not be empty"),
    "empty choice": ('python: "3.9"', "python: []", "exclusions.0.python must not be empty"),
    "boolean for a status": (PYTHON_39, '  "3.9":\n    status: no\n', "must be 'prerelease', 'stable' or 'eol', not no"),
    "wrong status": (PYTHON_39, '  "3.9":\n    status: EOL\n', "must be 'prerelease', 'stable' or 'eol', not 'EOL'"),
    "a date that is none": (END, "2025-13-31", "2025-13-31 is no date"),
    "a date written otherwise": (END, "31.10.2025", "must be a date as YYYY-MM-DD, not '31.10.2025'"),
    "a time": (END, "2025-10-31 10:00:00", "must be a date as YYYY-MM-DD, not 2025-10-31 10:00:00"),
    "a year": (END, "2025", "must be a date as YYYY-MM-DD, not 2025"),
    "enormous number": ("docker.io", "0x" + "f" * 5000, "is read as a number"),
    # the project
    "a project without a name": ("  name: hypercorn-images\n", "", "project.name is missing"),
    "a project's name for a path": ("name: hypercorn-images", "name: ../x", "'../x' is not a project's name"),
    "an address that is none": (PAGE, "url: the page", "'the page' is not an address such as https://"),
    "a license that is none": ("licenses: MIT", "licenses: free", "'free' is not an expression of SPDX licenses"),
    # versions as floats
    "float key": ('"3.10":', "3.10:", 'the key 3.10 is read as a number (3.1); write it in quotes: "3.10"'),
    "float value": ('python: "3.9"', "python: 3.10", 'exclusions.0.python: 3.10 is read as a number (3.1); write it in'),
    "float in a list": ('["3.8", "3.9"]', '[3.8, "3.9"]', "exclusions.1.python.0: 3.8 is read as a number; write it"),
    "float of an alias": (LATEST, "latest: {os: slim, python: 3.14}", "aliases.latest.python: 3.14 is read as a number"),
    # texts that are not what they should be
    "Python with a patch": ('"3.15":', '"3.15.1":', "'3.15.1' is not a Python version such as 3.13"),
    "Python with a zero": ('"3.15":', '"3.015":', "'3.015' is not a Python version such as 3.13"),
    "Python with a word": ('"3.15":', "python3.15:", "'python3.15' is not a Python version such as 3.13"),
    "base without a tag": (BASE, "python", "'python' is not an image with a tag such as python:3.13-slim-trixie"),
    "registry as address": ("docker.io", "https://docker.io", "is not a registry such as docker.io"),
    "namespace in capitals": ("namespace: hypercorn", "namespace: Hypercorn", "is not a namespace such as team"),
    "image in capitals": ("hypercorn-fastapi:", "hypercorn-FastAPI:", "is not a name: allowed are lower-case letters"),
    "unknown platform": ("linux/amd64", "linux/amd46", "must be 'linux/amd64' or 'linux/arm64', not 'linux/amd46'"),
    "wrong libc": ("libc: musl", "libc: muslc", "must be 'glibc' or 'musl', not 'muslc'"),
    "suffix without a dash": ("suffix: -slim", "suffix: slim", "'slim' is not a suffix such as -slim (or empty)"),
    "not a requirement": (SERVER, '["hypercorn=>1"]', "'hypercorn=>1' is not a requirement such as uvicorn>=0.30:"),
    "requirement by URL": (SERVER, '["hypercorn @ https://a.b/c.whl"]', "a requirement by URL cannot be locked"),
    "package in capitals": ("package: trio", "package: Trio", "'Trio' is not a distribution such as uvicorn"),
    "alias with a space": (LATEST, '"lat est": {os: slim}', "'lat est' is not a tag"),
    "empty reason": (f"reason: {REASON}", 'reason: ""', "must be one line of text that is not empty"),
    "reason over lines": (f"reason: {REASON}", "reason: |\n      a\n      b", "must be one line of text"),
    "reason with an escape": (f"reason: {REASON}", 'reason: "a\\e[31m"', "must be one line of text"),
    # names nobody defined
    "unknown base OS": (f"full: {BASE}", f"ful: {BASE}", "'ful' is no os of this matrix; did you mean full? allowed: full,"),
    "unknown parent": ("parent: hypercorn", "parent: hypercron", "'hypercron' is no image of this matrix; did you mean"),
    "unknown extra": (EXTRAS, "extras: [h3, tri0, uvloop]", "'tri0' is no extra of this matrix; did you mean trio?"),
    "unknown Python excluded": ('python: "3.9"', 'python: "3.7"', "'3.7' is no Python of this matrix; allowed: 3.8, 3.9"),
    "unknown OS excluded": ("os: alpine\n", "os: debian\n", "'debian' is no os of this matrix; allowed: full, slim, alpine"),
    "unknown image excluded": (FIRST, other("image: flask"), "'flask' is no image of this matrix"),
    "unknown OS of an alias": (LATEST, "latest: {os: slimm}", "'slimm' is no os of this matrix; did you mean slim?"),
    "unknown Python of an alias": (LATEST, 'latest: {os: slim, python: "3.7"}', "'3.7' is no Python of this matrix"),
    # twice
    "key twice": (PYTHON_39, PYTHON_39 + "    status: eol\n", "status is there twice; the first is on line"),
    "image twice": ("  hypercorn-fastapi:", "  hypercorn:", "hypercorn is there twice; the first is on line"),
    "extra twice": (EXTRAS, "extras: [h3, h3, trio, uvloop]", "h3 is listed twice"),
    "inherited extra": ('["fastapi>=0.124"]', '["fastapi>=0.124"]\n    extras: [h3]', "h3 comes from the parent already"),
    "package twice": (SERVER, '["hypercorn>=0.17.3", "hypercorn>=0.17.3"]', "hypercorn>=0.17.3 is listed twice"),
    "platform twice": (PLATFORMS, "[linux/amd64, linux/amd64]", "linux/amd64 is listed twice"),
    "Python twice in a list": ('["3.8", "3.9"]', '["3.8", "3.9", "3.9"]', "3.9 is listed twice"),
    "two extras of one package": ("package: trio", "package: uvloop", "uvloop is the package of trio already"),
    "two extras with one fact": ("worker_class: trio", "worker_class: uvloop", "uvloop is the worker_class of trio already"),
    "two variants with one tag": ("suffix: -slim", 'suffix: ""', "two variants with one tag: hypercorn:python3.8 (line"),
    "alias that is a tag": (LATEST, "python3.8-slim: {os: slim}", "two variants with one tag: python3.8-slim is the tag"),
    "alias like a dated tag": (LATEST, "python3.8-slim-20261122: {os: slim}", "looks like a dated or version tag of"),
    "alias like a version tag": (LATEST, "0.18.0-python3.14-slim: {os: slim}", "looks like a dated or version tag of"),
    "alias like a tag of another Python": (LATEST, "3.14-slim: {os: slim}", "names Python 3.14, but it would point at 3.15"),
    "tag twice": ('"{python}{os}"', '"{tag}-{day}"', "{tag}-{day} is listed twice"),
    "tag with an unknown part": ('"{python}{os}"', '"{pyton}{os}"', "{pyton} is unknown; did you mean python? allowed: tag"),
    "tag that is none": ('"{python}{os}"', '"{python} {os}"', "'{python} {os}' is not a tag: allowed are letters"),
    "tag without an OS": ('"{server}-{tag}"', '"{python}"', "two variants with one tag: hypercorn:python3.8 (line"),
    "tag without a Python": ('"{server}-{tag}"', '"{server}{os}"', "two variants with one tag: hypercorn:python3.8 (line"),
    "tag like a version tag": ('"{python}{os}"', '"1-{tag}"', "1-python3.8 looks like a dated or version tag of python3.8"),
    # what does not fit together
    "parent of itself": ("parent: hypercorn", "parent: hypercorn-fastapi", "an image cannot be its own ancestor: hypercorn-f"),
    "no base": (f"full: {BASE}, ", "", "Python 3.9 has no base for full: name the official image, or exclude the cell"),
    "no server": (SERVER, '["uvicorn>=0.1"]', "hypercorn does not install the server: add hypercorn"),
    "no lower bound": (SERVER, "[hypercorn]", "hypercorn needs a lower bound, such as hypercorn>=0.17.3: without one a"),
    "upper bound only": (SERVER, '["hypercorn<1"]', "hypercorn needs a lower bound, such as hypercorn>=0.17.3"),
    "extra of no image": (EXTRAS, "extras: [h3, uvloop]", "no image has the extra trio; add it to one or remove it here"),
    "exclusion of nothing": (FIRST, other('python: "3.9"\n    extra: trio'), "this exclusion matches nothing that is in"),
    "exclusion without a place": (FIRST, f"  - reason: because\n{FIRST}", "an exclusion must name a python, an os, an"),
    "exclusion of a child's layer": (FIRST, other("image: hypercorn-fastapi\n    extra: uvloop"), "has uvloop from hypercorn"),
    "wheel without an extra": (FIRST, other('python: "3.10"\n    until: wheel'), "only the exclusion of an extra can end"),
    "until something else": ("    until: wheel", "    until: 2027-01-01", "must be 'wheel', not 2027-01-01"),
    "free-threaded Python": ('"3.15":', '"3.14t":', "3.14t is a free-threaded Python, which needs wheels of its own; write 3.14"),
    "date without dashes": (END, '"20251031"', "must be a date as YYYY-MM-DD, not '20251031'"),
    "base of another Python": (BASE, '"python:3.12-trixie"', "python:3.12-trixie cannot stand here: it is not of Python 3.9"),
    "base of a longer Python": (BASE, '"python:3.90-trixie"', "it is not of Python 3.9"),
    "base of another C library": (BASE, '"python:3.9-alpine3.22"', "its C library is not glibc, as os.full.libc says"),
    "base that does not tell": (BASE, '"node:22"', "its name does not tell its Python; correct it, or say under `unchecked`"),
    "base that is a host": (BASE, '"localhost:5000"', "localhost:5000 cannot stand here: its name does not tell its Python"),
    "base that is no reference": (BASE, '"a..b:c"', "'a..b:c' is not an image with a tag"),
    "base as address": (BASE, '"https://ghcr.io/a/b:1"', "is not an image with a tag"),
    "base with a port that is none": (BASE, '"localhost:99999/python:3.9"', "99999 is no port; allowed are 1 to 65535"),
    "image that is a file of build": ("  hypercorn-fastapi:", "  manifest.json:", "is the name of a file or folder of build/"),
    "image that is the runtime": ("  hypercorn-fastapi:", "  runtime:", "is the name of a file or folder of build/"),
    "image that BuildKit keeps": ("  hypercorn-fastapi:", "  scratch:", "scratch means something else to BuildKit"),
    "image that is the context": ("  hypercorn-fastapi:", "  context:", "context means something else to BuildKit"),
    "image with a digit first": ("  hypercorn-fastapi:", "  3proxy:", "is not a name: allowed are lower-case letters"),
    "image that is too long": ("  hypercorn-fastapi:", f"  {'a' * 64}:", "is too long; at most 63 characters are allowed"),
    "namespace that is too long": ("namespace: hypercorn", f"namespace: {'a' * 300}", "namespace is too long; at most 127"),
    "registry without a dot": ("registry: docker.io", "registry: ghcr", "'ghcr' would be a namespace of Docker Hub"),
    "registry with a port that is none": ("docker.io", "localhost:99999999", "99999999 is no port"),
    "suffix that is a day": ("suffix: -slim", "suffix: -a-20241122", "has the form of a day, as dated tags have"),
    "suffix that is too long": ("suffix: -slim", f"suffix: -{'a' * 143}", "os.slim.suffix is too long; at most 32"),
    "alias that names another Python": (LATEST, "python3.13-bookworm: {os: slim}", "names Python 3.13, but it would point"),
    "title that cannot be seen": ("title: Hypercorn with", 'title: "a\u202eb" #', "cannot be seen (U+202E); remove it"),
    "title of one blank": ("title: Hypercorn with", 'title: "\u3164" #', "cannot be seen (U+3164); remove it"),
    # what YAML itself refuses
    "tab": (PYTHON_39, '  "3.9":\n\tstatus: eol\n', "is indented with a tab; YAML allows only spaces"),
    "bracket left open": (PLATFORMS, PLATFORMS[:-1], "is the bracket closed?"),
    "brackets without quotes": ('"hypercorn[h3]"', "hypercorn[h3]", "a text with one of []{},: in it needs quotes"),
    "colon without quotes": ("reason: trio was", "reason: trio: was", "a text with a colon and a space needs quotes"),
    "merge key": (PYTHON_39, '  "3.9":\n    <<: {status: eol}\n', "merge keys (<<) are not supported"),
    "anchor in itself": (PLATFORMS, "&a [*a]", "must not contain itself"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake(repository: Repository, mistake: str) -> None:
    old, new, says = MISTAKES[mistake]
    before_line = repository.edit(old, new)
    before = repository.snapshot()
    result = repository.run("--check")
    assert result.status == 2
    assert result.out == ""
    lines = result.err.splitlines()
    assert lines
    for line in lines:
        assert re.match(r"matrix\.yaml:\d+: \S", line), line
        assert "Traceback" not in line
        assert len(line) < 400
    assert any(says in line for line in lines), result.err
    place = int(next(line for line in lines if says in line).split(":")[1])
    changed = max(len(new.splitlines()), len(old.splitlines()), 1)
    assert before_line - 1 <= place <= before_line + changed or mistake in ELSEWHERE, (before_line, place)
    assert repository.snapshot() == before


ELSEWHERE = {
    "missing key",  # the first line, for want of a better one
    "extra of no image",  # where the extra is defined
    "exclusion of nothing",  # the second of the two
    "missing key of a Python",
    "no reason",  # the exclusion's first line
    "bracket left open",  # where YAML noticed
    "tag like a version tag",  # the first pattern
}


@pytest.mark.parametrize("verb", [(), ("--validate",), ("--list",), ("--list", "--json"), ("--dry-run",)])
def test_every_verb_refuses_a_mistake_alike_and_writes_nothing(generated: Repository, verb: tuple[str, ...]) -> None:
    line = generated.edit("registry:", "regestry:")
    before = generated.snapshot()
    result = generated.run(*verb)
    assert (result.status, result.out) == (2, "")
    assert f"matrix.yaml:{line}: regestry is unknown" in result.err
    assert generated.snapshot() == before


def test_all_problems_are_told_at_once(repository: Repository) -> None:
    repository.edit("registry:", "regestry:")
    repository.edit("libc: musl", "libc: muslc")
    repository.edit("    until: wheel\n", "    until: then\n")
    assert len(repository.run("--validate").err.splitlines()) >= 3


def test_a_cycle_of_parents(repository: Repository) -> None:
    repository.edit("    title: Hypercorn\n", "    parent: hypercorn-fastapi\n    title: Hypercorn\n")
    result = repository.run("--validate")
    assert result.status == 2
    assert "an image cannot be its own ancestor: hypercorn -> hypercorn-fastapi -> hypercorn" in result.err


def test_nothing_stable_leaves_the_aliases_without_a_target(repository: Repository) -> None:
    repository.matrix.write_text(MATRIX.replace("status: stable", "status: eol"), encoding="utf-8")
    result = repository.run("--validate")
    assert result.status == 2
    assert re.search(r"matrix\.yaml:\d+: the alias latest has no target: no Python is stable", result.err)


def test_an_excluded_cell_leaves_an_alias_without_a_target(repository: Repository) -> None:
    line = repository.edit(FIRST, other('python: "3.15"\n    os: slim'))
    result = repository.run("--validate")
    assert result.status == 2
    assert f"the alias latest has no target: hypercorn:python3.15-slim is excluded on line {line}" in result.err


def test_excluding_everything(repository: Repository) -> None:
    repository.edit(FIRST, other("os: [full, slim, alpine]"))
    result = repository.run("--validate")
    assert result.status == 2
    assert "nothing is left of the matrix" in result.err


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "matrix.yaml:1: is empty"),
        (b"# only a comment\n", "matrix.yaml:1: is empty"),
        (b"[]", "matrix.yaml:1: matrix.yaml must be a mapping (key: value), not a list"),
        (b"text", "matrix.yaml:1: matrix.yaml must be a mapping (key: value), not 'text'"),
        (b"{}", "matrix.yaml:1: registry is missing"),
        (MATRIX.encode("utf-16"), "matrix.yaml:1: is not UTF-8 text"),
        (MATRIX.encode("latin-1"), "matrix.yaml:3: is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_matrix(repository: Repository, data: bytes, says: str) -> None:
    repository.matrix.write_bytes(data)
    before = repository.snapshot()
    result = repository.run()
    assert (result.status, result.out) == (2, "")
    assert says in result.err.splitlines()
    assert repository.snapshot() == before


def test_no_file(repository: Repository) -> None:
    repository.matrix.unlink()
    assert repository.run().err == "matrix.yaml: cannot be read: No such file or directory\n"


def test_a_key_that_is_too_long_is_shown_in_part(repository: Repository) -> None:
    repository.edit("registry: docker.io", f"{'x' * 999}: docker.io")
    assert "xxx" in repository.run().err
    assert max(map(len, repository.run().err.splitlines())) < 500


def places(data: object, where: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [where]
    if isinstance(data, dict):
        found += [place for key, value in data.items() for place in places(value, (*where, key))]
    if isinstance(data, list):
        found += [place for key, value in enumerate(data) for place in places(value, (*where, key))]
    return found


DATA = yaml.safe_load(MATRIX)
PLACES = places(DATA)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.datetimes() | st.binary(max_size=4)
    | st.text(st.characters(codec="utf-8"), max_size=6)
    | st.sampled_from(["3.8", "slim", "h3", "hypercorn", "eol", "wheel", "hypercorn>=1", "python:3.9", "1:30", "x" * 9999]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.text(max_size=3) | st.integers() | st.none() | st.sampled_from(["os", "python", "extra", "reason"]), inner, max_size=3
    ),
    max_leaves=4,
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(place=st.sampled_from(PLACES), value=VALUES, as_key=st.booleans())
def test_any_value_at_any_place_is_a_matrix_or_an_input_error(
    repository: Repository, place: tuple[object, ...], value: object, as_key: bool
) -> None:
    data = yaml.safe_load(MATRIX)
    inside = data
    for step in place[:-1]:
        inside = inside[step]
    if not place:
        data = value
    elif as_key and isinstance(inside, dict) and not isinstance(value, (dict, list)):
        inside[value] = inside.pop(place[-1])
    else:
        inside[place[-1]] = value
    repository.matrix.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    try:
        for variant in load(repository.root).variants:
            assert variant.references
    except InputError as error:
        for line in str(error).splitlines():
            assert re.match(r"(matrix\.yaml:\d+|locks/\S+\.txt(:\d+)?): ", line), line
            assert len(line) < 2000
