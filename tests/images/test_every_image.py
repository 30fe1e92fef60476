"""What every image does: found, started, configured in the plainest way, and stopped."""

from __future__ import annotations

import pytest
from docker.client import DockerClient

from imagematrix.matrix.model import Variant
from tests.images.choice import worker_classes
from tests.images.container import Container, Runner, broken, installed

pytestmark = pytest.mark.images("hypercorn")

APPLICATION = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"mine"})
"""
BASE_PACKAGES = {"pip", "setuptools", "wheel", "packaging"}
"""What the official Python images bring; everything else is in the lock."""


def test_answers_with_the_demo_application(unmodified: Container, variant: Variant) -> None:
    status, body = unmodified.get("/")
    assert status == 200
    assert variant.server_version in body


def test_has_the_python_of_the_matrix(unmodified: Container, variant: Variant) -> None:
    version = unmodified.run("python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    assert version.strip() == variant.python.version


def test_has_exactly_the_packages_of_the_lock(unmodified: Container, variant: Variant) -> None:
    found = installed(unmodified)
    wanted = {package.name: package.version for package in variant.packages}
    assert {name: version for name, version in found.items() if name not in BASE_PACKAGES - set(wanted)} == wanted


def test_has_the_extras_of_the_matrix_and_only_those(unmodified: Container, variant: Variant) -> None:
    found = installed(unmodified)
    there = {extra.name for extra in variant.image.extras if extra.package in found}
    assert there == {extra.name for extra in variant.extras}


def test_packages_fit_together(unmodified: Container) -> None:
    assert broken(unmodified) == []


def test_a_build_leaves_no_trace_of_its_secrets(unmodified: Container) -> None:
    left = unmodified.run(
        "sh", "-c", "ls -A /tmp /run/secrets /root/.cache 2>/dev/null; cat /etc/pip.conf 2>/dev/null; :"
    )
    assert [line for line in left.split() if not line.endswith(":")] == []


def test_labels(variant: Variant, image: str, client: DockerClient) -> None:
    labels, own, project = client.images.get(image).labels, variant.matrix.labels, variant.matrix.project
    assert labels["org.opencontainers.image.version"] == variant.server_version
    assert labels["org.opencontainers.image.title"] == variant.image.title
    assert variant.base.rpartition(":")[2] in labels["org.opencontainers.image.base.name"]
    assert labels["org.opencontainers.image.revision"]
    about = ("source", "url", "documentation", "vendor", "licenses")
    assert [labels[f"org.opencontainers.image.{one}"] for one in about] == [getattr(project, one) for one in about]
    assert labels[own.end_of_life] == str(variant.python.end_of_life)
    assert labels[own.extras].split() == [extra.name for extra in variant.extras]
    dropped = {key: text for key, text in labels.items() if key.startswith(f"{own.dropped}.")}
    assert dropped == {f"{own.dropped}.{one.extra.name}": one.exclusion.reason for one in variant.dropped}


def test_all_its_tags_are_one_image(variant: Variant, client: DockerClient) -> None:
    assert len({client.images.get(reference).id for reference in variant.references}) == 1


def test_exposes_its_ports(image: str, client: DockerClient) -> None:
    assert set(client.images.get(image).attrs["Config"]["ExposedPorts"]) == {"80/tcp", "443/tcp", "443/udp"}


def test_has_all_layers_of_its_parent(variant: Variant, client: DockerClient) -> None:
    def layers(one: Variant) -> list[str]:
        found: list[str] = client.images.get(one.references[0]).attrs["RootFS"]["Layers"]
        return found

    for ancestor in variant.image.lineage:
        parents = layers(variant.at(ancestor))
        assert layers(variant)[: len(parents)] == parents


def test_serves_a_mounted_application(run: Runner, image: str, tmp_path) -> None:
    (tmp_path / "main.py").write_text(APPLICATION)
    with run(image, volumes={str(tmp_path): {"bind": "/app", "mode": "ro"}}) as container:
        assert container.get("/") == (200, "mine")


def test_serves_a_copied_application(run: Runner, image: str) -> None:
    with (
        run.built(f"FROM {image}\nCOPY ./app /app/app\n", {"app/main.py": APPLICATION, "app/__init__.py": ""}) as child,
        run(child) as container,
    ):
        assert container.get("/") == (200, "mine")


@pytest.mark.parametrize("wanted", ["asyncio", "trio", "uvloop"])
def test_starts_with_the_worker_classes_it_has_and_refuses_others(
    run: Runner, image: str, variant: Variant, wanted: str
) -> None:
    with run(image, environment={"WORKER_CLASS": wanted, "WEB_CONCURRENCY": "1"}) as container:
        if wanted in worker_classes(variant):
            assert container.get("/")[0] == 200
            assert container.stop() == 0
        else:
            reason = next(
                one.exclusion.reason for one in variant.dropped if one.extra.facts.get("worker_class") == wanted
            )
            assert container.wait() == 1
            assert reason in container.logs()
            assert "WORKER_CLASS" in container.logs()
            assert "Traceback" not in container.logs()


def test_runs_the_prestart_script(run: Runner, image: str) -> None:
    script = {"/app/prestart.sh": "echo prestart was here\n"}
    with run(image, files=script) as container:
        assert container.get("/")[0] == 200
        assert container.logs().count("prestart was here") == 1


def test_compiles_nothing_and_stops_with_status_0(run: Runner, image: str) -> None:
    """The byte code of what a server imports is in the image, also that of the standard library."""
    with run(image) as container:
        assert container.get("/")[0] == 200
        assert container.stop() == 0
        changed = [change["Path"] for change in container.docker.diff()]
        assert [path for path in changed if path.endswith(".pyc") and not path.startswith("/app/")] == []
