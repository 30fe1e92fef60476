"""generate.py: writes each file whole, removes what is its own and obsolete, and says what differs."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from imagematrix import writing
from imagematrix.build.local import refuse_stale
from imagematrix.errors import UserError
from imagematrix.render.render import render
from tests.conftest import REPOSITORY, Repository

DOCKERFILE = "hypercorn/python3.8-alpine/Dockerfile"
FIRST = '  - python: "3.9"\n    extra: trio\n'


def leftovers(repository: Repository) -> list[str]:
    return [path for path in repository.contents() if ".new-" in path]


def test_this_repository_is_fresh(repository: Repository) -> None:
    done = subprocess.run(
        [sys.executable, "generate.py", "--check"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_second_run_writes_nothing(generated: Repository) -> None:
    before = generated.snapshot()
    result = generated.run()
    assert (result.status, result.err) == (0, "")
    assert result.out.endswith(" files, 0 written, 0 removed\n")
    assert generated.snapshot() == before
    assert generated.run("--check").status == 0


def test_a_change_touches_only_what_it_changes(generated: Repository) -> None:
    generated.edit("python:3.8-alpine3.20", "python:3.8.20-alpine3.20")
    before = generated.snapshot()
    assert generated.run("--check").status == 1
    assert generated.run("--dry-run").status == 0
    assert generated.snapshot() == before
    assert generated.run().status == 0
    after = generated.snapshot()
    assert {path for path in after if after[path] != before[path]} == {
        "build/hypercorn/python3.8-alpine/Dockerfile",
        "build/hypercorn-fastapi/python3.8-alpine/Dockerfile",
        "build/docker-bake.json",
    }
    assert leftovers(generated) == []


def test_check_lists_everything_and_writes_nothing(generated: Repository) -> None:
    build = generated.build
    (build / DOCKERFILE).write_text((build / DOCKERFILE).read_text().replace("WORKDIR /app", "WORKDIR /tmp"))
    (build / "tags.json").unlink()
    (build / "matrix.schema.json").chmod(0o755)
    (build / "mine.txt").write_text("mine")
    manifest = json.loads((build / "manifest.json").read_text())
    (build / "old.txt").write_text("old")
    (build / "manifest.json").write_text(json.dumps({**manifest, "files": [*manifest["files"], "old.txt"]}))
    (build / "docker-bake.json").unlink()
    (build / "docker-bake.json").symlink_to("tags.json")
    before = generated.snapshot()
    result = generated.run("--check")
    assert result.status == 1
    lines = result.out.splitlines()
    for line in (
        "missing: build/tags.json",
        "obsolete: build/old.txt",
        "foreign: build/mine.txt",
        f"stale: build/{DOCKERFILE}",
        "  -WORKDIR /tmp",
        "  +WORKDIR /app",
        "stale: build/matrix.schema.json",
        "  should not be executable",
        "stale: build/docker-bake.json",
        "  is not a plain file",
    ):
        assert line in lines
    assert result.err.splitlines() == [
        "6 files of build/ are not as they should be; run: make generate",
        "1 files of build/ are not generated; move or remove them",
    ]
    assert generated.snapshot() == before


def test_obsolete_files_go_and_foreign_ones_stay(generated: Repository) -> None:
    mine = generated.build / "hypercorn/python3.8/mine.txt"
    mine.write_text("mine")
    link = generated.build / "link"
    link.symlink_to("nowhere")
    generated.edit(FIRST, f'  - {{python: "3.8", os: [full, slim], reason: because}}\n{FIRST}')
    result = generated.run("--allow-removal")
    assert result.status == 0
    assert "build/hypercorn/python3.8/mine.txt: is not generated; left as it is" in result.err
    assert mine.read_text() == "mine"
    assert link.is_symlink()
    assert not (generated.build / "hypercorn/python3.8/Dockerfile").exists()
    assert not (generated.build / "hypercorn/python3.8-slim").exists()
    assert (generated.build / "hypercorn/python3.8-alpine/Dockerfile").exists()


SHRUNK = {
    "variant": (FIRST, f'  - {{python: "3.8", os: full, reason: because}}\n{FIRST}', "hypercorn:python3.8 would go"),
    "extra": (FIRST, f'  - {{python: "3.8", extra: uvloop, reason: x}}\n{FIRST}', "hypercorn:python3.8 with uvloop"),
    "alias": ("  latest: {os: slim}\n", "", "hypercorn:latest would go"),
    "moved alias": ("latest: {os: slim}", 'latest: {os: slim, python: "3.14"}', "hypercorn:latest on Python 3.15 "),
    "platform": ("[linux/amd64, linux/arm64]", "[linux/amd64]", "hypercorn/hypercorn for linux/arm64 would go"),
    "registry": ("docker.io", "ghcr.io", "hypercorn/hypercorn for linux/amd64 would go"),
    "namespace": ("namespace: hypercorn", "namespace: other", "hypercorn/hypercorn for linux/amd64 would go"),
}  # fmt: skip


@pytest.mark.parametrize("what", SHRUNK)
def test_the_matrix_shrinks_only_when_told_to(generated: Repository, what: str) -> None:
    old, new, says = SHRUNK[what]
    generated.edit(old, new)
    before = generated.snapshot()
    result = generated.run()
    assert result.status == 2
    assert f"matrix.yaml: {says}" in result.err
    assert "--allow-removal" in result.err
    assert generated.snapshot() == before
    assert generated.run("--allow-removal").status == 0
    assert generated.run().status == 0
    assert generated.run("--check").status == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_refuses_leaves_every_file_whole(
    generated: Repository, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    generated.edit("title: Hypercorn\n", "title: Another\n")
    before = generated.contents()
    sync, synced = os.fsync, []

    def full(file: int) -> None:
        synced.append(file)
        if len(synced) > 3:
            os.ftruncate(file, 10)
            raise OSError(code, os.strerror(code))
        sync(file)

    with monkeypatch.context() as patched:
        patched.setattr(writing.os, "fsync", full)
        result = generated.run()
    assert (result.status, result.err) == (1, f"build/: cannot be written: {os.strerror(code)}\n")
    between = generated.contents()
    assert leftovers(generated) == []
    assert generated.run().status == 0
    after = generated.contents()
    assert before != between != after
    assert all(data in (before[path], after[path]) for path, data in between.items())


def test_a_kill_leaves_every_file_whole_and_the_next_run_tidies_up(generated: Repository) -> None:
    generated.edit("title: Hypercorn\n", "title: Another\n")
    before = generated.contents()
    program = """
