"""The container engine: the one that answers, or, on Debian and Ubuntu as root, one that is installed and started here.

`python -m imagematrix.machine.engine ensure|stop|status` is its door. Not for images: `bases` fetches and makes
those, and building is `docker buildx bake`, given the argv that `Engine.buildx` holds.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from docker.client import DockerClient, from_env
from docker.context import ContextAPI
from docker.context.config import get_current_context_name
from docker.errors import DockerException

from imagematrix.errors import UserError, exit_status
from imagematrix.machine import host
from imagematrix.machine.host import Say, say

DEFAULT_HOST = "unix:///var/run/docker.sock"
START_LIMIT = 60.0  # seconds until a daemon that was started must answer
STOP_LIMIT = 60.0  # dockerd gives its containers 15 s
CONTAINER_CA = "/etc/ssl/certs/ca-certificates.crt"  # where a build mounts the secret `ca`
_PID_FILES = {Path("/var/run/docker.pid"): "dockerd", Path("/var/run/docker/containerd/containerd.pid"): "containerd"}
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Engine:
    """An engine that has answered, and the clients that work with it, which are looked for when first needed."""

    host: str  # a value for DOCKER_HOST
    started_here: bool  # by `ensure`, now or in an earlier run
    say: Say = field(repr=False, compare=False)

    @cached_property
    def docker(self) -> list[str]:
        """The argv of a docker client. Raises UserError where there is none and none can be installed."""
        return _docker_client(self.host, self.say)

    @cached_property
    def buildx(self) -> list[str]:
        """The argv to be followed by "bake" and so on; raises UserError as `docker` does."""
        return _buildx(self.host, self.say)

    def client(self) -> DockerClient:
        """Return a client of the engine's API. Raises UserError when it has gone."""
        try:
            return _client(self.host, timeout=600)
        except DockerException as error:
            raise UserError(f"the engine at {self.host} no longer answers: {error}") from error


@dataclass(frozen=True)
class Daemon:
    """The dockerd that we started; the time of its start tells it from a later process with the same number."""

    pid: int
    start_time: int  # in clock ticks since boot, as /proc/PID/stat says

    def is_alive(self) -> bool:
        """Tell whether this very process still runs."""
        return process_name(self.pid) == "dockerd" and start_time(self.pid) == self.start_time


def ensure(say: Say) -> Engine:
    """Return the engine that answers; where none does, install and start one, telling `say`.

    Raises UserError saying what to do where that is not possible: an engine that DOCKER_HOST or the docker context
    names does not answer, no root, not Debian or Ubuntu, or the daemon does not come up.
    """
    address = configured_host()
    with host.locked("engine"):
        reason = why_silent(address)
        if reason is not None:
            if address != DEFAULT_HOST:
                raise UserError(f"the engine at {address} (DOCKER_HOST or docker context) does not answer: {reason}")
            _start(reason, say)
        return Engine(address, _own_daemon() is not None, say)


def configured_host() -> str:
    """Return the address that DOCKER_HOST or else the docker context says, in the docker client's own order."""
    if address := os.environ.get("DOCKER_HOST"):
        return address
    name = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
    if name == "default":
        return DEFAULT_HOST
    context = ContextAPI.get_context(name)
    if context is None:
        raise UserError(f"the docker context {name!r} does not exist; `docker context ls` lists those that do")
    return str(context.Host)


def why_silent(address: str) -> str | None:
    """Ping an engine; returns why it does not answer, or None when it does."""
    try:
        client = _client(address, timeout=5)
        client.ping()
        client.close()
    except (DockerException, OSError) as error:
        if "Permission denied" in str(error):
            return "permission denied: be root or in the group docker"
        return "nothing listens there" if "No such file" in str(error) or "refused" in str(error) else str(error)
    return None


def _client(address: str, timeout: int) -> DockerClient:
    environment = {**os.environ, "DOCKER_HOST": address}  # from_env reads TLS settings too
    return from_env(environment=environment, timeout=timeout, use_ssh_client=address.startswith("ssh://"))


# --- starting and stopping ---


def _start(reason: str, say: Say) -> None:
    if os.geteuid() != 0 or not host.is_debian():
        raise UserError(
            f"no container engine at {DEFAULT_HOST} ({reason}). Install Docker "
            "(https://docs.docker.com/engine/install/) and start it, or set DOCKER_HOST; "
            "on Debian and Ubuntu this command does it when run as root"
        )
    if _find_dockerd() is None:
        host.install_packages(_engine_packages(), "a container engine", say)
        if _wait_for_answer(2.0):  # a package may start its service by itself
            return
    if Path("/run/systemd/system").is_dir():
        say("starting the engine: systemctl start docker")
        log = host.logged(["systemctl", "start", "docker"], "systemctl")
        if log is not None or not _wait_for_answer(START_LIMIT):
            raise UserError(
                f"`systemctl start docker` did not bring an engine; see `journalctl -u docker`\n{tail_of(log)}"
            )
        return
    _start_dockerd(say)


def tail_of(log: Path | None) -> str:
    """Return the end of a log that may not be there."""
    return host.tail(log) if log is not None else ""


