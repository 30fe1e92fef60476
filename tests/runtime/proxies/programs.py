"""The proxies of docs/behind-a-proxy.md, run with the configuration that stands there."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.documents.blocks import texts
from tests.local import free_port, need
from tests.runtime.server import connect, wait_for

DOCUMENT = "docs/behind-a-proxy.md"
_NGINX = """
user root;
pid {directory}/pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    scgi_temp_path {directory};
    uwsgi_temp_path {directory};
    {documented}
}}
"""
_HAPROXY = """
defaults
    mode http
    timeout connect 30s
    timeout client 60s
    timeout server 60s

{documented}
"""
_CADDY = "{{\n    admin off\n    auto_https off\n}}\n{documented}"


class Files(NamedTuple):
    """A certificate chain, its key, and both in one file."""

    certificate: str
    key: str
    both: str


class Proxy(NamedTuple):
    """Where one listens; `plain` is None of one that speaks TLS only."""

    plain: tuple[str, int] | None
    secure: tuple[str, int]


def documented(language: str, number: int = 0) -> str:
    """Return a block of code of the document."""
    return texts(DOCUMENT, language)[number]


@contextmanager
def nginx(directory: Path, app: tuple[str, int], files: Files) -> Iterator[Proxy]:
    """Run nginx before a server."""
    plain, secure = free_port(), free_port()
    text = replaced(
        documented("nginx"),
        {
            "listen 80;": f"listen 127.0.0.1:{plain};",
            "listen 443 ssl;": f"listen 127.0.0.1:{secure} ssl;",
            "/etc/nginx/certificate.pem": files.certificate,
            "/etc/nginx/key.pem": files.key,
            **_app(app),
        },
    )
    path = _write(directory / "nginx.conf", _NGINX.format(directory=directory, documented=text))
    command = ["nginx", "-p", str(directory), "-c", path]
    with _running("nginx", [*command, "-t"], [*command, "-g", "daemon off;"], secure):
        yield Proxy(("127.0.0.1", plain), ("127.0.0.1", secure))


@contextmanager
def haproxy(
    directory: Path, app: tuple[str, int], files: Files, number: int = 0, words: dict[str, str] | None = None
) -> Iterator[Proxy]:
    """Run HAProxy before a server; `words` of its configuration are replaced by others."""
    plain, secure = free_port(), free_port()
    ports = {"bind :80": f"bind 127.0.0.1:{plain}", "bind :443": f"bind 127.0.0.1:{secure}"}
    files_and_app = {"/etc/haproxy/certificate.pem": files.both, **_app(app)}
    text = replaced(documented("haproxy", number), {**(words or {}), **ports, **files_and_app})
    path = _write(directory / "haproxy.cfg", _HAPROXY.format(documented=text))
    with _running("haproxy", ["haproxy", "-c", "-f", path], ["haproxy", "-db", "-f", path], secure):
        yield Proxy(("127.0.0.1", plain) if str(plain) in text else None, ("127.0.0.1", secure))


def _app(address: tuple[str, int]) -> dict[str, str]:
    return {f"app:{port}": f"{address[0]}:{address[1]}" for port in (80, 443)}


@contextmanager
def caddy(directory: Path, app: tuple[str, int], files: Files) -> Iterator[Proxy]:
    """Run Caddy before a server."""
    secure = free_port()
    text = replaced(
        documented("caddyfile"),
        {
            "example.com {": f":{secure} {{\n    bind 127.0.0.1\n    tls {files.certificate} {files.key}",
            **_app(app),
        },
    )
    path = _write(directory / "Caddyfile", _CADDY.format(documented=text))
    check, run = (["caddy", word, "--config", path, "--adapter", "caddyfile"] for word in ("validate", "run"))
    with _running("caddy", check, run, secure, HOME=str(directory)):
        yield Proxy(None, ("127.0.0.1", secure))


def replaced(text: str, values: dict[str, str]) -> str:
    """Return a configuration with the values that it is to have here."""
    for old, new in values.items():
        text = text.replace(old, new)
    assert not re.search(r"app:\d|/etc/|example\.com|bind :|listen \d+[ ;]", text)
    return text


def _write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


@contextmanager
def _running(package: str, check: list[str], command: list[str], port: int, **environ: str) -> Iterator[None]:
    """Check a configuration, and run the program until the end."""
    need(command[0], package=package)
    variables = {**os.environ, **environ}
    checked = subprocess.run(check, capture_output=True, text=True, check=False, env=variables)
    assert checked.returncode == 0, checked.stdout + checked.stderr

    def accepts() -> bool:
        with suppress(ConnectionRefusedError):
            connect(("127.0.0.1", port)).close()
            return True
        return False

    with subprocess.Popen(command, env=variables) as process:
        try:
            wait_for(accepts, f"port of {package}")
            yield
        finally:
            process.terminate()