import os, sys, time
from imagematrix.render import generate
sync, count = os.fsync, 0
def slow(file):
    global count
    count += 1
    if count == 12:
        os.ftruncate(file, 10)
        print("now", flush=True)
        time.sleep(60)
    sync(file)
os.fsync = slow
generate.main(["--root", sys.argv[1]])
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, generated.root], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGKILL)
    between = generated.contents()
    (left,) = leftovers(generated)
    assert generated.run().status == 0
    assert leftovers(generated) == []
    after = generated.contents()
    assert all(data in (before[path], after[path]) for path, data in between.items() if path != left)
    assert generated.run("--check").status == 0


def test_a_shell_that_stands_in_build_keeps_working(generated: Repository) -> None:
    generated.edit("title: Hypercorn\n", "title: Another\n")
    folder = generated.build / "hypercorn/python3.8-alpine"
    before = (generated.build.stat().st_ino, folder.stat().st_ino)
    assert generated.run().status == 0
    assert (generated.build.stat().st_ino, folder.stat().st_ino) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("templates/Dockerfile.j2", "WORKDIR /app\n", "WORKDIR /app\nENV A=1\n"),
        ("runtime/start.sh", "# shellcheck shell=sh\n", "# shellcheck shell=sh\n# a word\n"),
        ("matrix.yaml", "title: Hypercorn\n", "title: Another\n"),
    ],
    ids=["a template", "the runtime", "the matrix"],
)
def test_what_a_filter_names_can_be_built_after_an_edit(generated: Repository, file: str, old: str, new: str) -> None:
    """`make build TAG=…` generates, then builds."""
    generated.edit(old, new, file)
    filters = ("--tag", "python3.8-alpine", "--image", "hypercorn-fastapi")
    done = generated.run(*filters)
    assert done.status == 0
    assert re.search(r"^build/: left stale by the filter: hypercorn:python3.8, .* and \d+ more; run: ", done.err)
    matrix = generated.load()
    rendered = render(matrix, generated.root)
    named = [one for one in matrix.variants if one.name == "hypercorn-fastapi:python3.8-alpine"]
    refuse_stale(generated.build, rendered, named)
    with pytest.raises(UserError, match=r"^build/.* is stale; run: make generate$"):
        refuse_stale(generated.build, rendered, matrix.variants)


def test_a_build_that_is_no_folder(repository: Repository) -> None:
    (repository.root / "elsewhere").mkdir()
    repository.build.symlink_to("elsewhere")
    result = repository.run()
    says = "build:1: is a symbolic link; nothing is written through it; remove it\n"
    assert (result.status, result.err) == (2, says)
    repository.build.unlink()
    repository.build.write_text("")
    assert repository.run().status != 0
    assert repository.build.read_text() == ""


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"files": 1, "offers": []}'])
@pytest.mark.parametrize("verb", [(), ("--check",)])
def test_a_damaged_manifest(generated: Repository, text: str, verb: tuple[str, ...]) -> None:
    (generated.build / "manifest.json").write_text(text)
    before = generated.snapshot()
    result = generated.run(*verb)
    assert result.status == 2
    assert result.err.startswith("build/manifest.json: is damaged")
    assert generated.snapshot() == before


