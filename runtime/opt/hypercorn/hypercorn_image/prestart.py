# SPDX-License-Identifier: MIT
"""Runs the prestart script, then becomes the server: `python -IS prestart.py SCRIPT COMMAND…`.

A shell handles a signal only when the command that it waits for has ended, so `docker stop` during a long migration
would end in a kill. This program waits instead of the shell. A script for sh or bash is sourced by a shell of its own,
and the server gets what it leaves: exported variables, directory, umask and limits. A stop is blocked whenever there is
no handler for it; docs/stopping.md says why. Few modules are imported, because they delay the start.
"""

import contextlib
import marshal
import os
import resource
import select
import signal
import sys
import time
from typing import Any, Dict, List, Optional, Tuple

_SHELLS = ("sh", "dash", "ash", "busybox")
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_STOP_GRACE = 0.8  # seconds that a script gets to end after a stop
_LIMITS = [value for name, value in sorted(vars(resource).items()) if name.startswith("RLIMIT_")]

Report = Tuple[Dict[bytes, bytes], str, int, List[Tuple[int, Tuple[int, int]]]]


def main(arguments: List[str]) -> int:
    """Run the script, then become the command. Return the exit status if the script fails."""
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
    """Return what is wrong with the script, and its interpreter; none if sh sources it."""
    try:
        with open(script, "rb") as file:
            text = file.read(1 << 20)
    except OSError as error:
        return f"the prestart script {script} cannot be read: {error.strerror}", []
    interpreter = _interpreter(text.split(b"\n", 1)[0].rstrip(b"\r"))
    if b"\r\n" in text and (not interpreter or _is_bash(interpreter)):
        said = f"the prestart script {script} has Windows line ends (CRLF), which sh takes for part of the commands"
        return said + ": save it with LF", []
    return "", interpreter


def _interpreter(first_line: bytes) -> List[str]:
    """Return the command of a `#!` line, if it is not sh and exists; else nothing."""
    if not first_line.startswith(b"#!"):
        return []
    words = os.fsdecode(first_line[2:]).split()
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if word != "-S"]
    if not words or os.path.basename(words[0]) in _SHELLS:
        return []
    found = words[0] if os.access(words[0], os.X_OK) else _which(os.path.basename(words[0]))
    return [found, *words[1:]] if found else []


def _is_bash(interpreter: List[str]) -> bool:
    return os.path.basename(interpreter[0]) == "bash"


def _which(name: str) -> Optional[str]:
    for directory in os.get_exec_path():
        path = os.path.join(directory, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _sourcing(script: str, descriptor: int) -> str:
    """Return the commands for the shell: source the script, then report what it leaves."""
    path = script if "/" in script else "./" + script
    report = f"exec {_quote(sys.executable)} -IS {_quote(os.path.abspath(__file__))} --report {descriptor}"
    at_exit = f'status=$?; trap - 0; [ "$status" -eq 0 ] || exit "$status"; {report}'
    return f"trap {_quote(at_exit)} 0\n. {_quote(path)}\n"


def _command(script: str, interpreter: List[str], descriptor: int, arguments: List[str]) -> List[str]:
    """Return the command that runs the script. One for sh or bash is sourced, so that the server gets its exports."""
    if not interpreter:
        return ["sh", "-e", "-c", _sourcing(script, descriptor), "/start.sh", *arguments]
    if _is_bash(interpreter):
        return [*interpreter, "-c", _sourcing(script, descriptor), script]
    return [*interpreter, script]


def _run(script: str, interpreter: List[str], arguments: List[str]) -> Tuple[int, Optional[Report]]:
    """Run the script; return its status and, if it was sourced and has succeeded, what it leaves."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    command = _command(script, interpreter, write, arguments)
    wake = _wake_on_signals()
    # In a group of its own, a stop reaches the processes that the script has started. With a terminal there is none:
    # the terminal stops background groups that read from it, and sends Ctrl-C only to the foreground group.
    alone = not _has_terminal()
    child = os.fork()
    if child == 0:
        _be_script(command, alone)
    if alone:
        with contextlib.suppress(OSError):  # the child has done it already
            os.setpgid(child, child)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    os.close(write)
    status, data = _wait(child, read, wake, alone)
    return status, marshal.loads(data) if data else None


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _be_script(command: List[str], alone: bool) -> None:
    try:
        if alone:
            os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (*_STOPS, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
        os.execvp(command[0], command)
    except OSError as error:
        _fail(f"the prestart script cannot be run with {command[0]}: {error.strerror}", 127)
    finally:
        os._exit(127)


def _wake_on_signals() -> int:
    """Install handlers, and leave stops blocked: a process that is forked must not run them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    read, write = os.pipe()
    for descriptor in (read, write):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(write)
    for number in (*_STOPS, signal.SIGCHLD):
        signal.signal(number, lambda number, frame: None)
    return read


def _wait(child: int, report: int, wake: int, alone: bool) -> Tuple[int, bytes]:
    """Wait for the script; return its status and its report. On a stop, exit with status 0."""
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
            elif stop_at is None and set(received) & set(_STOPS):
                stop_at = time.monotonic() + _STOP_GRACE
                _signal(child, signal.SIGTERM, alone)
        done, status = os.waitpid(child, os.WNOHANG)
        if stop_at is not None and (done or time.monotonic() > stop_at):
            if alone or not done:
                _signal(child, signal.SIGKILL, alone)
            os._exit(0)
        if done:
            signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)  # for the server
            if set(_read(wake)) & set(_STOPS):
                os._exit(0)
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


def _signal(child: int, number: int, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        (os.killpg if group else os.kill)(child, number)


def _status(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _report(descriptor: int) -> None:
    mask = os.umask(0)
    limits = [(number, resource.getrlimit(number)) for number in _LIMITS]
    data = marshal.dumps((dict(os.environb), os.getcwd(), mask, limits))
    while data:
        data = data[os.write(descriptor, data) :]


def _become(command: List[str], left: Optional[Report]) -> None:
    """Become the command, with what the script has left."""
    environ: Any = os.environ
    if left is not None:
        environ, directory, mask, limits = left
        with contextlib.suppress(OSError):  # it may have been removed
            os.chdir(directory)
        os.umask(mask)
        for number, limit in limits:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(number, limit)
    signal.set_wakeup_fd(-1)
    os.execve(command[0], command, environ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
