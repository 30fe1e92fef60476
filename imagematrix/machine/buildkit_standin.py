"""A stand-in for a BuildKit builder where no registry has BuildKit's image.

It is a private dockerd from Debian with the containerd image store, which contains BuildKit, behind a socket that
speaks BuildKit's protocol. It does not touch the machine's engine: it has its own folders, socket and bridge.
Run it as `python -m imagematrix.machine.buildkit_standin start|stop NAME`."""

import argparse
import contextlib
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from imagematrix import cli
from imagematrix.console import say
from imagematrix.errors import UserError
from imagematrix.machine import apt, artefacts, cache, engine, processes
from imagematrix.machine.engine import Engine

START_LIMIT, STOP_LIMIT = 60.0, 30.0
_OWNER = "owner.json"
"""The note of the process that a stand-in belongs to. One that `start` made belongs to none."""
_PACKAGES = ("docker.io", "containerd")


class StandIn:
    """A private dockerd that serves as a buildkitd. There can be several, with different names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = cache.cache_folder() / "buildkit" / name
        number = zlib.crc32(str(self.folder).encode())
        self.bridge = f"hcimg{number:08x}"
        # From the range for network tests, RFC 2544.
        self.network = ipaddress.ip_network((int(ipaddress.ip_address("198.18.0.0")) + (number % 8192) * 16, 28))

    @property
    def socket(self) -> Path:
        """The socket for a buildx builder of the driver `remote`."""
        return self.folder / "buildkit.sock"

    def claim(self) -> None:
        """Note that it belongs to this process: when that has ended, another one removes the stand-in."""
        processes.note(self.folder / _OWNER, os.getpid())

    def start(self) -> None:
        """Start it and wait until it answers. Raises UserError if that is not possible."""
        if os.geteuid() != 0 or not apt.is_debian():
            raise UserError("a stand-in for BuildKit needs root on Debian or Ubuntu; name a builder with BUILDER=")
        apt.install_packages(["docker.io", "iptables", "iproute2"], "a stand-in for BuildKit")  # for its runc
        files = [artefacts.make_artefact(f"sid-{name}", "debian-package.sh", ["sid", name]) for name in _PACKAGES]
        self.stop()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._network("add")
        folders = [str(folder / "usr" / name) for folder in files for name in ("bin", "sbin")]
        path = ":".join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
        config = self.folder / "daemon.json"
        config.write_text(json.dumps(self._settings()), encoding="utf-8")
        self._spawn("dockerd", ["nice", "dockerd", "--config-file", str(config)], path)
        self._await(self.folder / "docker.sock", "dockerd")
        self._spawn("proxy", [sys.executable, "-m", "imagematrix.machine.buildkit_standin", "proxy", self.name], path)
        self._await(self.socket, "proxy")

    def _settings(self) -> dict[str, object]:
        """Return dockerd's settings, https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file.

        It does not change the firewall, because a second dockerd removes the first one's rules. It has its own bridge,
        because without one it would delete docker0.
        """
        return {
            "features": {"containerd-snapshotter": True},
            "hosts": [f"unix://{self.folder}/docker.sock"],
            "data-root": f"{self.folder}/data",
            "exec-root": f"{self.folder}/exec",
            "pidfile": f"{self.folder}/docker.pid",
            "bridge": self.bridge,
            **dict.fromkeys(("iptables", "ip6tables", "ip-forward", "ip-masq", "userland-proxy"), False),
        }

    def _spawn(self, name: str, command: list[str], path: str) -> None:
        environment = {"PATH": path, "PYTHONPATH": str(Path(__file__).parents[2])}
        processes.start(command, self.folder / f"{name}.log", self.folder / f"{name}.json", environment)

    def _await(self, address: Path, name: str) -> None:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
                client.connect(str(address))
                return
            time.sleep(0.1)
        raise UserError(f"the stand-in for BuildKit did not come up\n{cache.tail(self.folder / f'{name}.log')}")

    def _network(self, verb: str) -> None:
        """Add or delete the bridge, and the firewall rules that give builds a network."""
        rules = (
            ("-t", "nat", "POSTROUTING", "-s", str(self.network), "!", "-o", self.bridge, "-j", "MASQUERADE"),
            ("-t", "filter", "FORWARD", "-i", self.bridge, "-j", "ACCEPT"),
            ("-t", "filter", "FORWARD", "-o", self.bridge, "-j", "ACCEPT"),
        )
        adding = verb == "add"
        if adding:
            _quietly("ip", "link", "add", self.bridge, "type", "bridge")
            _quietly("ip", "address", "add", f"{self.network[1]}/{self.network.prefixlen}", "dev", self.bridge)
            _quietly("ip", "link", "set", self.bridge, "up")
        for option, name, chain, *rule in rules:
            _quietly("iptables", "-w", option, name, "-I" if adding else "-D", chain, *rule)
        if not adding:
            _quietly("ip", "link", "delete", self.bridge)

    def stop(self) -> None:
        """End it, and remove what an interrupted run left. Its cache stays."""
        for name in ("proxy", "dockerd"):
            record = self.folder / f"{name}.json"
            process = processes.noted(record)
            if process and not process.end(STOP_LIMIT):
                process.end(STOP_LIMIT, signal.SIGKILL)
            record.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        (self.folder / "docker.sock").unlink(missing_ok=True)
        self._network("delete")

    def remove(self) -> None:
        """End it and remove its cache."""
        self.stop()
        if self.folder.exists():
            _quietly("sh", "-c", f"grep -F ' {self.folder}/' /proc/mounts | cut -d' ' -f2 | xargs -r umount -l")
            shutil.rmtree(self.folder, ignore_errors=True)

    def serve(self) -> None:
        """Forward BuildKit's protocol to dockerd, which speaks it on a connection that is upgraded at /grpc."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.socket))
            listener.listen()
            while True:
                client, _ = listener.accept()
                threading.Thread(target=_pass_on, args=(client, self.folder / "docker.sock"), daemon=True).start()


