"""The start scripts, the prestart script, the reloader and the health check; under dash and ash, with odd paths."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypercorn.config import Config
from hypercorn_image.listen import state
from hypercorn_image.listen.sockets import Listeners

from tests.local import need
from tests.runtime.conftest import compile_runtime
from tests.runtime.server import RUNTIME, Server, connect, launch, request, wait_for

SHELLS = {"dash": ["dash"], "busybox ash": ["busybox", "ash"]}
Start = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's root, below a path with spaces; no test writes to it."""
    root = tmp_path_factory.mktemp("image") / "the root"
    compile_runtime(Path(sys.executable))
    shutil.copytree(RUNTIME, root)
    programs = root / "opt/hypercorn"
    subprocess.run([sys.executable, programs / "hypercorn_image/build/signal_programs.py", programs], check=True)
    return root


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The shell of the test, which `sh` is too."""
    command = SHELLS[request.param]
    need(command[0], package=command[0])
    (tmp_path / "bin").mkdir()
    sh = tmp_path / "bin" / "sh"
    sh.write_text(f'#!/bin/bash\nexec {" ".join(command)} "$@"\n')
    sh.chmod(0o755)
    return command


@pytest.fixture
def start(root: Path, shell: list[str], python: str, tmp_path: Path) -> Start:
    def run(
        *arguments: str,
        script: str = "start.sh",
        prestart: str | bytes | None = None,
        before: Sequence[str] = (),
        stdin: int | None = None,
        **environ: str,
    ) -> AbstractContextManager[Server]:
        """Start a script, by way of the command `before`, with a terminal or nothing to read."""
        path = tmp_path / "a prestart script.sh"
        if prestart is not None:
            path.write_bytes(prestart if isinstance(prestart, bytes) else prestart.encode())
        variables = {**({} if prestart is None else {"PRE_START_PATH": str(path)}), **environ}
        variables["PATH"] = f"{tmp_path / 'bin'}:{Path(python).parent}:{os.environ['PATH']}"
        command = [*before, *([str(shutil.which(shell[0])), *shell[1:], str(root / script)])]
        return launch(python, tmp_path / "my app", *arguments, command=command, environ=variables, stdin=stdin)

    return run


def test_starts_as_the_same_process_and_stops(start: Start) -> None:
    with start("--root-path", "/a b") as one:
        one.serving()
        answer = one.get("/a%20b/")
        assert answer["root_path"] == "/a b"
        assert answer["parent"] == one.process.pid
        assert one.stop() == 0


def test_what_the_prestart_script_leaves_behind_reaches_the_server(start: Start, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    prestart = f"""
        export MARKER="two words  and 'quotes'"
        not_exported=1
        umask 027
        ulimit -n 432
        cd "{tmp_path}/elsewhere"
    """
    with start(prestart=prestart, PYTHONPATH=str(tmp_path / "my app")) as one:
        one.serving()
        assert one.get()["marker"] == "two words  and 'quotes'"
        assert Path(f"/proc/{one.process.pid}/cwd").resolve() == tmp_path / "elsewhere"
        assert "Umask:\t0027" in Path(f"/proc/{one.process.pid}/status").read_text()
        assert any(
            "432" in line
            for line in Path(f"/proc/{one.process.pid}/limits").read_text().splitlines()
            if line.startswith("Max open files")
        )


def test_the_prestart_script_runs_once_with_several_workers(start: Start) -> None:
    with start(prestart="echo ran >> prestarted\n", WEB_CONCURRENCY="3") as one:
        one.serving()
        assert (one.directory / "prestarted").read_text() == "ran\n"


@pytest.mark.parametrize("last", ["exit 0", "true", "", "exit", "trap 'echo mine' EXIT", "exec true"])
def test_a_prestart_script_that_succeeds_goes_on_to_the_server(start: Start, last: str) -> None:
    with start(prestart=f"echo hello\n{last}") as one:
        one.serving()
        assert "hello" in one.log


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("exit 7", 7),
        ("false", 1),
        ("sh -c 'exit 9'\necho not reached", 9),
        ("kill -9 $$", 137),
        ("no_such_command_here", 127),
    ],
)
def test_a_prestart_script_that_fails_stops_with_its_status(start: Start, script: str, status: int) -> None:
    with start(prestart=script) as one:
        assert one.wait() == status
        assert f"a prestart script.sh ended with status {status}: the server is not started" in one.log
        assert "not reached" not in one.log
        assert one.events("imported") == []


def test_a_prestart_script_for_another_interpreter_is_run_with_it(start: Start) -> None:
    program = "#!/usr/bin/env python3\nimport sys\nprint('interpreter', sys.version_info[0])\n"
    with start(prestart=program) as one:
        one.serving()
        assert "interpreter 3" in one.log
    with start(prestart='#! /usr/bin/env bash\n[[ x == x ]] && echo "bash $BASH_VERSION"\nexit 3\n') as one:
        assert one.wait() == 3
        assert "bash 5" in one.log


def test_a_prestart_script_for_an_interpreter_that_is_not_there_is_sourced(start: Start) -> None:
    with start(prestart="#!/opt/none/zsh\nexport MARKER=sourced\n") as one:
        one.serving()
        assert one.get()["marker"] == "sourced"


@pytest.mark.parametrize("first", ["#!/bin/bash", "#!/usr/bin/env bash", "#!/bin/bash -e", "#!/opt/none/bash"])
def test_what_a_bash_script_exports_reaches_the_server(start: Start, first: str) -> None:
    with start(prestart=f'{first}\nwords=(one two)\nexport MARKER="${{words[1]}} of $(basename "$0")"\n') as one:
        one.serving()
        assert one.get()["marker"] == "two of a prestart script.sh"


@pytest.mark.parametrize("path", ["/no/such script.sh", ""])
def test_a_prestart_script_that_is_not_there(start: Start, path: str) -> None:
    with start(PRE_START_PATH=path) as one:
        one.serving()
        said = f"hypercorn-image: warning: PRE_START_PATH={path} does not exist: no prestart script is run"
        assert one.log.splitlines().count(said) == bool(path)
        assert one.log.count("PRE_START_PATH") == bool(path)


def test_windows_line_ends_are_nothing_to_python(start: Start) -> None:
    with start(prestart=b'#!/usr/bin/env python3\r\nprint("""a\r\nb""")\r\n') as one:
        one.serving()
        assert "a\nb\n" in one.log


@pytest.mark.parametrize("first", ["#!/bin/sh", "#!/bin/bash"])
def test_windows_line_ends_are_one_clear_line(start: Start, first: str) -> None:
    with start(prestart=f"{first}\r\necho hello\r\n".encode()) as one:
        assert one.wait() == 1
        assert "has Windows line ends (CRLF)" in one.log
        assert len(one.log.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("interpreter", ["", "#!/usr/bin/env bash\n"])
def test_a_stop_during_the_prestart_script_ends_at_once(start: Start, number: signal.Signals, interpreter: str) -> None:
    with start(prestart=f"{interpreter}echo begun\nsleep 600\necho after\n") as one:
        one.wait_log("begun")
        assert one.stop(number) == 0
        assert "after" not in one.log
        assert one.events("imported") == []


def test_a_prestart_script_that_ignores_the_signal_is_ended(start: Start) -> None:
    with start(prestart="trap '' TERM\necho begun\nsleep 600\n") as one:
        one.wait_log("begun")
        assert one.stop() == 0


@pytest.mark.parametrize("arguments", [{}, {"script": "start-reload.sh"}, {"prestart": "sleep 600\n"}], ids=str)
def test_a_stop_that_came_before_there_was_a_handler(start: Start, root: Path, arguments: dict[str, str]) -> None:
    """A blocked signal stays pending while the process becomes one program after another."""
    before = [str(root / "opt/hypercorn/block-signals"), "/bin/sh", "-c", 'kill -TERM $$; exec "$0" "$@"']
    with start(before=before, **arguments) as one:
        assert one.wait() == 0
        assert one.events("imported") == []


def test_a_stop_just_when_the_prestart_script_ends(start: Start) -> None:
    with start(prestart="kill -TERM $PPID\n") as one:
        assert one.wait() == 0
        assert one.events("imported") == []


@pytest.mark.parametrize(
    "number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU], ids=lambda one: one.name
)
@pytest.mark.parametrize("workers", ["0", "1"])
def test_other_signals_while_it_starts_and_serves_do_not_end_it(
    start: Start, tmp_path: Path, number: signal.Signals, workers: str
) -> None:
    conf = tmp_path / "conf.py"
    conf.write_text(
        f"import os, time\nfrom hypercorn_conf import *\nopen({str(tmp_path / 'begun')!r}, 'w').close()\n"
        f"while not os.path.exists({str(tmp_path / 'go on')!r}):\n    time.sleep(0.01)\n"
    )
    with start(HYPERCORN_CONF=str(conf), WEB_CONCURRENCY=workers) as one:
        wait_for((tmp_path / "begun").exists, "configuration", lambda: one.log)
        one.kill(number)
        (tmp_path / "go on").touch()
        one.serving()
        one.kill(number)
        assert one.get()
        assert one.stop() == 0


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal: the side of who types, and the side of a program."""
    sides = pty.openpty()
    yield sides
    for side in sides:
        os.close(side)


