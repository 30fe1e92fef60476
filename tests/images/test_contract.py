"""CONTRACT.md as a table: what an image makes of its environment, sentence by sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.images.container import Container, Runner, archive, wait_for

pytestmark = pytest.mark.images("hypercorn", one_per="python")


class Sentence(NamedTuple):
    """One sentence: with `environ`, either `effect` is in the effective configuration or `error` is said."""

    text: str
    environ: dict[str, str]
    effect: dict[str, Any] = {}  # noqa: RUF012
    error: str = ""


TLS = {"USE_SSL": "true", "CERTFILE": "/hypercorn_conf.py", "KEYFILE": "/hypercorn_conf.py"}
SENTENCES = [
    Sentence("MODULE_NAME defaults to main if /app/main.py exists", {}, {"application": "main:app"}),
    Sentence("MODULE_NAME names the module to import", {"MODULE_NAME": "a.b"}, {"application": "a.b:app"}),
    Sentence("VARIABLE_NAME names the application in it", {"VARIABLE_NAME": "api"}, {"application": "main:api"}),
    Sentence(
        "APP_MODULE is what Hypercorn is given", {"APP_MODULE": "x:y", "MODULE_NAME": "z"}, {"application": "x:y"}
    ),
    Sentence("HYPERCORN_CONF defaults to the included one", {}, {"configuration": "file:/hypercorn_conf.py"}),
    Sentence(
        "a bare path ending in .py means file:",
        {"HYPERCORN_CONF": "/hypercorn_conf.py"},
        {"configuration": "file:/hypercorn_conf.py"},
    ),
    Sentence(
        "a configuration file that does not exist is a clear error",
        {"HYPERCORN_CONF": "/none.py"},
        error="HYPERCORN_CONF='/none.py' does not exist: "
        "file:PATH.py, python:MODULE, or the path of a .py or TOML file",
    ),
    Sentence("MAX_WORKERS caps the computed number", {"WORKERS_PER_CORE": "50", "MAX_WORKERS": "3"}, {"workers": 3}),
    Sentence(
        "MAX_WORKERS does not cap an explicit WEB_CONCURRENCY",
        {"WEB_CONCURRENCY": "5", "MAX_WORKERS": "3"},
        {"workers": 5},
    ),
    Sentence("workers are at least 1", {"WORKERS_PER_CORE": "0.001"}, {"workers": 1}),
    Sentence("HOST and TCP_PORT make BIND", {"HOST": "127.0.0.1", "TCP_PORT": "81"}, {"bind": ["127.0.0.1:81"]}),
    Sentence("BIND defaults to 0.0.0.0:80", {}, {"bind": ["0.0.0.0:80"], "insecure_bind": [], "quic_bind": []}),
    Sentence("PORT is honoured when TCP_PORT is unset", {"PORT": "8080"}, {"bind": ["0.0.0.0:8080"]}),
    Sentence("TCP_PORT goes before PORT", {"PORT": "8080", "TCP_PORT": "81"}, {"bind": ["0.0.0.0:81"]}),
    Sentence(
        "at least one of USE_SSL and USE_TCP must be true",
        {"USE_TCP": "no"},
        error="USE_SSL and USE_TCP are both false: at least one must be true",
    ),
    Sentence(
        "BIND is HOST:SSL_PORT with USE_SSL",
        {**TLS, "SSL_PORT": "444"},
        {"bind": ["0.0.0.0:444"], "insecure_bind": ["0.0.0.0:80"]},
    ),
    Sentence("INSECURE_BIND is none without USE_TCP", {**TLS, "USE_TCP": "0"}, {"insecure_bind": []}),
    Sentence(
        "INSECURE_BIND otherwise is a clear error",
        {"INSECURE_BIND": "0.0.0.0:81"},
        error="INSECURE_BIND is set but is only for USE_SSL and USE_TCP both true: unset it, or set both to true",
    ),
    Sentence("BIND may be a comma-separated list", {"BIND": "0.0.0.0:80,[::]:81"}, {"bind": ["0.0.0.0:80", "[::]:81"]}),
    Sentence(
        "QUIC_BIND needs USE_SSL",
        {"QUIC_BIND": "0.0.0.0:443"},
        error="QUIC_BIND is set but HTTP/3 needs TLS: set USE_SSL=true with CERTFILE and KEYFILE",
    ),
    Sentence("LOG_LEVEL is one of five", {"LOG_LEVEL": "DEBUG"}, {"loglevel": "debug"}),
    Sentence(
        "LOG_LEVEL otherwise is an error",
        {"LOG_LEVEL": "loud"},
        error="LOG_LEVEL='loud' is not allowed: one of debug, info, warning, error, critical",
    ),
    Sentence(
        "CERTFILE and KEYFILE are required by USE_SSL",
        {"USE_SSL": "1", "CERTFILE": "/hypercorn_conf.py"},
        error="KEYFILE is not set: USE_SSL=true needs CERTFILE and KEYFILE",
    ),
    Sentence(
        "CERTFILE and KEYFILE are ignored without it", {"CERTFILE": "/none", "KEYFILE": "/none"}, {"certfile": None}
    ),
    Sentence(
        "CA_CERTS requires client certificates",
        {**TLS, "CA_CERTS": "/hypercorn_conf.py"},
        {"verify_mode": "CERT_REQUIRED"},
    ),
    Sentence("CIPHERS defaults to ECDHE+AESGCM", TLS, {"ciphers": "ECDHE+AESGCM"}),
    Sentence("KEEP_ALIVE defaults to 5", {}, {"keep_alive_timeout": 5}),
    Sentence("KEEP_ALIVE is a float", {"KEEP_ALIVE": "2.5"}, {"keep_alive_timeout": 2.5}),
    Sentence("GRACEFUL_TIMEOUT defaults to 120", {}, {"graceful_timeout": 120.0}),
    Sentence("ACCESS_LOG and ERROR_LOG default to -", {}, {"accesslog": "-", "errorlog": "-"}),
    Sentence("empty disables them", {"ACCESS_LOG": "", "ERROR_LOG": ""}, {"accesslog": None, "errorlog": None}),
    Sentence("BACKLOG defaults to 100", {}, {"backlog": 100}),
    Sentence("an empty value means unset", {"TCP_PORT": "", "WORKER_CLASS": ""}, {"bind": ["0.0.0.0:80"]}),
    Sentence("booleans are compared in lower case", {**TLS, "USE_TCP": "FaLsE", "USE_SSL": "Y"}, {"insecure_bind": []}),
    Sentence(
        "anything else is a clear error",
        {"USE_TCP": "perhaps"},
        error="USE_TCP='perhaps' is not allowed: one of no, n, 0, false, yes, y, 1, true",
    ),
    Sentence(
        "every other option has a variable",
        {"MAX_REQUESTS": "7", "H2_MAX_CONCURRENT_STREAMS": "9"},
        {"max_requests": 7, "h2_max_concurrent_streams": 9},
    ),
    Sentence(
        "a secret can come from a file", {**TLS, "KEYFILE_PASSWORD_FILE": "/etc/hostname"}, {"keyfile_password": "***"}
    ),
]


@pytest.fixture
def idle(run: Runner, image: str) -> Iterator[Container]:
    """A container of the variant that only waits, to run things in."""
    with run(image, ["sleep", "600"]) as container:
        yield container


def test_every_sentence_of_the_configuration(idle: Container) -> None:
    wrong = []
    for sentence in SENTENCES:
        status, (out, err) = idle.docker.exec_run(
            ["python", "/hypercorn_conf.py"], environment=sentence.environ, demux=True
        )
        found, said = (out or b"").decode(), (err or b"").decode()
        if sentence.error:
            ok = status == 1 and said == f"hypercorn-image: error: {sentence.error}\n" and not found
        else:
            values = json.loads(found) if status == 0 else {}
            ok = bool(values) and {name: values.get(name) for name in sentence.effect} == sentence.effect
        if not ok:
            wrong.append(f"{sentence.text}: status {status}, {found[:300]} {said}")
    assert wrong == []


def test_cores_are_what_the_container_may_use(run: Runner, image: str) -> None:
    command = ["python", "/hypercorn_conf.py"]
    for options, workers in (({"nano_cpus": 500_000_000}, 1), ({"cpuset_cpus": "0"}, 1)):
        with run(image, command, environment={"WORKERS_PER_CORE": "3"}, **options) as container:  # type: ignore[arg-type]
            assert container.wait() == 0
            assert json.loads(container.logs())["workers"] == 3 * workers


def test_with_no_application_it_stops_with_one_line_that_names_the_places(run: Runner, image: str) -> None:
    command = ["sh", "-c", "rm /app/main.py && exec /start.sh"]
    with run(image, command) as container:
        assert container.wait() == 1
        assert "neither /app/app/main.py nor /app/main.py" in container.logs()
        assert len(container.logs().splitlines()) == 1


def test_app_main_goes_before_main(run: Runner, image: str) -> None:
    files = {"/app/app/__init__.py": "", "/app/app/main.py": APPLICATION, "/app/main.py": "raise RuntimeError"}
    with run(image, files=files) as container:
        assert container.get("/") == (200, "mine")


def test_a_configuration_of_ones_own_is_found_and_may_change_one_default(run: Runner, image: str) -> None:
    conf = "from hypercorn_conf import *\n\n\ndef two():\n    return 2\n\n\nworkers = two()\nroot_path = '/mine'\n"
    with run(image, files={"/app/hypercorn_conf.py": conf}) as container:
        assert container.get("/")[0] == 200
        wait_for(lambda: "2 asyncio workers" in container.logs(), "the number of workers", container.logs)


def test_an_argument_is_an_argument_of_the_server_and_a_command_is_run(run: Runner, image: str) -> None:
    with run(image, ["--workers", "1", "--bind", "0.0.0.0:81"], publish=("81/tcp",)) as container:
        assert container.get("/", "81/tcp")[0] == 200
    with run(image, ["python", "-c", "print('run')"]) as container:
        assert (container.wait(), container.logs()) == (0, "run\n")


PRESTARTS = {
    "what it exports reaches the server, and exit 0 goes on to it": ("export MODULE_NAME=other\nexit 0\n", 0),
    "another status stops the container with it": ("exit 7\n", 7),
    "another interpreter is used if it is there": ("#!/usr/bin/env python\nimport sys\nsys.exit(9)\n", 9),
    "windows line ends are a clear line": ("exit 0\r\n", 1),
}


@pytest.mark.parametrize("sentence", PRESTARTS)
def test_prestart(run: Runner, image: str, sentence: str) -> None:
    script, status = PRESTARTS[sentence]
    environ = {"PRE_START_PATH": "/a folder/pre start.sh"}
    files = {"/a folder/pre start.sh": script, "/app/other.py": APPLICATION}
    with run(image, files=files, environment=environ) as container:
        if status == 0:
            assert container.get("/") == (200, "mine")
            assert container.run("cat", "/proc/1/comm").startswith("python")
        else:
            assert container.wait() == status
            assert "pre start.sh" in container.logs()


def test_start_reload_shows_an_error_and_picks_up_the_next_save(run: Runner, image: str) -> None:
    with run(image, ["/start-reload.sh"]) as container:
        assert container.get("/")[0] == 200
        container.docker.put_archive("/app", archive({"main.py": "this is no Python\n"}))
        wait_for(lambda: "SyntaxError" in container.logs(), "the error", container.logs)
        container.docker.put_archive("/app", archive({"main.py": APPLICATION}))
        wait_for(lambda: container.logs().count("Serving") == 2, "the next one", container.logs)
        assert container.get("/") == (200, "mine")
        assert container.stop() == 0


LOCKED = {
    "as any user": {"user": "12345:12345"},
    "with a read-only root and nothing to write": {
        "read_only": True,
        "volumes": {"/tmp": {"bind": "/dev/shm", "mode": "ro"}},
    },
    "with all of it": {
        "user": "12345:12345",
        "read_only": True,
        "tmpfs": {"/tmp": ""},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "volumes": {"/tmp": {"bind": "/dev/shm", "mode": "ro"}},
    },
}


@pytest.mark.parametrize("how", LOCKED)
def test_runs(run: Runner, image: str, how: str) -> None:
    with run(image, **LOCKED[how]) as container:  # type: ignore[arg-type]
        assert container.get("/")[0] == 200
        check = container.docker.client.api.inspect_image(image)["Config"]["Healthcheck"]["Test"]
        assert check[0] == "CMD"
        assert container.run(*check[1:]) == ""
        assert container.stop() == 0
        assert "Traceback" not in container.logs()


APPLICATION = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"mine"})
"""
