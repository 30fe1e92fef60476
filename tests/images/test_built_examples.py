"""The folders of examples/: copied, built and used as their README says, then used further by a real client."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from imagematrix.matrix.model import Variant
from tests.conftest import REPOSITORY
from tests.documents.blocks import of_document
from tests.images.conftest import host
from tests.images.online import Online
from tests.images.postgres import postgres
from tests.images.shell import Shell, shell

EXAMPLES = {path.parent.name: path.parent for path in sorted((REPOSITORY / "examples").glob("*/Dockerfile"))}

pytestmark = pytest.mark.images("hypercorn-fastapi", os=["slim"], one_per="os")


@pytest.fixture
def home(tmp_path: Path, variant: Variant, online: Online, example: str) -> Iterator[Shell]:
    """A copy of the example, on the image."""
    with shell(tmp_path, host()) as made:
        shutil.copytree(EXAMPLES[example], made.folder, dirs_exist_ok=True)
        made.write({"Dockerfile": online.on(variant, (EXAMPLES[example] / "Dockerfile").read_text())})
        yield made


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_works_as_its_readme_says(example: str, home: Shell) -> None:
    for block in of_document(f"examples/{example}/README.md"):
        if block.kind == "sh":
            home.run(block.text)
    USES[example](home)
    for container in home.containers():
        assert "Traceback" not in container.logs(), container.logs()
        assert container.stop() == 0, container.logs()


@pytest.mark.parametrize("example", ["fastapi-alembic"])
def test_containers_that_start_at_once_migrate_a_postgresql_once(example: str, home: Shell) -> None:
    home.run("docker build -t shop .")
    with postgres() as folder:
        database = "postgresql+psycopg://owner@/postgres?host=/run/postgresql"
        for name, port in (("one", "8080"), ("two", "8443")):
            options = f"--name shop-{name} -p {port}:80 -v {folder}:/run/postgresql -e DATABASE_URL='{database}'"
            home.run(f"docker run -d {options} -e WEB_CONCURRENCY=1 shop")
        containers = home.containers()
        for container in containers:
            assert container.get("/products") == (200, "[]")
        assert sum(container.logs().count("Running upgrade") for container in containers) == 2
        assert httpx.post(f"{url(home)}/products", json={"name": "tea", "price": 3}, timeout=60).status_code == 201
        assert httpx.get(f"{url(home, '8443')}/products", timeout=60).json() == [{"name": "tea", "price": 3}]
        assert [container.stop() for container in containers] == [0, 0]


def url(home: Shell, port: str = "8080") -> str:
    return f"http://127.0.0.1:{home.ports[port]}"


def fastapi_alembic(home: Shell) -> None:
    tea = {"name": "tea", "price": 3}
    assert httpx.get(f"{url(home)}/products").json() == [tea]
    assert httpx.post(f"{url(home)}/products", json=tea).status_code == 409
    assert httpx.post(f"{url(home)}/products", json={"name": "cups"}).status_code == 422
    (container,) = home.containers()
    assert container.logs().count("Running upgrade") == 2
    container.docker.restart()
    container.get("/ready")
    assert httpx.get(f"{url(home)}/products").json() == [tea]
    assert container.logs().count("Running upgrade") == 2, "a migration runs once"
    assert "0002 (head)" in container.run("alembic", "current")


def django(home: Shell) -> None:
    assert httpx.get(url(home)).json() == {"served": "ASGI"}
    assert httpx.get(url(home, "8443")).json() == {"served": "WSGI"}
    for port in ("8080", "8443"):
        assert at_once(f"{url(home, port)}/wait", 8) == [{"waited": 1}] * 8
        assert httpx.get(url(home, port), headers={"host": "elsewhere.example"}).status_code == 400


def at_once(address: str, count: int) -> list[object]:
    with ThreadPoolExecutor(count) as pool:
        return [answer.json() for answer in pool.map(lambda _: httpx.get(address, timeout=60), range(count))]


def starlette_sse(home: Shell) -> None:
    """The README has stopped it while nobody was connected; now somebody is."""
    (container,) = home.containers()
    assert container.wait() == 0
    container.docker.start()
    container.get("/")
    address = f"http://127.0.0.1:{container.port()}/events"
    with (
        httpx.stream("GET", address, headers={"last-event-id": "41"}, timeout=60) as answer,
        ThreadPoolExecutor(1) as pool,
    ):
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith("data:")) == "data: 42"
        stop = pool.submit(container.stop)
        rest = [line for line in lines if line.startswith("data:")]
        assert stop.result() == 0, container.logs()
    assert len(rest) > 5, "the stream goes on to its end"


def flask(home: Shell) -> None:
    with ThreadPoolExecutor(8) as pool:
        posts = pool.map(lambda n: httpx.post(f"{url(home)}/notes", json={"text": str(n)}, timeout=60), range(32))
        assert {answer.status_code for answer in posts} == {201}
    assert sorted(httpx.get(f"{url(home)}/notes").json()) == sorted(["buy tea", *map(str, range(32))])


def mtls(home: Shell) -> None:
    certificates, address = home.folder / "certificates", f"https://localhost:{home.ports['8443']}/"
    stranger, known = (ssl.create_default_context(cafile=certificates / "ca.pem") for _ in range(2))
    known.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    assert httpx.get(address, verify=known).text == "welcome\n"
    with pytest.raises(httpx.TransportError):
        httpx.get(address, verify=stranger)


USES: dict[str, Callable[[Shell], None]] = {
    "django": django,
    "fastapi-alembic": fastapi_alembic,
    "flask": flask,
    "mtls": mtls,
    "starlette-sse": starlette_sse,
}