def test_a_prestart_script_reads_the_terminal(start: Start, terminal: tuple[int, int]) -> None:
    typed, stdin = terminal
    with start(prestart="echo asked\nread -r MARKER\nexport MARKER\n", before=["setsid", "-c"], stdin=stdin) as one:
        one.wait_log("asked")
        os.write(typed, b"me\n")
        one.serving()
        assert one.get()["marker"] == "me"
        os.write(typed, b"\x03")
        assert one.wait() == 0


def test_ctrl_c_during_the_prestart_script(start: Start, terminal: tuple[int, int]) -> None:
    typed, stdin = terminal
    with start(prestart="echo asked\nsleep 600\n", before=["setsid", "-c"], stdin=stdin) as one:
        one.wait_log("asked")
        os.write(typed, b"\x03")
        assert one.wait() == 0
        assert one.events("imported") == []


def test_no_application_is_one_line_that_names_the_places(start: Start) -> None:
    with start(MODULE_NAME="(unset)") as one:
        assert one.wait() == 1
        assert one.log.splitlines() == [
            "hypercorn-image: error: no application: there is neither /app/app/main.py nor /app/main.py; "
            "add one, or set MODULE_NAME or APP_MODULE"
        ]


def test_the_entry_point(root: Path, start: Start, shell: list[str], python: str) -> None:
    environ = {"PATH": f"{Path(python).parent}:{os.environ['PATH']}"}
    entry = [*shell, str(root / "entrypoint.sh")]
    found = subprocess.run(
        [*entry, "python", "-c", "print('ran', end='')"], env=environ, capture_output=True, check=True
    )
    assert found.stdout == b"ran"
    assert subprocess.run([*entry, "sh", "-c", "exit 5"], env=environ, check=False).returncode == 5
    with start("--root-path=/x", script="entrypoint.sh") as one:
        assert one.serving().get("/x/")["root_path"] == "/x"


