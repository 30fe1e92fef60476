# SPDX-License-Identifier: MIT
"""The rules of the included configuration, `/hypercorn_conf.py`: makes Hypercorn's options from variables.

What concerns one variable alone is in `options`. Nothing here imports a server.
"""

import math
import os
from typing import Any, Dict, Mapping, Optional

from hypercorn_image.config import cores, options
from hypercorn_image.config.problems import Problems

# The image's defaults that differ from Hypercorn's (no access log, 3 seconds).
_IMAGE_DEFAULTS: Dict[str, Any] = {"accesslog": "-", "errorlog": "-", "graceful_timeout": 120.0, "loglevel": "info"}
# Hypercorn's default is 1000. At that request it closes an HTTP/2 connection and loses all requests in progress on it
# (h2.py, _handle_events: after close_connection nothing can be sent). This can go when it waits for them.
UNLIMITED_REQUESTS = 2**53
_TLS_OPTIONS = (
    "certfile",
    "keyfile",
    "keyfile_password",
    "ca_certs",
    "ciphers",
    "verify_mode",
    "verify_flags",
    "alpn_protocols",
    "ssl_handshake_timeout",
    "alt_svc_headers",
)


def from_environment(
    environ: Mapping[str, str], problems: Problems, core_count: Optional[int] = None
) -> Dict[str, Any]:
    """Return the Hypercorn options that `environ` asks for; add what is wrong to `problems`.

    `core_count` replaces the measured number of cores.
    """
    return from_variables(options.read_environment(environ, problems), problems, core_count)


def from_variables(values: Mapping[str, Any], problems: Problems, core_count: Optional[int] = None) -> Dict[str, Any]:
    """Return the Hypercorn options that the typed `values` of variables ask for.

    `problems` has those that were found while the variables were read; further ones are added.
    """
    result = dict(_IMAGE_DEFAULTS, keep_alive_max_requests=UNLIMITED_REQUESTS)
    for variable, value in values.items():
        option = options.BY_VARIABLE[variable].option
        if option is not None:
            result[option] = None if value == "" else value
    result.pop("application_path", None)
    result["workers"] = workers(values, core_count)
    result["worker_class"] = values.get("WORKER_CLASS", "asyncio")
    _binds(values, result, problems)
    _tls(values, result, problems)
    if ("SOCKET_USER" in values) != ("SOCKET_GROUP" in values):
        problems.add("SOCKET_USER", "SOCKET_USER and SOCKET_GROUP go together: set both or none", "SOCKET_GROUP")
    return result


def workers(values: Mapping[str, Any], core_count: Optional[int] = None) -> int:
    """Return how many workers the variables ask for; `WEB_CONCURRENCY` alone may say 0."""
    explicit = values.get("WEB_CONCURRENCY")
    if explicit is not None:
        return int(explicit)
    count = cores.available() if core_count is None else core_count
    computed = max(1, math.floor(count * values.get("WORKERS_PER_CORE", 1.0)))
    return int(min(computed, values.get("MAX_WORKERS", computed)))


def address(host: str, port: int) -> str:
    """Return `HOST:PORT`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _binds(values: Mapping[str, Any], result: Dict[str, Any], problems: Problems) -> None:
    use_ssl, use_tcp = values.get("USE_SSL", False), values.get("USE_TCP", True)
    host = values.get("HOST", "0.0.0.0")
    plain = address(host, values.get("TCP_PORT", values.get("PORT", 80)))
    secure = address(host, values.get("SSL_PORT", 443))
    if not use_ssl and not use_tcp:
        problems.add("USE_SSL", "USE_SSL and USE_TCP are both false: at least one must be true", "USE_TCP")
    result["bind"] = values.get("BIND", [secure if use_ssl else plain])
    if use_ssl and use_tcp:
        result["insecure_bind"] = values.get("INSECURE_BIND", [plain])
    elif "INSECURE_BIND" in values:
        problems.add(
            "INSECURE_BIND",
            "INSECURE_BIND is set but is only for USE_SSL and USE_TCP both true: unset it, or set both to true",
            "USE_SSL",
            "USE_TCP",
        )
    if "QUIC_BIND" in values and not use_ssl:
        line = "QUIC_BIND is set but HTTP/3 needs TLS: set USE_SSL=true with CERTFILE and KEYFILE"
        problems.add("QUIC_BIND", line, "USE_SSL")
    if use_ssl:
        _check_twice(result, problems)


def _check_twice(result: Mapping[str, Any], problems: Problems) -> None:
    both = [bind for bind in result["bind"] if bind in result.get("insecure_bind", ()) and not bind.endswith(":0")]
    if both:
        line = f"BIND and INSECURE_BIND both ask for {', '.join(both)}: TLS and plain HTTP need different ports"
        problems.add("INSECURE_BIND", line, "BIND")


def _tls(values: Mapping[str, Any], result: Dict[str, Any], problems: Problems) -> None:
    if not values.get("USE_SSL", False):
        for option in _TLS_OPTIONS:
            result.pop(option, None)
        return
    for variable in ("CERTFILE", "KEYFILE"):
        if variable not in values:
            problems.add(variable, f"{variable} is not set: USE_SSL=true needs CERTFILE and KEYFILE")
    for variable in ("CERTFILE", "KEYFILE", "CA_CERTS"):
        path = values.get(variable)
        if path is not None and not (os.path.isfile(path) and os.access(path, os.R_OK)):
            state = "cannot be read" if os.path.exists(path) else "does not exist"
            problems.add(variable, f"{variable}={path!r} {state}: the path of a readable PEM file")
    if "CA_CERTS" in values and "VERIFY_MODE" not in values:
        # Hypercorn would load the authorities and ask for no certificate (config.py, create_ssl_context).
        import ssl

        result["verify_mode"] = ssl.CERT_REQUIRED
    if "QUIC_BIND" in values:
        _quic(values, result, problems)


def _quic(values: Mapping[str, Any], result: Mapping[str, Any], problems: Problems) -> None:
    # Hypercorn passes only the certificate and the key on to QUIC (protocol/quic.py), so HTTP/3 would be a way around
    # client certificates. These two errors can go when it passes on the rest.
    if getattr(result.get("verify_mode"), "name", "CERT_NONE") != "CERT_NONE":
        problems.add(
            "CA_CERTS",
            "QUIC_BIND is set but Hypercorn verifies no client certificate over HTTP/3: unset QUIC_BIND or CA_CERTS",
        )
    if "KEYFILE_PASSWORD" in values:
        problems.add(
            "KEYFILE_PASSWORD",
            "QUIC_BIND is set but Hypercorn reads no encrypted KEYFILE for HTTP/3: unset QUIC_BIND or decrypt the key",
        )
