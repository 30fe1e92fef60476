"""Installs, starts and stops a dockerd on Debian and Ubuntu, as root. `make engine-stop` runs it, to stop."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from imagematrix.console import say
from imagematrix.errors import UserError, exit_status
from imagematrix.machine import address, apt, cache, processes

START_LIMIT = 60.0  # seconds until a daemon that was started must answer
STOP_LIMIT = 60.0  # dockerd gives its containers 15 s
_PID_FILES = {Path("/var/run/docker.pid"): "dockerd", Path("/var/run/docker/containerd/containerd.pid"): "containerd"}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def start(reason: str) -> None:
    """Start an engine; `reason` is why none answers. Raises UserError if that is not possible."""
    if os.geteuid() != 0 or not apt.is_debian():
        raise UserError(
            f"no container engine at {address.DEFAULT_HOST} ({reason}). Install Docker "
            "(https://docs.docker.com/engine/install/) and start it, or set DOCKER_HOST; "
            "on Debian and Ubuntu this command does it when run as root"
        )
    if _find_dockerd() is None:
        apt.install_packages(_engine_packages(), "a container engine")
        if _wait_for_answer(2.0):  # the package may have started its service
            return
    if Path("/run/systemd/system").is_dir():
        say("starting the engine: systemctl start docker")
        log = cache.logged(["systemctl", "start", "docker"], "systemctl")
        if log is not None or not _wait_for_answer(START_LIMIT):
            end = cache.tail(log) if log else ""
            raise UserError(f"`systemctl start docker` did not bring an engine; see `journalctl -u docker`\n{end}")
        return
    _start_dockerd()


def _engine_packages() -> list[str]:
    packages = ["docker.io", "iptables", "ca-certificates"]
    # Where the kernel enforces AppArmor, dockerd runs no container without its parser (only recommended by docker.io).
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    if enabled.exists() and enabled.read_text().strip() == "Y":
        packages.append("apparmor")
    return packages


def _find_dockerd() -> str | None:
    return shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")


def _start_dockerd() -> None:
    for path, name in _PID_FILES.items():
        owner = clear_stale_pid_file(path, name)
        if owner is not None and name == "dockerd":
            say(f"dockerd runs already (process {owner}); waiting for it to answer")
            if _wait_for_answer(START_LIMIT):
                return
            raise UserError(
                f"dockerd (process {owner}) runs but does not answer at {address.DEFAULT_HOST}; end it and try again"
            )
    dockerd = _find_dockerd()
    if dockerd is None:
        raise UserError("dockerd is not installed although docker.io is: reinstall it")
    log = cache.log_path("dockerd")
    say(f"starting {dockerd}, log: {log}")
    environment = {"PATH": f"{SYSTEM_PATH}:{os.environ.get('PATH', '')}"}
    process = processes.start([dockerd], log, record_path(), environment)
    try:
        if not _wait_for_answer(START_LIMIT, process):
            raise UserError(f"dockerd did not come up; log: {log}\n{cache.tail(log)}")
    except BaseException:  # Ctrl-C too: leave no daemon that has not come up
        process.terminate()
        process.wait()
        record_path().unlink(missing_ok=True)
        raise
    say("the engine answers")


def _wait_for_answer(limit: float, process: subprocess.Popen[bytes] | None = None) -> bool:
    deadline = time.monotonic() + limit
    while address.why_silent(address.DEFAULT_HOST) is not None:
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            return False
        time.sleep(0.3)
    return True


def clear_stale_pid_file(path: Path, name: str) -> int | None:
    """Remove a pid file unless its process is the daemon; return that process, if any.

    dockerd refuses to start while any process has the number in its file, whatever that process is
    (https://github.com/moby/moby/issues/20722).
    """
    try:
        pid = int(path.read_text().strip() or 0)
    except FileNotFoundError:
        return None
    except ValueError:
        pid = 0
    if processes.process_name(pid) == name:
        return pid
    say(f"removing {path}: process {pid} is not {name}")
    path.unlink(missing_ok=True)
    return None


def record_path() -> Path:
    """Return the file that says which dockerd was started here."""
    return cache.cache_folder() / "dockerd.json"


def stop() -> int:
    """End the dockerd that was started here, and wait for it. No other is ended. Return the exit status, 0.

    Raises UserError if it does not end in time.
    """
    with cache.locked("engine"):
        daemon = processes.noted(record_path())
        if daemon is None:
            say("no engine that was started here runs")
        else:
            say(f"stopping dockerd (process {daemon.pid})")
            if not daemon.end(STOP_LIMIT):
                raise UserError(f"dockerd (process {daemon.pid}) did not end within {STOP_LIMIT:.0f} s")
        record_path().unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(exit_status(stop))