# ---- reload --------------------------------------------------------------------------------------------------------


def test_reload_on_a_change_of_the_code(start: Start) -> None:
    with start(script="start-reload.sh", WEB_CONCURRENCY="5", WORKER_CLASS="trio", prestart="echo prestarted") as one:
        one.serving()
        assert "prestarted" in one.log
        first = one.get()["pid"]
        assert len(one.children()) == 1, "one worker, whatever the environment says"
        main = one.directory / "main.py"
        text = main.read_text()
        main.write_text(text.replace('"marker":', '"changed": True, "marker":'))
        one.wait_log("Serving ", 2)
        assert "Detected changes in main.py; reloading" in one.log
        assert one.get()["changed"] is True
        assert one.get()["pid"] != first
        assert one.stop() == 0


def test_a_syntax_error_while_editing_does_not_end_the_reloader(start: Start) -> None:
    with start(script="start-reload.sh") as one:
        one.serving()
        main = one.directory / "main.py"
        text = main.read_text()
        main.write_text(text + "\nthis is no Python\n")
        one.wait_log("SyntaxError")
        one.wait_log("waiting for changes")
        assert one.process.poll() is None
        main.write_text(text + "\n# repaired\n")
        one.wait_log("Serving ", 2)
        assert one.get()["pid"]
        one.kill(signal.SIGINT)
        assert one.wait() == 0


