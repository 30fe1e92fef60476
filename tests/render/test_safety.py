"""Nothing is written through a symbolic link, a file is whole or as it was, and a filter needs only its own locks."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imagematrix import writing
from imagematrix.render import readme
from tests.conftest import REPOSITORY, Repository

FOLDER = "hypercorn/python3.8"
REASON = "trio was never part of the Python 3.9 images, and these are kept as they were published"


@pytest.mark.parametrize("place", [FOLDER, "hypercorn"])
@pytest.mark.parametrize("verb", [(), ("--check",), ("--python", "3.8")])
def test_nothing_is_written_through_a_link_in_build(generated: Repository, place: str, verb: tuple[str, ...]) -> None:
    outside = generated.root / "docs"
    shutil.rmtree(generated.build / place)
    outside.mkdir()
    (generated.build / place).symlink_to(outside)
    result = generated.run(*verb)
    assert result.status == 2
    assert result.err == f"build/{place}:1: is a symbolic link; nothing is written through it; remove it\n"
    assert list(outside.iterdir()) == []


def with_readme(repository: Repository) -> Path:
    path = repository.root / readme.FILE
    path.write_text(
        "# Prose é\n<!-- images: generated -->\n<!-- end of images -->\n"
        "<!-- variables: generated -->\n<!-- end of variables -->\nMore prose\n",
        encoding="utf-8",
    )
    return path


def test_a_full_disk_leaves_the_readme_as_it_was(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    path = with_readme(repository)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing.os, "fsync", full)
    result = repository.run(main=readme.main)
    assert (result.status, result.err) == (
        1,
        "README.md: cannot be written, and stays as it was: No space left on device\n",
    )
    assert path.read_bytes() == before
    assert not list(repository.root.glob(".new-*"))


def test_the_readme_is_not_written_through_a_link(repository: Repository) -> None:
    path = with_readme(repository)
    path.rename(repository.root / "prose.md")
    path.symlink_to("prose.md")
    before = path.read_bytes()
    assert repository.run(main=readme.main).status == 2
    assert path.read_bytes() == before


def test_a_readme_that_is_not_utf_8(repository: Repository) -> None:
    with_readme(repository).write_bytes(b"a\n\xe9\n")
    result = repository.run(main=readme.main)
    assert (result.status, result.err) == (2, "README.md:2: is not UTF-8 text\n")


def test_a_reason_is_shown_in_the_readme_and_nothing_more(repository: Repository) -> None:
    path = with_readme(repository)
    repository.edit(REASON, "a <!-- end of images --> <script> ![x](y) | b")
    assert repository.run(main=readme.main).status == 0
    once = path.read_bytes()
    assert b"&lt;\\!-- end of images --&gt; &lt;script&gt; \\!\\[x\\](y) \\| b" in once
    assert repository.run(main=readme.main).status == 0
    assert path.read_bytes() == once


@pytest.mark.parametrize("template", [None, "{% for", "{{ nothing }}"], ids=["missing", "no template", "undefined"])
def test_a_filter_needs_only_the_template_of_what_it_names(repository: Repository, template: str | None) -> None:
    entry = "  another:\n    title: T\n    description: D\n    server: hypercorn\n    template: templates/another.j2\n"
    entry += '    runtime: runtime\n    probe: {port: 80, expect: x}\n    packages: ["hypercorn>=0.17.3"]\n'
    repository.edit("  hypercorn-fastapi:\n", f"{entry}  hypercorn-fastapi:\n")
    if template is not None:
        (repository.root / "templates/another.j2").write_text(template)
    assert repository.run().err.startswith("templates/another.j2:")
    result = repository.run("--image", "hypercorn-fastapi")
    assert result.status == 0, result.err
    assert (repository.build / "hypercorn-fastapi/python3.13-slim/Dockerfile").exists()
    assert not (repository.build / "another").exists()
    assert repository.run("--image", "another").err.startswith("templates/another.j2:")


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("damaged\n")])
def test_a_filter_needs_only_the_locks_of_what_it_names(repository: Repository, damage: object) -> None:
    damage(repository.root / "locks/python3.8.txt")  # type: ignore[operator]
    assert repository.run().status == 2
    result = repository.run("--python", "3.13")
    assert result.status == 0, result.err
    bake = json.loads((repository.build / "docker-bake.json").read_text())
    assert bake["target"]["hypercorn-python3-13-slim"]
    assert "hypercorn-python3-8" not in bake["target"]
    assert repository.run("--check", "--python", "3.13").status == 0
    result = repository.run("--python", "3.8")
    assert result.status == 2
    assert result.err.startswith("locks/python3.8.txt:")


def test_a_filter_keeps_what_it_cannot_render(generated: Repository) -> None:
    (generated.root / "locks/python3.8.txt").unlink()
    before = generated.snapshot()
    assert generated.run("--python", "3.13").status == 0
    assert generated.snapshot() == before


def test_build_without_its_manifest_is_not_taken_for_a_new_one(generated: Repository) -> None:
    (generated.build / "manifest.json").unlink()
    result = generated.run()
    assert result.status == 2
    assert result.err.startswith("build/manifest.json:1: is missing")


@pytest.mark.parametrize("file", ["matrix.yaml", "build/manifest.json", "locks/python3.8.txt"])
def test_a_pipe_in_the_place_of_a_file_does_not_hang(generated: Repository, file: str) -> None:
    (generated.root / file).unlink()
    os.mkfifo(generated.root / file)
    result = generated.run("--check")
    assert result.status == 2
    assert result.err.startswith(f"{file}:1: is not a plain file")


@pytest.mark.parametrize("verb", [("--list", "--json"), ("--check",)])
def test_a_terminal_without_utf_8_shows_everything(generated: Repository, verb: tuple[str, ...]) -> None:
    generated.edit(REASON, "Früher nicht")
    done = subprocess.run(
        [sys.executable, REPOSITORY / "generate.py", "--root", generated.root, *verb],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert "Traceback" not in done.stderr
    if "--json" in verb:
        assert any("Früher nicht" in one["dropped"].values() for one in json.loads(done.stdout))