def _pass_on(client: socket.socket, address: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.connect(str(address))
    server.sendall(b"POST /grpc HTTP/1.1\r\nHost: buildkit\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += server.recv(1)
    threading.Thread(target=_pump, args=(client, server), daemon=True).start()
    _pump(server, client)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _quietly(*command: str) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)


@contextlib.contextmanager
def stand_in(host_engine: Engine, name: str) -> Iterator[str]:
    """Run a stand-in with an empty cache as the buildx builder NAME, and remove it at the end.

    First remove those that killed runs left.
    """
    remove_orphans(host_engine.buildx)
    standin = StandIn(name)
    try:
        standin.claim()
        standin.start()
        register(host_engine, standin)
        yield name
    finally:
        forget(host_engine.buildx, standin)


def remove_orphans(buildx: Sequence[str]) -> None:
    """Remove the stand-ins of processes that ended without removing them."""
    with cache.locked("buildkit-orphans"):
        for record in (cache.cache_folder() / "buildkit").glob(f"*/{_OWNER}"):
            if processes.noted(record) is None:
                say(f"removing the builder {record.parent.name}, which a killed run left")
                forget(buildx, StandIn(record.parent.name))


def forget(buildx: Sequence[str], standin: StandIn) -> None:
    """Remove a stand-in, also from buildx."""
    _quietly(*buildx, "rm", standin.name)
    standin.remove()


def register(host_engine: Engine, standin: StandIn) -> None:
    """Add a stand-in to buildx as the builder of its name."""
    _quietly(*host_engine.buildx, "rm", standin.name)
    command = [*host_engine.buildx, "create", "--name", standin.name, "--driver", "remote", f"unix://{standin.socket}"]
    subprocess.run(command, check=True, capture_output=True)


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m imagematrix.machine.buildkit_standin`; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m imagematrix.machine.buildkit_standin", description=__doc__.partition("\n\n")[0]
    )
    parser.add_argument("verb", choices=["start", "stop", "remove", "proxy"], help="proxy: what `start` runs")
    parser.add_argument("name", help="the buildx builder's name")
    options = parser.parse_args(arguments)
    standin = StandIn(options.name)
    if options.verb == "start":
        host_engine = engine.ensure()
        standin.start()
        register(host_engine, standin)
        print(options.name)
    else:
        {"stop": standin.stop, "remove": standin.remove, "proxy": standin.serve}[options.verb]()
    return 0


if __name__ == "__main__":
    cli.run(main)
