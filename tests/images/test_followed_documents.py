"""README.md and docs/ as a user follows them: Dockerfiles are built, commands of docker and Compose are run.

All that a page says happens in one folder, in order. The verbs of `make` have tests of their own.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from uv import find_uv_bin

from imagematrix.machine.build_secrets import build_secrets
from imagematrix.matrix.model import Variant
from tests.documents.blocks import DOCUMENTS, Block, of_document, on
from tests.images.conftest import host
from tests.images.container import Runner, wait_for
from tests.images.online import Online
from tests.images.shell import Shell, shell
from tests.images.test_every_image import APPLICATION

COMMAND = re.compile(r"^(?:docker (?:run|build|compose|kill|stop|image|inspect)|openssl|curl) ", re.MULTILINE)
STAYS = re.compile(r"^docker run (?!-d)(?=.* -p )|^docker compose up (?!-d)", re.MULTILINE)
"""What ends only when it is stopped."""
PROJECT = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.8"\ndependencies = ["itsdangerous"]\n'

pytestmark = pytest.mark.images("hypercorn-fastapi", os=["slim"], one_per="os")


def is_run(block: Block) -> bool:
    if block.reason or block.not_run:
        return False
    return block.kind in ("dockerfile", "compose") or (block.kind == "sh" and COMMAND.search(block.text) is not None)


PAGES = [page for page in DOCUMENTS if page.startswith(("README", "docs/")) and any(map(is_run, of_document(page)))]


@pytest.fixture
def home(tmp_path: Path, variant: Variant, online: Online) -> Iterator[Shell]:
    """A folder with an application, and everything that a project has beside it."""
    with shell(tmp_path, host()) as made:
        made.write({"app/__init__.py": "", "app/main.py": APPLICATION, "requirements.txt": "itsdangerous\n"})
        made.write({"pyproject.toml": PROJECT, "pip.conf": build_secrets()["pipconf"].read_text()})
        yield made


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_followed(page: str, home: Shell, variant: Variant, online: Online, run: Runner) -> None:
    for block in of_document(page):
        if block.file:
            home.write({block.file: home.mine(online.on(variant, block.text))})
        if not is_run(block):
            continue
        if block.kind == "dockerfile":
            build(block, home, online.on(variant, block.text), run)
        elif block.kind == "sh" and STAYS.search(block.text):
            home.serve(on(variant, block.text), partial(changed, home) if "--watch" in block.text else None)
        elif block.kind == "sh":
            home.run(on(variant, block.text))


def build(block: Block, home: Shell, text: str, run: Runner) -> None:
    """Build a Dockerfile as it stands; a container of it serves the application."""
    home.write({"Dockerfile": text})
    if "uv.lock" in text:
        subprocess.run([find_uv_bin(), "lock", "-q"], cwd=home.folder, check=True)
    secret = "--secret id=pipconf,src=pip.conf" if "type=secret" in text else ""
    home.run(f"docker build {secret} -t shop .")
    with run(home.name) as container:
        assert container.get("/") == (200, "mine")
        assert container.stop() == 0


def changed(home: Shell) -> None:
    """Save a file and see that the container has it."""
    home.write({"app/main.py": APPLICATION.replace("mine", "ours")})
    wait_for(lambda: home.answers() == "ours", "answer of the changed code", home.said)
    home.write({"app/main.py": APPLICATION})