def _engine_packages() -> list[str]:
    packages = ["docker.io", "iptables", "ca-certificates"]
    # Where the kernel enforces AppArmor, dockerd runs no container without its parser (only recommended by docker.io).
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    if enabled.exists() and enabled.read_text().strip() == "Y":
        packages.append("apparmor")
    return packages


def _find_dockerd() -> str | None:
    return shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}")


def _start_dockerd(say: Say) -> None:
    for path, name in _PID_FILES.items():
        owner = clear_stale_pid_file(path, name, say)
        if owner is not None and name == "dockerd":
            say(f"dockerd runs already (process {owner}); waiting for it to answer")
            if _wait_for_answer(START_LIMIT):
                return
            raise UserError(
                f"dockerd (process {owner}) runs but does not answer at {DEFAULT_HOST}; end it and try again"
            )
    dockerd = _find_dockerd()
    if dockerd is None:
        raise UserError("dockerd is not installed although docker.io is: reinstall it")
    log = host.log_path("dockerd")
    say(f"starting {dockerd}, log: {log}")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [dockerd],
            cwd="/",
            env={**os.environ, "PATH": f"{_SYSTEM_PATH}:{os.environ.get('PATH', '')}"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # outlives this command, and its Ctrl-C
        )
    try:
        _record(process.pid)
        if not _wait_for_answer(START_LIMIT, process):
            raise UserError(f"dockerd did not come up; log: {log}\n{host.tail(log)}")
    except BaseException:  # Ctrl-C too: no half-started daemon stays behind
        process.terminate()
        process.wait()
        _record_path().unlink(missing_ok=True)
        raise
    say("the engine answers")


def _wait_for_answer(limit: float, process: subprocess.Popen[bytes] | None = None) -> bool:
    deadline = time.monotonic() + limit
    while why_silent(DEFAULT_HOST) is not None:
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            return False
        time.sleep(0.3)
    return True


def clear_stale_pid_file(path: Path, name: str, say: Say) -> int | None:
    """Remove a pid file whose process is gone or is another program; returns the process that rightly owns it, if any.

    dockerd refuses to start while any process has the number in its file, whatever that process is
    (https://github.com/moby/moby/issues/20722).
    """
    try:
        pid = int(path.read_text().strip() or 0)
    except FileNotFoundError:
        return None
    except ValueError:
        pid = 0
    if process_name(pid) == name:
        return pid
    say(f"removing {path}: process {pid} is not {name}")
    path.unlink(missing_ok=True)
    return None


def process_name(pid: int) -> str | None:
    """Return the name of a running process, None if there is none or it is dead and only not yet reaped."""
    fields = _stat(pid)
    return None if fields is None or fields[1] in "ZX" else fields[0]


def start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot."""
    fields = _stat(pid)
    return None if fields is None else int(fields[20])


def _stat(pid: int) -> list[str] | None:
    """Return the name, the state and the further fields of /proc/PID/stat (see proc(5))."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    before, _, after = text.rpartition(")")
    return [before.partition("(")[2], *after.split()]


def _record_path() -> Path:
    return host.cache_folder() / "dockerd.json"


def _record(pid: int) -> None:
    host.write_atomically(_record_path(), json.dumps({"pid": pid, "start_time": start_time(pid)}))