def test_reload_sees_new_modules_and_forgets_a_crash(start: Start) -> None:
    with start(script="start-reload.sh") as one:
        one.serving()
        with pytest.raises((EOFError, OSError)):
            request(one.address, "/crash")
        one.wait_log("waiting for changes")
        (one.directory / "package").mkdir()
        (one.directory / "package" / "__init__.py").write_text("")
        one.wait_log("Serving ", 2)
        assert one.get()["pid"]


def test_a_dead_worker_is_noticed_while_its_children_live_on(start: Start) -> None:
    with start(script="start-reload.sh") as one:
        main = one.directory / "main.py"
        text = main.read_text().replace(
            'elif path == "/missing":',
            'elif path == "/die":\n        if os.fork():\n            os.kill(os.getpid(), 9)\n        note("left")\n'
            '        time.sleep(600)\n    elif path == "/missing":',
        )
        one.serving()
        main.write_text(text)
        one.wait_log("Serving ", 2)
        sock = connect(one.address)  # which the child holds open
        sock.sendall(b"GET /die HTTP/1.1\r\nhost: a\r\n\r\n")
        (left,) = one.wait_events("left", 1)
        try:
            one.wait_log("Worker exited with SIGKILL; waiting for changes")
        finally:
            os.kill(left, signal.SIGKILL)
            sock.close()
        main.write_text(text + "\n# changed\n")
        one.wait_log("Serving ", 3)
        assert one.get()["pid"]


# ---- health check --------------------------------------------------------------------------------------------------