def tags(repository: Repository, *filters: str) -> list[str]:
    result = repository.run("--list", "--json", *filters)
    assert result.status == 0, result.err
    return [f"{one['image']}:{one['tag']}" for one in json.loads(result.out)]


FILTERS = [
    (("--tag", "python3.8-alpine"), 2),
    (("--tag", "latest", "--image", "hypercorn"), 1),
    (("--python", "3.8,3.10"), 12),
    (("--python", "3.8", "--python", "3.10", "--os", "slim"), 4),
    (("--image", "hypercorn-fastapi"), 24),
    (("--tag", ""), 48),
    ((), 48),
]


@pytest.mark.parametrize(("filters", "count"), FILTERS)
def test_filters_mean_the_same_in_every_command(generated: Repository, filters: tuple[str, ...], count: int) -> None:
    listed = tags(generated, *filters)
    assert len(listed) == count
    assert generated.run("--list", *filters).out.count("\n") - 2 == count
    stale = {}
    for path in sorted(generated.build.glob("*/*/Dockerfile")):
        stale[f"{path.parent.parent.name}:{path.parent.name}"] = path.read_text()
        path.write_text(f"{path.read_text()}# changed\n")
    said = generated.run("--check", *filters)
    found = re.findall(r"^stale: build/(\S+)/(\S+)/Dockerfile$", said.out, re.MULTILINE)
    read = {*listed, *(name.replace("hypercorn-fastapi:", "hypercorn:") for name in listed)}  # parents too
    assert {f"{image}:{tag}" for image, tag in found} == read
    assert generated.run(*filters).status == 0
    for name, text in stale.items():
        now = (generated.build / name.replace(":", "/") / "Dockerfile").read_text()
        assert (now == text) == (name in read)
    assert generated.run("--check", *filters).status == 0


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        (("--tag", "python3.8-alpin"), "--tag python3.8-alpin: not in matrix.yaml; did you mean python3.8-alpine? "),
        (("--python", "3.7"), "--python 3.7: not in matrix.yaml; allowed: 3.8, 3.9, 3.10"),
        (("--image", "fastapi"), "--image fastapi: not in matrix.yaml; allowed: hypercorn, hypercorn-fastapi"),
        (("--os", "debian"), "--os debian: not in matrix.yaml; allowed: full, slim, alpine"),
        (("--os", "alpine", "--tag", "latest"), "no variant matches all of these filters together"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("verb", [(), ("--check",), ("--list",), ("--list", "--json"), ("--validate",)])
def test_a_filter_of_nothing(
    repository: Repository, verb: tuple[str, ...], filters: tuple[str, ...], says: str
) -> None:
    result = repository.run(*verb, *filters)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith(says)
    assert len(result.err.splitlines()) == 1
    assert not repository.build.exists()


def test_list_as_json_has_just_these_keys(repository: Repository) -> None:
    rows = json.loads(repository.run("--list", "--json").out)
    keys = ["image", "tag", "python", "os", "extras", "dropped", "packages", "base", "references", "directory"]
    assert [list(row) for row in rows] == [keys] * 48
    assert (REPOSITORY / rows[0]["directory"] / "Dockerfile").is_file()


def test_list_as_a_table(repository: Repository) -> None:
    lines = repository.run("--list").out.splitlines()
    assert lines[0].split() == ["image", "tag", "support", "without", "aliases"]
    assert any(re.match(r"hypercorn +python3\.9-alpine +ended 2025-10-31 +h3 trio", line) for line in lines)
    assert not repository.build.exists()


@pytest.mark.parametrize("arguments", [("--json",), ("--check", "--list"), ("--foo",), ("foo",)])
def test_a_wrong_command_line(repository: Repository, arguments: tuple[str, ...]) -> None:
    result = repository.run(*arguments)
    assert (result.status, result.out) == (2, "")
    assert "error: " in result.err.splitlines()[-1]
    assert not repository.build.exists()


def test_validate(repository: Repository) -> None:
    assert repository.run("--validate").out == "matrix.yaml: fine, 48 variants\n"
    assert not repository.build.exists()


def process(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


def test_without_the_dependencies_one_line_says_what_to_do() -> None:
    done = process("-I", "-S", REPOSITORY / "generate.py")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(r"error: \w+ is not installed here; run: make generate \(it makes \.venv\)", line)


def test_a_mistake_as_a_process(repository: Repository) -> None:
    repository.edit("registry:", "regestry:")
    done = process(REPOSITORY / "generate.py", "--root", repository.root)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_quiet() -> None:
    with subprocess.Popen(
        [sys.executable, REPOSITORY / "generate.py", "--list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        assert running.stderr.read() == b""