def _own_daemon() -> Daemon | None:
    try:
        record = json.loads(_record_path().read_text(encoding="utf-8"))
        daemon = Daemon(int(record["pid"]), int(record["start_time"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return daemon if daemon.is_alive() else None


def stop(say: Say) -> bool:
    """End the dockerd that `ensure` started, and wait for it; any other is left alone. Returns whether there was one.

    Raises UserError when it does not end in time.
    """
    with host.locked("engine"):
        daemon = _own_daemon()
        if daemon is None:
            _record_path().unlink(missing_ok=True)
            say("no engine that was started here runs")
            return False
        say(f"stopping dockerd (process {daemon.pid})")
        os.kill(daemon.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_LIMIT
        while daemon.is_alive():
            if time.monotonic() > deadline:
                raise UserError(f"dockerd (process {daemon.pid}) did not end within {STOP_LIMIT:.0f} s")
            time.sleep(0.2)
        _record_path().unlink(missing_ok=True)
        return True


# --- clients ---


def _works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _installed(program: str) -> list[str]:
    """Return all executables of that name in PATH and the system's folders, in order."""
    folders = f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}".split(":")
    found = (shutil.which(program, path=folder) for folder in dict.fromkeys(folders) if folder)
    return [path for path in found if path]


def _docker_client(address: str, say: Say) -> list[str]:
    """Find a docker client that the engine understands: one that is much newer may refuse it."""
    for path in _installed("docker"):
        command = [path, "--host", address]
        if _works([*command, "version"]):
            return command
    if host.is_debian() and os.geteuid() == 0 and not _installed("docker"):
        # Debian 13 and Ubuntu have the client in a package of its own.
        host.install_packages(["docker-cli" if host.has_package("docker-cli") else "docker.io"], "a docker client", say)
        return _docker_client(address, say)
    raise UserError(f"no docker client here works with the engine at {address}; install a current one")


def _buildx(address: str, say: Say) -> list[str]:
    for path in _installed("docker"):
        command = [path, "--host", address, "buildx"]
        if _works([*command, "version"]):
            return command
    # As a program of its own buildx works with any client, and ~/.docker need not be touched for it, unless the user's
    # builders are there already.
    variables = [f"DOCKER_HOST={address}"]
    docker_folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    if "BUILDX_CONFIG" not in os.environ and not (docker_folder / "buildx").exists():
        variables.append(f"BUILDX_CONFIG={host.cache_folder() / 'buildx'}")
    return ["env", "-u", "DOCKER_CONTEXT", *variables, str(_standalone_buildx(say))]


def _standalone_buildx(say: Say) -> Path:
    plugin = Path("/usr/libexec/docker/cli-plugins/docker-buildx")
    unpacked = Path(f"{host.artefact_path('docker-buildx')}{plugin}")
    for candidate in [*map(Path, _installed("docker-buildx")), plugin, unpacked]:
        if _works([str(candidate), "version"]):
            return candidate
    if not host.is_debian():
        raise UserError("docker buildx is missing: install it (https://github.com/docker/buildx#installing)")
    if host.has_package("docker-buildx") and os.geteuid() == 0:
        host.install_packages(["docker-buildx"], "docker buildx", say)
        return plugin
    # Debian 12 has no buildx; the one of Debian's current stable release runs on it. Can go when Debian 12 does.
    host.make_artefact("docker-buildx", "debian-package.sh", ["stable", "docker-buildx"], say)
    return unpacked


# --- what a build is told about the network ---


def build_secrets() -> dict[str, Path]:
    """Return the files to hand to builds as secrets, so that pip in a build reaches what the machine's pip reaches.

    `ca`: the certificate authorities this machine trusts (an intercepting proxy's among them), if there are any.
    `pipconf`: a pip.conf for /etc/pip.conf in the build, naming `ca` at CONTAINER_CA and keeping the machine's index.
    Older pips do not look into the system's store by themselves, hence `cert`.
    """
    names = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    candidates = [Path(os.environ[name]) for name in names if os.environ.get(name)] + [Path(CONTAINER_CA)]
    ca = next((path for path in candidates if path.is_file()), None)
    pipconf = host.cache_folder() / "pip.conf"
    lines = ["[global]", *([f"cert = {CONTAINER_CA}"] if ca else [])]
    lines += [f"{name} = {value}" for name, value in usable_in_a_build(_pip_settings()).items()]
    host.write_atomically(pipconf, "\n".join(lines) + "\n", mode=0o600)  # an index's address may hold a password
    return {**({"ca": ca} if ca else {}), "pipconf": pipconf}


def usable_in_a_build(settings: dict[str, str]) -> dict[str, str]:
    """Keep those pip settings that mean the same inside a build: addresses on the network, and patience."""
    kept = {}
    for name in ("index-url", "extra-index-url", "find-links", "proxy"):
        words = [word for word in settings.get(name, "").split() if word.startswith(("http://", "https://"))]
        if words:
            kept[name] = " ".join(words)
    for name in ("trusted-host", "timeout", "default-timeout", "retries"):
        if settings.get(name):
            kept[name.removeprefix("default-")] = " ".join(settings[name].split())
    return kept


def _pip_settings() -> dict[str, str]:
    """Return what `pip config list` says, by option name, the environment's word last; {} where there is no pip."""
    for command in ([sys.executable, "-m", "pip"], ["python3", "-m", "pip"]):
        try:
            listed = subprocess.run([*command, "config", "list"], capture_output=True, text=True, check=False)
        except OSError:
            continue
        if listed.returncode == 0:
            return parse_pip_settings(listed.stdout)
    return {}


def parse_pip_settings(listing: str) -> dict[str, str]:
    """Parse `pip config list`, lines like global.index-url='https://…' and :env:.timeout='180'."""
    settings: dict[str, str] = {}
    for from_environment in (False, True):
        for line in listing.splitlines():
            name, equals, value = line.partition("=")
            section, _, option = name.rpartition(".")
            if equals and section in ({":env:"} if from_environment else {"global", "install"}):
                settings[option] = str(ast.literal_eval(value))
    return settings


# --- the command line ---


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m imagematrix.machine.engine`; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m imagematrix.machine.engine", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("verb", choices=["ensure", "stop", "status"], help="status: exit 1 when no engine answers")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)

    if options.verb == "stop":
        stop(say)
        return 0
    if options.verb == "ensure":
        engine = ensure(say)
        facts = {
            "host": engine.host,
            "docker": engine.docker,
            "buildx": engine.buildx,
            "started_here": engine.started_here,
        }
    else:
        reason = why_silent(configured_host())
        facts = {"host": configured_host(), "answers": reason is None, "started_here": _own_daemon() is not None}
        facts |= {"reason": reason} if reason else {}
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name}: {' '.join(value) if isinstance(value, list) else value}")
    return 0 if facts.get("answers", True) else 1


if __name__ == "__main__":
    sys.exit(exit_status(main))
