"""A real registry for a test, on a random port of loopback, behind a proxy that counts and can be told to fail."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from imagematrix.machine import artefacts
from tests.images.container import wait_for
from tests.local import free_port

CONFIG = """\
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}
http: {addr: "127.0.0.1:%d"}
"""


@dataclass(frozen=True)
class Request:
    """What the registry was asked."""

    method: str
    path: str

    @property
    def tag(self) -> str | None:
        """The tag that it would move, if it would."""
        match = re.fullmatch(r"/v2/.+/manifests/([^:]+)", self.path)
        return match[1] if match and self.method == "PUT" and not match[1].startswith("sha256-") else None


def is_blob(request: Request) -> bool:
    """Say whether a layer, or something of it, is sent."""
    return request.method in ("POST", "PATCH", "PUT") and "/blobs/" in request.path


def is_index(request: Request) -> bool:
    """Say whether a manifest or an index is sent, without a tag."""
    return request.method == "PUT" and "/manifests/sha256:" in request.path


HANGS_UP = 0
"""What a fault returns to have the connection cut."""
Fault = Callable[[Request], int | None]
"""Returns None to pass a request on, or a status to answer with instead."""


class Registry:
    """Debian's docker-registry, not installed, and the proxy before it, whose address is the registry's for all."""

    def __init__(self, folder: Path, more: str = "") -> None:
        """Keep its data in `folder`; `more` is added to its settings."""
        self.more = more
        self.folder, self.requests = folder, list[Request]()
        self.fault: Fault = passing
        # One request for a manifest at a time: for each tag, docker-registry 2.8 writes the manifest's link in place,
        # and answers 500 to whoever reads it meanwhile (registry/storage/driver/filesystem, PutContent).
        self.manifests = threading.Lock()
        package = artefacts.make_artefact("docker-registry", "debian-package.sh", ["stable", "docker-registry"])
        self.program = package / "usr/bin/docker-registry"
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.proxy = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.proxy.daemon_threads = True
        self.address = f"127.0.0.1:{self.proxy.server_address[1]}"
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()

    def start(self) -> None:
        config = self.folder.parent / f"{self.folder.name}.yml"
        config.write_text(CONFIG % (self.folder, self.port) + self.more)
        log = (self.folder.parent / f"{self.folder.name}.log").open("ab")
        self.process = subprocess.Popen([self.program, "serve", config], stdout=log, stderr=log)
        log.close()
        wait_for(lambda: listens(self.port), "registry")

    def stop(self) -> None:
        """Kill it: whatever it was doing is left as it is."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.stop()
        self.proxy.shutdown()
        self.proxy.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def tags(self, repository: str) -> dict[str, str]:
        """Return tag -> digest of all that is tagged in a repository, without the names that cosign gives."""
        listed = json.loads(self._ask("GET", f"/v2/{repository}/tags/list")[1] or b"{}").get("tags") or []
        return {
            tag: self._ask("HEAD", f"/v2/{repository}/manifests/{tag}")[0]
            for tag in sorted(listed)
            if tag[:7] != "sha256-"
        }

    def _ask(self, method: str, path: str) -> tuple[str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        accept = ", ".join(
            f"application/vnd.{kind}+json"
            for kind in ("oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.v2")
        )
        connection.request(method, path, headers={"Accept": accept})
        response = connection.getresponse()
        return response.headers.get("Docker-Content-Digest", ""), response.read()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                # Clients try TLS first, and plain HTTP only when they are answered in it.
                if self.connection.recv(1, socket.MSG_PEEK) == b"\x16":
                    self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                    self.close_connection = True
                    return
                super().handle_one_request()

            def pass_on(self) -> None:
                request = Request(self.command, self.path.partition("?")[0])
                registry.requests.append(request)
                status = registry.fault(request)
                if status == HANGS_UP:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                body = self.body()
                if status is not None:
                    self.answer(status, {}, b"")
                    return
                try:
                    with registry.manifests if "/manifests/" in self.path else nullcontext():
                        answer = forward(registry.port, self.command, self.path, self.headers.items(), body)
                    self.answer(*answer)
                except OSError:
                    self.answer(502, {}, b"")

            def body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "") == "chunked":
                    parts = []
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        parts.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    return b"".join(parts)
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response_only(status)
                length = headers.pop("Content-Length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = pass_on

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def passing(request: Request) -> int | None:
    """No fault."""
    return None


def forward(
    port: int, method: str, path: str, headers: list[tuple[str, str]], body: bytes
) -> tuple[int, dict[str, str], bytes]:
    """Ask the registry itself; the Host header stays, so that what it redirects to comes through the proxy too."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:  # several of one name, such as Accept
            if name.lower() not in ("transfer-encoding", "content-length"):
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        data = response.read()
        names = ("transfer-encoding", "connection")
        return response.status, {k: v for k, v in response.headers.items() if k.lower() not in names}, data
    finally:
        connection.close()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
