"""Every block of code in README.md, docs/ and examples/ is valid, and names images and variables that are there.

What is run in containers beside it is in tests/images/test_followed_documents.py.
"""

from __future__ import annotations

import re

import pytest
from hypercorn_image.config.options import TABLE
from jsonschema import ValidationError

from imagematrix.matrix.model import Matrix
from tests.conftest import REPOSITORY
from tests.documents.blocks import ALL, Block, image_pattern, on, parse
from tests.documents.checks import CHECKS

CHECKED = [block for block in ALL if not block.reason]
VARIABLES = {option.variable for option in TABLE} | {f"{option.variable}_FILE" for option in TABLE if option.secret}
OTHERS = {"DATABASE_URL", "SECRET_KEY", "POSTGRES_USER", "POSTGRES_PASSWORD"}
"""What the applications in the documents and other images read."""
ELSEWHERE = {"FROM", "GUNICORN_CONF", "GUNICORN_CMD_ARGS", "TIMEOUT", "PYTHONPATH", "CAP_KILL"}
"""What the text names and the image does not have."""
USERS_PAGES = ("compose", "configuration", "kubernetes", "migrating", "prestart", "read-only", "tls-and-http3")
SET = re.compile(r"(?:-e |^ENV |^ +|- name: )([A-Z][A-Z_0-9]+)(?:[=:]|\n +value)", re.MULTILINE)
"""A variable that is set by `docker run`, a Dockerfile, Compose or Kubernetes."""


def test_every_block_has_a_language_that_is_checked_or_says_why_not() -> None:
    assert len(CHECKED) > 20
    assert [f"{block}: {block.kind!r}" for block in CHECKED if block.kind not in CHECKS] == []


@pytest.mark.parametrize("block", CHECKED, ids=str)
def test_a_block_is_valid(block: Block) -> None:
    CHECKS[block.kind](block)


def test_every_image_that_is_named_is_published(matrix: Matrix) -> None:
    tags = {matrix.repository(image): {"latest"} for image in matrix.images}
    for variant in matrix.variants:
        tags[matrix.repository(variant.image)] |= {*variant.tags}
    named = [
        (str(block), found["repository"], found["tag"] or "latest")
        for block in ALL
        for found in image_pattern(matrix).finditer(block.text)
    ]
    assert len(named) > 10
    assert [one for one in named if one[2].partition("@")[0] not in tags[one[1]]] == []


def test_every_variable_that_is_set_is_one_of_the_image() -> None:
    kinds = ("sh", "dockerfile", "compose", "kubernetes")
    named = [(str(block), name) for block in ALL if block.kind in kinds for name in SET.findall(block.text)]
    assert len(named) > 10
    assert [one for one in named if one[1] not in VARIABLES | OTHERS] == []


WRONG = {
    "dockerfile": "FROM hypercorn/hypercorn:3.14-slim\nRUNN true\n",
    "sh": 'if [ "$1" ]; then\n',
    "compose": "services:\n  web:\n    imag: hypercorn/hypercorn\n",
    "kubernetes": "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {port: 80}\n",
    "haproxy": "backend web\n  server one 10.0.0.1:80 chek\n",
    "nginx": "server { listen 80; proxi_pass http://web; }\n",
    "caddyfile": "localhost {\n  reverse_proxi web:80\n}\n",
    "json": "{,}",
    "python": "import os\nprint(on)\n",
}


@pytest.mark.parametrize("kind", CHECKS)
def test_a_block_that_is_wrong_is_found(kind: str) -> None:
    language = "yaml" if kind in ("compose", "kubernetes") else kind
    block = Block("a.md", 1, language, WRONG[kind])
    assert block.kind == kind
    with pytest.raises((AssertionError, ValueError, ValidationError)):
        CHECKS[kind](block)


def test_a_document_says_what_is_checked_and_not_run() -> None:
    (block,) = parse("a.md", "<!-- not run: it takes long -->\n```json\n1\n```\n")
    assert block == Block("a.md", 2, "json", "1\n", not_run="it takes long")


def test_what_a_document_says_of_its_blocks_is_read(matrix: Matrix) -> None:
    first, second = (
        "- a list\n\n  ```sh\n  true\n  ```\n",
        "<!-- not checked: it needs\na cluster -->\n```sh\nkubectl\n```\n",
    )
    assert parse("a.md", f"{first}\n{second}\n    old\n") == [
        Block("a.md", 3, "sh", "true\n"),
        Block("a.md", 9, "sh", "kubectl\n", "it needs a cluster"),
        Block("a.md", 13, "", "old\n"),
    ]
    assert Block("a.md", 1, "python", "# app/main.py\nx = 1\n").file == "app/main.py"
    assert Block("a.md", 1, "sh", "# what it does\n").file == ""


def test_images_of_one_cell_stand_for_those_that_a_document_names(matrix: Matrix) -> None:
    variant = matrix.variant("hypercorn", "3.13", "alpine")
    text = "FROM hypercorn/hypercorn-fastapi:3.14-slim AS a\nFROM hypercorn/hypercorn\nhypercorn/hypercorn-other:1"
    assert on(variant, text) == (
        "FROM hypercorn/hypercorn-fastapi:python3.13-alpine AS a\n"
        "FROM hypercorn/hypercorn:python3.13-alpine\nhypercorn/hypercorn-other:1"
    )


def test_every_variable_that_a_page_for_users_names_is_one_of_the_image() -> None:
    named = {
        (page, name)
        for page in USERS_PAGES
        for name in re.findall(r"`([A-Z][A-Z_0-9]{2,})(?:=[^`]*)?`", (REPOSITORY / f"docs/{page}.md").read_text())
    }
    assert len(named) > 50
    assert [one for one in sorted(named) if one[1] not in VARIABLES | ELSEWHERE] == []