def check(python: str, directory: Path, **environ: str) -> tuple[int, str]:
    found = subprocess.run(
        [python, "-IS", str(RUNTIME / "opt/hypercorn/healthcheck.py")],
        env={"STATE_DIRECTORY": str(directory), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return found.returncode, found.stdout + found.stderr


@pytest.mark.every_python
def test_the_health_check_asks_the_server_and_leaves_no_trace(python: str, tmp_path: Path) -> None:
    with launch(python, tmp_path / "app") as one:
        one.serving()
        assert check(python, one.directory) == (0, "")
        port = one.address[1]
        assert one.stop() == 0
        status, said = check(python, one.directory, HOST="127.0.0.1", TCP_PORT=str(port))
        assert (status, "no answer from 127.0.0.1" in said) == (1, True), "by the environment, where there is no note"
        assert len(one.log.splitlines()) == 3, "neither the access log nor the application hears of it"


@pytest.mark.parametrize(("path", "status"), [("/", 0), ("/missing", 1)])
def test_the_health_check_asks_for_a_path(python: str, tmp_path: Path, path: str, status: int) -> None:
    with launch(python, tmp_path / "app", environ={"HEALTHCHECK_PATH": path, "ACCESS_LOG_SKIP": path}) as one:
        one.serving()
        found, said = check(python, one.directory)
        assert found == status, said
        assert ("404" in said) == (status == 1)
        assert one.stop() == 0
        assert f"GET {path}" not in one.log


def test_the_health_check_by_unix_socket(python: str, tmp_path: Path) -> None:
    with launch(python, tmp_path / "app", environ={"BIND": f"unix:{tmp_path}/sock"}) as one:
        one.serving()
        assert check(python, one.directory) == (0, "")


def test_the_health_check_by_a_socket_in_the_abstract_namespace(python: str, tmp_path: Path) -> None:
    """Somebody else has opened it, and hands it in."""
    hand_in = """
import os, socket, sys
given = socket.socket(socket.AF_UNIX)
given.bind("\\0" + sys.argv[1])
given.listen()
os.set_inheritable(given.fileno(), True)
os.environ["BIND"] = f"fd://{given.fileno()}"
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
    command = [python, "-c", hand_in, str(tmp_path), str(RUNTIME / "opt/hypercorn/serve.py")]
    with launch(python, tmp_path / "app", command=command) as one:
        one.serving()
        assert check(python, one.directory) == (0, "")
        assert request(f"\0{tmp_path}")[0] == 200


def test_the_health_check_asks_for_a_name_that_is_served(python: str, tmp_path: Path) -> None:
    environ = {"SERVER_NAMES": "api.example.com,www.example.com", "HEALTHCHECK_PATH": "/"}
    with launch(python, tmp_path / "app", environ=environ) as one:
        one.serving()
        assert request(one.address)[0] == 404, "any other name is not served"
        assert check(python, one.directory) == (0, "")


def test_the_health_check_of_a_server_on_every_ipv6_address_needs_no_ipv6_loopback() -> None:
    for bind, only_ipv6, expected in (("[::]:0", 0, "127.0.0.1"), ("[::]:0", 1, "::1"), ("[::1]:0", 1, "::1")):
        listeners = Listeners(Config.from_mapping(bind=[bind]))
        try:
            listeners.open()
            ((_, host, port),) = listeners.targets()
            if not only_ipv6:
                socket.create_connection((host, port)).close()
                assert host == expected
        finally:
            listeners.close()
        with socket.socket(socket.AF_INET6) as sock:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6)
            sock.bind((bind[1:-3], 0))
            sock.listen()
            listeners = Listeners(Config.from_mapping(bind=[f"fd://{sock.fileno()}"]))
            listeners.open()
            ((_, host, port),) = listeners.targets()
            listeners.close()
            assert host == expected
            socket.create_connection((host, port)).close()


@pytest.mark.parametrize("path", ["", "/"])
@pytest.mark.parametrize("client_certificates", [False, True])
def test_the_health_check_over_tls(python: str, tmp_path: Path, client_certificates: bool, path: str) -> None:
    from tests.runtime.certificates import Authority

    authority = Authority(tmp_path / "certificates")
    certificate, key = authority.issue()
    environ = {"USE_SSL": "true", "USE_TCP": "false", "SSL_PORT": "0", "CERTFILE": certificate, "KEYFILE": key}
    environ["HEALTHCHECK_PATH"] = path
    if client_certificates:
        environ["CA_CERTS"] = str(authority.ca)
    with launch(python, tmp_path / "app", environ=environ) as one:
        one.serving()
        assert check(python, one.directory) == (0, "")


def test_the_health_check_takes_the_wish_for_a_certificate_for_life(python: str, tmp_path: Path) -> None:
    """With TLS 1.2 a client without one is turned away during the handshake, with 1.3 after it."""
    from tests.runtime.certificates import Authority

    authority = Authority(tmp_path / "certificates")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca)
    context.load_cert_chain(*authority.issue())
    context.maximum_version, context.verify_mode = ssl.TLSVersion.TLSv1_2, ssl.CERT_REQUIRED

    def turn_away(listening: socket.socket) -> None:
        with contextlib.suppress(ssl.SSLError):
            context.wrap_socket(listening.accept()[0], server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        note = "\n".join(state.lines([(True, *listening.getsockname())], {}, {}))
        (tmp_path / f"hypercorn-image-{os.getuid()}").write_text(note)
        pool.submit(turn_away, listening)
        assert check(python, tmp_path) == (0, "")


def test_the_health_check_believes_no_note_of_somebody_else(python: str, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a file away")
    with launch(python, tmp_path / "app") as one:
        note = one.serving().directory / "hypercorn-image-0"
        assert check(python, one.directory, USE_TCP="false") == (0, "")
        os.chown(note, 12345, 12345)
        assert check(python, one.directory, USE_TCP="false")[0] == 1


def test_the_health_check_notices_a_server_that_hangs(python: str, tmp_path: Path) -> None:
    environ = {"APP_MODULE": "main:hang", "WEB_CONCURRENCY": "1", "HEALTHCHECK_TIMEOUT": "0.3", "GRACEFUL_TIMEOUT": "0"}
    with launch(python, tmp_path / "app", environ=environ) as one:
        one.serving()
        assert check(python, one.directory)[0] == 0
        with connect(one.address) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            one.wait_events("hanging", 1)
            status, said = check(python, one.directory)
            assert status == 1
            assert "no answer" in said


def test_the_health_check_before_the_server_is_up(python: str, tmp_path: Path) -> None:
    status, said = check(python, tmp_path, USE_TCP="false")
    assert (status, said) == (1, "unhealthy: the server is not up: it has not noted where it listens\n")
