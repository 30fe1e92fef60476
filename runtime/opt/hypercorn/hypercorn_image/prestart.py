"""Runs the prestart script, then becomes the server: `python -IS prestart.py SCRIPT COMMAND…`.

A shell that is PID 1 acts on a signal only after the command that it waits for, so `docker stop` during a long
migration would end in a kill. This waits in the shell's place. A script for sh is still sourced, by a shell of its own;
what that leaves behind (exported variables, directory, umask, limits) is taken over. Imports little: it delays every
start that has a prestart script.
"""

import marshal
import os
import resource
import select
import signal
import sys
import time
from typing import Any, Dict, List, Optional, Tuple

_SHELLS = ("sh", "dash", "ash", "busybox")
_STOP_GRACE = 1.0  # seconds that a script gets to end after a stop
_LIMITS = [value for name, value in sorted(vars(resource).items()) if name.startswith("RLIMIT_")]

Report = Tuple[Dict[bytes, bytes], str, int, List[Tuple[int, Tuple[int, int]]]]


def main(arguments: List[str]) -> int:
    """Run the script and then the command; return only when the command is not to be run."""
    if arguments[:1] == ["--report"]:
        _report(int(arguments[1]))
        return 0
    script, command = arguments[0], arguments[1:]
    problem, interpreter = _examine(script)
    if problem:
        return _fail(problem, 1)
    status, left = _run(script, interpreter, command[2:])
    if status != 0:
        return _fail(f"the prestart script {script} ended with status {status}: the server is not started", status)
    _become(command, left)
    return 1


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"hypercorn-image: error: {message}\n")
    return status


def _examine(script: str) -> Tuple[str, List[str]]:
    """Return a problem with the script, and the interpreter to run it with (none: it is sourced by sh)."""
    try:
        with open(script, "rb") as file:
            text = file.read(1 << 20)
    except OSError as error:
        return f"the prestart script {script} cannot be read: {error.strerror}", []
    if b"\r\n" in text:
        said = f"the prestart script {script} has Windows line ends (CRLF), which sh takes for part of the commands"
        return said + ": save it with LF", []
    return "", _interpreter(text.split(b"\n", 1)[0])


def _interpreter(first_line: bytes) -> List[str]:
    """Return the command that a `#!` line names, when it is another than sh and is there; else nothing."""
    if not first_line.startswith(b"#!"):
        return []
    words = os.fsdecode(first_line[2:]).split()
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if word != "-S"]
    if not words or os.path.basename(words[0]) in _SHELLS:
        return []
    found = words[0] if os.access(words[0], os.X_OK) else _which(os.path.basename(words[0]))
    return [found, *words[1:]] if found else []


def _which(name: str) -> Optional[str]:
    for directory in os.get_exec_path():
        path = os.path.join(directory, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _sourcing(script: str, descriptor: int) -> str:
    """Return what the shell is to do: source the script, then report what it has left behind."""
    path = script if "/" in script else "./" + script
    report = f"exec {_quote(sys.executable)} -IS {_quote(os.path.abspath(__file__))} --report {descriptor}"
    at_exit = f'status=$?; trap - 0; [ "$status" -eq 0 ] || exit "$status"; {report}'
    return f"set -e\ntrap {_quote(at_exit)} 0\n. {_quote(path)}\n"


def _run(script: str, interpreter: List[str], arguments: List[str]) -> Tuple[int, Optional[Report]]:
    """Run the script; return its status and, when it was sourced and came to its end, what it has left behind."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    command = [*interpreter, script] if interpreter else ["sh", "-c", _sourcing(script, write), "/start.sh", *arguments]
    wake = _wake_on_signals()
    child = os.fork()
    if child == 0:
        _be_script(command)
    os.close(write)
    status, data = _wait(child, read, wake)
    return status, marshal.loads(data) if data else None


def _be_script(command: List[str]) -> None:
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)
    except OSError as error:
        _fail(f"the prestart script cannot be run with {command[0]}: {error.strerror}", 127)
    finally:
        os._exit(127)


def _wake_on_signals() -> int:
    read, write = os.pipe()
    for descriptor in (read, write):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(write)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda number, frame: None)
    return read


def _wait(child: int, report: int, wake: int) -> Tuple[int, bytes]:
    """Wait for the script and return its status and its report; end with status 0 when told to stop."""
    os.set_blocking(report, False)
    poll = select.poll()
    poll.register(report, select.POLLIN)
    poll.register(wake, select.POLLIN)
    data, stop_at = b"", None
    while True:
        for descriptor, _ in poll.poll(None if stop_at is None else 20):
            received = _read(descriptor)
            if descriptor == report:
                data += received
                if not received:
                    poll.unregister(report)
            elif stop_at is None and set(received) & {signal.SIGTERM, signal.SIGINT}:
                stop_at = time.monotonic() + _STOP_GRACE
                _signal(child, signal.SIGTERM)
        done, status = os.waitpid(child, os.WNOHANG)
        if stop_at is not None and (done or time.monotonic() > stop_at):
            _signal(child, signal.SIGKILL)
            os._exit(0)
        if done:
            return _status(status), data + _read(report)


def _read(descriptor: int) -> bytes:
    data = b""
    try:
        while True:
            more = os.read(descriptor, 1 << 16)
            if not more:
                return data
            data += more
    except BlockingIOError:
        return data


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def _status(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _report(descriptor: int) -> None:
    mask = os.umask(0)
    limits = [(number, resource.getrlimit(number)) for number in _LIMITS]
    data = marshal.dumps((dict(os.environb), os.getcwd(), mask, limits))
    while data:
        data = data[os.write(descriptor, data) :]


def _become(command: List[str], left: Optional[Report]) -> None:
    """Run the command in this process, with what the script has left behind."""
    environ: Any = os.environ
    if left is not None:
        environ, directory, mask, limits = left
        os.chdir(directory)
        os.umask(mask)
        for number, limit in limits:
            try:
                resource.setrlimit(number, limit)
            except (OSError, ValueError):
                pass
    signal.set_wakeup_fd(-1)
    os.execve(command[0], command, environ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
