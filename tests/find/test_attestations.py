"""`make lock` with an index that offers attestations: uv, a server on loopback, and files as PyPI gave them.

attested/ holds a wheel of CircleCI's example project (MIT) and its provenance, from the tests of pypi-attestations.
"""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagematrix.find import wheels
from imagematrix.find.attestations import AttestationError, Attested, offered, verify
from imagematrix.matrix.locks import read
from tests.conftest import REPOSITORY, Repository

PROJECT = "circleci-sign-publish-example"
(WHEEL,) = (Path(__file__).parent / "attested").glob("*.whl")
PROVENANCE: dict[str, Any] = json.loads(WHEEL.with_name(f"{WHEEL.name}.provenance").read_bytes())
JSON = "application/vnd.pypi.simple.v1+json"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Index:
    """An index with one wheel."""

    url: str = ""
    wheel: bytes = field(default_factory=WHEEL.read_bytes)
    provenance: bytes | None = field(default_factory=lambda: json.dumps(PROVENANCE).encode())
    form: str = JSON

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Return content type and body, None for what is not there."""
        if path == f"/simple/{PROJECT}/":
            return self.form, self.page()
        if path == f"/{WHEEL.name}":
            return "application/zip", self.wheel
        if path == "/provenance" and self.provenance is not None:
            return "application/json", self.provenance
        return None

    def page(self) -> bytes:
        if self.form != JSON:
            return f'<a href="/{WHEEL.name}#sha256={digest(self.wheel)}">{WHEEL.name}</a>'.encode()
        file = {"filename": WHEEL.name, "url": f"/{WHEEL.name}", "hashes": {"sha256": digest(self.wheel)}}
        file["provenance"] = "/provenance"
        return json.dumps({"meta": {"api-version": "1.3"}, "name": PROJECT, "files": [file]}).encode()

    def attested(self) -> Attested:
        return offered(f"{self.url}/simple", PROJECT)[f"sha256:{digest(self.wheel)}"]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The index, and uv told to use it alone."""
    made = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = made.answer(self.path)
            self.send_response(200 if found else 404)
            form, body = found or ("text/plain", b"")
            self.send_header("Content-Type", form)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"{made.url}/simple")
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        server.shutdown()


@pytest.fixture
def example(repository: Repository) -> Repository:
    """A repository whose one image has the wheel."""
    matrix = yaml.safe_load((REPOSITORY / "tests/fork/matrix.yaml").read_text())
    matrix["extras"] = {}
    image = {**matrix["images"]["uvicorn"], "server": PROJECT, "packages": [f"{PROJECT}==0.0.1.dev137"], "extras": []}
    matrix["images"] = {"example": image}
    image["template"] = "templates/Dockerfile.j2"
    image["runtime"] = "runtime"
    repository.matrix.write_text(yaml.safe_dump(matrix, sort_keys=False))
    for lock in (repository.root / "locks").iterdir():
        lock.unlink()
    return repository


def forged(wheel: Path) -> bytes:
    """Return the wheel with one more file."""
    copy = wheel.read_bytes()
    path = wheel.parent / "forged.whl"
    path.write_bytes(copy)
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("circleci_sign_publish_example/more.py", "print('not from CircleCI')")
    return path.read_bytes()


def test_an_attestation_is_verified_and_counted(example: Repository, index: Index) -> None:
    result = example.run(main=wheels.main)
    assert result.status == 0, result.err
    assert "python 3.13: python3.13.txt; attested: 1 of 1 distributions\n" in result.out
    (package,) = read(example.root / "locks/python3.13.txt").packages
    assert package.hashes == (f"sha256:{digest(index.wheel)}",)


def test_a_wheel_of_other_bytes_than_were_attested_is_not_locked(
    example: Repository, index: Index, tmp_path: Path
) -> None:
    copy = tmp_path / WHEEL.name
    copy.write_bytes(index.wheel)
    index.wheel = forged(copy)
    result = example.run(main=wheels.main)
    assert result.status == 1
    assert result.err.splitlines() == [
        f"python3.13: {WHEEL.name}: its attestation is refused: "
        "Verification failed: subject does not match distribution digest",
        "these locks stay as they were; all others are written",
    ]
    assert not list((example.root / "locks").iterdir())


def test_an_index_without_json_offers_none(example: Repository, index: Index) -> None:
    index.form = "text/html"
    result = example.run(main=wheels.main)
    assert result.status == 0, result.err
    assert "attested: 0 of 1 distributions" in result.out


def changed(*place: Any, to: object) -> bytes:
    """Return the provenance with another value at a place, or changed by `to` if that is a function."""
    data = json.loads(json.dumps(PROVENANCE))
    inner = data
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = to(inner[place[-1]]) if callable(to) else to
    return json.dumps(data).encode()


FIRST = ("attestation_bundles", 0, "attestations", 0)


@pytest.mark.parametrize(
    ("provenance", "says"),
    [
        (None, "404"),
        (b"<html>", "Invalid JSON"),
        (changed("attestation_bundles", to=[]), "holds none"),
        (changed("attestation_bundles", 0, "attestations", to=[]), "holds none"),
        (changed("attestation_bundles", 0, "publisher", "project_id", to="another"), "does not match"),
        (changed("attestation_bundles", 0, "publisher", "kind", to="Nobody"), "publisher"),
        (changed(*FIRST, "envelope", "signature", to=lambda old: old[:20] + "AAAA" + old[24:]), "ignature"),
        (changed(*FIRST, "envelope", "statement", to=lambda old: old[:60] + "AAAA" + old[64:]), "ignature"),
        (
            changed(*FIRST, "verification_material", "transparency_entries", 0, "kindVersion", "version", to="9"),
            "log entry version",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_genuine_attestation_is_refused(index: Index, provenance: bytes | None, says: str) -> None:
    index.provenance = provenance
    with pytest.raises(AttestationError, match=says) as caught:
        verify(index.attested())
    assert str(caught.value).startswith(f"{WHEEL.name}: its attestation is refused: ")
    assert "\n" not in str(caught.value)


def test_an_attestation_of_a_file_with_another_name_is_refused(index: Index) -> None:
    found = index.attested()
    verify(found)
    other = Attested(found.name.replace("dev137", "dev138"), found.digest, found.provenance)
    with pytest.raises(AttestationError, match="subject does not match"):
        verify(other)


def test_an_index_that_does_not_answer_is_an_error(index: Index) -> None:
    with pytest.raises(AttestationError, match=r"/simple/another/: cannot be read: 404"):
        offered(f"{index.url}/simple", "another")


def test_a_folder_of_wheels_offers_none() -> None:
    assert offered("file:///wheels", PROJECT) == {}
