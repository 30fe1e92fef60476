# SPDX-License-Identifier: MIT
"""The table of every variable: parsing, error texts, command line and the README's reference are made from it.

Rules about several variables are in `settings`.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from hypercorn_image.config import kinds
from hypercorn_image.config.kinds import Kind
from hypercorn_image.config.problems import Problems

DOCUMENTED = "hypercorn-docker"  # the images that these continue; their documentation has the variable
FIRST = "1.0"
FORWARDED_HEADERS = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "forwarded",
)


class Option(NamedTuple):
    """One variable.

    `default` is its text in the documentation ("" when unset). `option` is the Hypercorn option that it sets, None for
    one of the image's own. `flags` are its names on the command line. `since` is the version that added it.
    """

    variable: str
    kind: Kind
    default: str
    option: Optional[str]
    meaning: str
    since: str = FIRST
    flags: Tuple[str, ...] = ()
    secret: bool = False
    keeps_empty: bool = False
    group: str = ""


def _table() -> List[Option]:
    rows: List[Option] = []
    for group, options in (
        ("Application", _APPLICATION),
        ("Workers", _WORKERS),
        ("Where it listens", _BINDS),
        ("Behind a proxy", _PROXY),
        ("TLS", _TLS),
        ("Logging", _LOGGING),
        ("Time limits", _TIMES),
        ("Other limits", _LIMITS),
        ("Everything else", _OTHER),
    ):
        rows.extend(option._replace(group=group) for option in options)
    return rows


_APPLICATION = [
    Option(
        "MODULE_NAME",
        kinds.TEXT,
        "app.main or main",
        None,
        "Module to import; the default is `app.main` if /app/app/main.py exists, else `main` if /app/main.py does.",
        DOCUMENTED,
    ),
    Option("VARIABLE_NAME", kinds.TEXT, "app", None, "The ASGI or WSGI application in that module.", DOCUMENTED),
    Option(
        "APP_MODULE",
        kinds.TEXT,
        "$MODULE_NAME:$VARIABLE_NAME",
        "application_path",
        "Module and variable at once; `asgi:` or `wsgi:` before it says which kind it is.",
        DOCUMENTED,
    ),
    Option(
        "PRE_START_PATH",
        kinds.PATH,
        "/app/prestart.sh",
        None,
        "Script that is run before the server, once per container.",
        DOCUMENTED,
    ),
    Option(
        "HYPERCORN_CONF",
        kinds.TEXT,
        "the first found",
        None,
        "Configuration: `file:/path.py`, `python:module`, a path ending in .py, or a path of a TOML file. The default "
        "is the first of /app/app/hypercorn_conf.py, /app/hypercorn_conf.py, /hypercorn_conf.py.",
        DOCUMENTED,
        ("-c", "--config"),
    ),
    Option(
        "PRELOAD_APP",
        kinds.BOOLEAN,
        "false",
        None,
        "Import the application once, before the workers are forked: less memory, but SIGHUP does not reload its code.",
    ),
    Option(
        "PRELOAD_PACKAGES",
        kinds.LIST,
        "fastapi",
        None,
        "Packages that are imported once, before the workers are forked: a faster start and less memory. A package "
        "that is not installed is skipped. `hypercorn`, which is always imported, means none.",
    ),
    Option(
        "ROOT_PATH",
        kinds.TEXT,
        "",
        "root_path",
        "The ASGI `root_path`, behind a proxy that strips a prefix.",
        flags=("--root-path",),
    ),
]

_WORKERS = [
    Option(
        "WORKERS_PER_CORE",
        kinds.number(above_zero=True),
        "1",
        None,
        "Workers for each core the container may use.",
        DOCUMENTED,
    ),
    Option("MAX_WORKERS", kinds.integer(1), "", None, "Caps the computed number of workers.", DOCUMENTED),
    Option(
        "WEB_CONCURRENCY",
        kinds.integer(0),
        "cores × WORKERS_PER_CORE",
        "workers",
        "Number of workers. 0 serves without worker processes: SIGHUP reloads nothing, orphans need "
        "`docker run --init`.",
        DOCUMENTED,
        ("-w", "--workers"),
    ),
    Option(
        "WORKER_CLASS",
        kinds.choice("asyncio", "uvloop", "trio"),
        "asyncio",
        "worker_class",
        "The event loop. If it is not in the image, an error says why.",
        DOCUMENTED,
        ("-k", "--worker-class"),
    ),
]

_BINDS = [
    Option("HOST", kinds.TEXT, "0.0.0.0", None, "Address to listen on.", DOCUMENTED),
    Option("TCP_PORT", kinds.PORT, "80", None, "Port for plain HTTP, used when USE_TCP.", DOCUMENTED),
    Option("PORT", kinds.PORT, "", None, "Used for TCP_PORT where that is unset; hosting platforms set it."),
    Option("SSL_PORT", kinds.PORT, "443", None, "Port for HTTPS, used when USE_SSL.", DOCUMENTED),
    Option("USE_TCP", kinds.BOOLEAN, "true", None, "Listen for plain HTTP.", DOCUMENTED),
    Option("USE_SSL", kinds.BOOLEAN, "false", None, "Listen for HTTPS; needs CERTFILE and KEYFILE.", DOCUMENTED),
    Option(
        "BIND",
        kinds.BIND,
        "HOST:SSL_PORT with USE_SSL, else HOST:TCP_PORT",
        "bind",
        "Where the server listens: a comma-separated list.",
        DOCUMENTED,
        ("-b", "--bind"),
    ),
    Option(
        "INSECURE_BIND",
        kinds.BIND,
        "HOST:TCP_PORT when both USE_SSL and USE_TCP",
        "insecure_bind",
        "Where it listens for plain HTTP beside HTTPS.",
        DOCUMENTED,
        ("--insecure-bind",),
    ),
    Option(
        "QUIC_BIND",
        kinds.BIND,
        "",
        "quic_bind",
        "Where it listens for HTTP/3, beside BIND; needs USE_SSL.",
        DOCUMENTED,
        ("--quic-bind",),
    ),
    Option(
        "BACKLOG",
        kinds.integer(1),
        "100",
        "backlog",
        "Connections that may wait to be accepted.",
        DOCUMENTED,
        ("--backlog",),
    ),
    Option(
        "SOCKET_USER",
        kinds.integer(0),
        "",
        "user",
        "Numeric owner of unix sockets; with SOCKET_GROUP.",
        flags=("-u", "--user"),
    ),
    Option(
        "SOCKET_GROUP",
        kinds.integer(0),
        "",
        "group",
        "Numeric group of unix sockets; with SOCKET_USER.",
        flags=("-g", "--group"),
    ),
    Option(
        "SOCKET_UMASK",
        kinds.OCTAL,
        "",
        "umask",
        "Mask of the permissions of unix sockets, octal.",
        flags=("-m", "--umask"),
    ),
]

_PROXY = [
    Option(
        "FORWARDED_ALLOW_IPS",
        kinds.PROXIES,
        "",
        None,
        "Proxies whose X-Forwarded-* and Forwarded headers are believed: addresses, networks, `unix` for who connects "
        "to a unix socket, `*` for whoever connects. The default is nobody. [Behind a proxy](docs/behind-a-proxy.md).",
        flags=("--forwarded-allow-ips",),
    ),
    Option(
        "FORWARDED_HEADERS",
        kinds.listed(*FORWARDED_HEADERS),
        ",".join(FORWARDED_HEADERS),
        None,
        "Which of their headers are believed. Name those that your proxy writes: it lets others through as a client "
        "has sent them. Where there is an X-Forwarded-* header, `forwarded` is not read.",
        flags=("--forwarded-headers",),
    ),
    Option(
        "PROXY_PROTOCOL",
        kinds.BOOLEAN,
        "false",
        None,
        "The proxies in FORWARDED_ALLOW_IPS begin each connection with a PROXY header, version 1 or 2, before TLS too. "
        "Not for HTTP/3. [Behind a proxy](docs/behind-a-proxy.md#the-proxy-protocol).",
        flags=("--proxy-protocol",),
    ),
]

_TLS = [
    Option(
        "CERTFILE",
        kinds.PATH,
        "",
        "certfile",
        "Certificate chain (PEM), required by USE_SSL.",
        DOCUMENTED,
        ("--certfile",),
    ),
    Option("KEYFILE", kinds.PATH, "", "keyfile", "Private key (PEM), required by USE_SSL.", DOCUMENTED, ("--keyfile",)),
    Option(
        "KEYFILE_PASSWORD",
        kinds.TEXT,
        "",
        "keyfile_password",
        "Password of the private key.",
        flags=("--keyfile-password",),
        secret=True,
    ),
    Option(
        "CA_CERTS",
        kinds.PATH,
        "",
        "ca_certs",
        "Authorities (PEM) that client certificates are verified against; they are then required.",
        DOCUMENTED,
        ("--ca-certs",),
    ),
    Option(
        "VERIFY_MODE",
        kinds.VERIFY_MODE,
        "CERT_REQUIRED with CA_CERTS",
        "verify_mode",
        "Whether clients need a certificate.",
        flags=("--verify-mode",),
    ),
    Option(
        "VERIFY_FLAGS",
        kinds.VERIFY_FLAGS,
        "",
        "verify_flags",
        "How certificates are verified.",
        flags=("--verify-flags",),
    ),
    Option(
        "CIPHERS",
        kinds.TEXT,
        "ECDHE+AESGCM",
        "ciphers",
        "Ciphers of TLS 1.2, in OpenSSL's notation.",
        DOCUMENTED,
        ("--ciphers",),
    ),
    Option(
        "ALPN_PROTOCOLS",
        kinds.LIST,
        "h2,http/1.1",
        "alpn_protocols",
        "Protocols offered to TLS clients.",
        flags=("--alpn-protocols",),
    ),
    Option(
        "ALT_SVC_HEADERS",
        kinds.LIST,
        "",
        "alt_svc_headers",
        "Values of the alt-svc header; the default names the port of QUIC_BIND inside the container.",
        flags=("--alt-svc-headers",),
    ),
    Option(
        "SSL_HANDSHAKE_TIMEOUT",
        kinds.number(True, "seconds"),
        "60",
        "ssl_handshake_timeout",
        "Limit for a TLS handshake.",
        flags=("--ssl-handshake-timeout",),
    ),
]

_LOGGING = [
    Option(
        "LOG_LEVEL",
        kinds.choice("debug", "info", "warning", "error", "critical"),
        "info",
        "loglevel",
        "Lowest level that is logged.",
        DOCUMENTED,
        ("--log-level",),
    ),
    Option(
        "LOG_FORMAT",
        kinds.choice("text", "json"),
        "text",
        None,
        "`json` writes one JSON object a line, the access log too.",
        flags=("--log-format",),
    ),
    Option(
        "ACCESS_LOG",
        kinds.PATH,
        "-",
        "accesslog",
        "Access log: `-` is stdout, empty disables it.",
        DOCUMENTED,
        ("--access-logfile", "--access-log"),
        keeps_empty=True,
    ),
    Option(
        "ERROR_LOG",
        kinds.PATH,
        "-",
        "errorlog",
        "Server log: `-` is stderr, empty disables it.",
        DOCUMENTED,
        ("--error-logfile", "--log-file", "--error-log"),
        keeps_empty=True,
    ),
    Option(
        "ACCESS_LOG_FORMAT",
        kinds.TEXT,
        '%(h)s %(l)s %(l)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"',
        "access_log_format",
        "Format of a line of the access log.",
        flags=("--access-logformat",),
    ),
    Option(
        "ACCESS_LOG_SKIP",
        kinds.LIST,
        "",
        None,
        "Paths whose requests stay out of the access log, for health checks.",
        flags=("--access-log-skip",),
    ),
    Option(
        "LOGCONFIG",
        kinds.PATH,
        "",
        "logconfig",
        "File that configures Python's logging: ini, or JSON or TOML with `json:` or `toml:` before the path.",
        flags=("--log-config",),
    ),
    Option(
        "LOGCONFIG_DICT",
        kinds.JSON_OBJECT,
        "",
        "logconfig_dict",
        "The same as a JSON object.",
        flags=("--logconfig-dict",),
    ),
    Option(
        "LOGGER_CLASS",
        kinds.TEXT,
        "",
        "logger_class",
        "`module:Class` of a logger, in place of the image's own.",
        flags=("--logger-class",),
    ),
    Option("STATSD_HOST", kinds.TEXT, "", "statsd_host", "HOST:PORT of a statsd server.", flags=("--statsd-host",)),
    Option(
        "STATSD_PREFIX", kinds.TEXT, "", "statsd_prefix", "Prefix of all statsd messages.", flags=("--statsd-prefix",)
    ),
    Option(
        "DOGSTATSD_TAGS",
        kinds.TEXT,
        "",
        "dogstatsd_tags",
        "Tags of all statsd messages, comma-separated.",
        flags=("--dogstatsd-tags",),
    ),
]

_TIMES = [
    Option(
        "KEEP_ALIVE",
        kinds.SECONDS,
        "5",
        "keep_alive_timeout",
        "Seconds an idle connection is kept.",
        DOCUMENTED,
        ("--keep-alive",),
    ),
    Option(
        "DRAIN_DELAY",
        kinds.SECONDS,
        "0",
        None,
        "Seconds between SIGTERM and the stop. Requests are served, the health check fails and HEALTHCHECK_PATH "
        "answers 503, so that load balancers send no more. GRACEFUL_TIMEOUT follows.",
    ),
    Option(
        "GRACEFUL_TIMEOUT",
        kinds.SECONDS,
        "120",
        "graceful_timeout",
        "Seconds that requests in progress get when the server stops.",
        DOCUMENTED,
        ("--graceful-timeout",),
    ),
    Option(
        "READ_TIMEOUT",
        kinds.number(True, "seconds"),
        "",
        "read_timeout",
        "Seconds without data after which a connection is closed.",
        flags=("--read-timeout",),
    ),
    Option(
        "STARTUP_TIMEOUT",
        kinds.number(True, "seconds"),
        "60",
        "startup_timeout",
        "Limit for the lifespan's start-up.",
        flags=("--startup-timeout",),
    ),
    Option(
        "SHUTDOWN_TIMEOUT",
        kinds.number(True, "seconds"),
        "60",
        "shutdown_timeout",
        "Limit for the lifespan's shutdown.",
        flags=("--shutdown-timeout",),
    ),
    Option(
        "WEBSOCKET_PING_INTERVAL",
        kinds.number(True, "seconds"),
        "",
        "websocket_ping_interval",
        "Seconds between pings on a WebSocket.",
        flags=("--websocket-ping-interval",),
    ),
]

_LIMITS = [
    Option(
        "MAX_REQUESTS",
        kinds.integer(1),
        "",
        "max_requests",
        "Requests after which a worker is replaced, without losing one.",
        flags=("--max-requests",),
    ),
    Option(
        "MAX_REQUESTS_JITTER",
        kinds.integer(0),
        "0",
        "max_requests_jitter",
        "Random number, up to this, added to MAX_REQUESTS, so that workers are not replaced at the same time.",
        flags=("--max-requests-jitter",),
    ),
    Option(
        "LIMIT_CONCURRENCY",
        kinds.integer(1),
        "",
        None,
        "Requests and WebSockets that a worker serves at once. More are answered with 503 and Retry-After at once; "
        "HEALTHCHECK_PATH is served all the same. [Overload](docs/overload.md).",
        flags=("--limit-concurrency",),
    ),
    Option(
        "KEEP_ALIVE_MAX_REQUESTS",
        kinds.integer(1),
        "unlimited",
        "keep_alive_max_requests",
        "Requests after which a connection is closed; over HTTP/2 Hypercorn then loses those in progress on it.",
        flags=("--keep-alive-max-requests",),
    ),
    Option(
        "MAX_APP_QUEUE_SIZE",
        kinds.integer(1),
        "10",
        "max_app_queue_size",
        "Maximum events of a request that wait for the application.",
        flags=("--max-app-queue-size",),
    ),
    Option(
        "H11_MAX_INCOMPLETE_SIZE",
        kinds.integer(1),
        "16384",
        "h11_max_incomplete_size",
        "HTTP/1.1: maximum bytes of a request's head.",
        flags=("--h11-max-incomplete-size",),
    ),
    Option(
        "H2_MAX_CONCURRENT_STREAMS",
        kinds.integer(1),
        "100",
        "h2_max_concurrent_streams",
        "HTTP/2: maximum requests at once on a connection.",
        flags=("--h2-max-concurrent-streams",),
    ),
    Option(
        "H2_MAX_HEADER_LIST_SIZE",
        kinds.integer(1),
        "65536",
        "h2_max_header_list_size",
        "HTTP/2: maximum bytes of a request's headers.",
        flags=("--h2-max-header-list-size",),
    ),
    Option(
        "H2_MAX_INBOUND_FRAME_SIZE",
        kinds.integer(16384, 16777215),
        "16384",
        "h2_max_inbound_frame_size",
        "HTTP/2: maximum bytes of a frame.",
        flags=("--h2-max-inbound-frame-size",),
    ),
    Option(
        "WEBSOCKET_MAX_MESSAGE_SIZE",
        kinds.integer(1),
        "16777216",
        "websocket_max_message_size",
        "Maximum bytes of a WebSocket message.",
        flags=("--websocket-max-message-size",),
    ),
    Option(
        "WSGI_MAX_BODY_SIZE",
        kinds.integer(1),
        "16777216",
        "wsgi_max_body_size",
        "Maximum bytes of a request's body for a WSGI application.",
        flags=("--wsgi-max-body-size",),
    ),
]

_OTHER = [
    Option(
        "SERVER_NAMES",
        kinds.LIST,
        "",
        "server_names",
        "Host names that are served; all others get status 404.",
        flags=("--server-name",),
    ),
    Option(
        "HTTP1",
        kinds.choice("fast", "hypercorn"),
        "fast",
        None,
        "`fast` reads plain HTTP/1.1 requests without h11, on asyncio and uvloop; `hypercorn` leaves them to "
        "Hypercorn. READ_TIMEOUT, KEEP_ALIVE_MAX_REQUESTS and an unknown version of Hypercorn turn `fast` off.",
        flags=("--http1",),
    ),
    Option(
        "H11_PASS_RAW_HEADERS",
        kinds.BOOLEAN,
        "false",
        "h11_pass_raw_headers",
        "HTTP/1.1: keep the case of header names.",
        flags=("--h11-pass-raw-headers",),
    ),
    Option(
        "INCLUDE_DATE_HEADER",
        kinds.BOOLEAN,
        "true",
        "include_date_header",
        "Send the date header.",
        flags=("--include-date-header",),
    ),
    Option(
        "INCLUDE_SERVER_HEADER",
        kinds.BOOLEAN,
        "true",
        "include_server_header",
        "Send the server header.",
        flags=("--include-server-header",),
    ),
    Option("PID_PATH", kinds.PATH, "", "pid_path", "File for the process ID of the server.", flags=("-p", "--pid")),
    Option("LOOP_DEBUG", kinds.BOOLEAN, "false", "debug", "The event loop's debug mode.", flags=("--debug",)),
    Option(
        "WORKERS_DAEMON",
        kinds.BOOLEAN,
        "true",
        "daemon",
        "Hypercorn 0.18's `daemon`; without effect, since the image's own launcher starts the workers.",
        flags=("-D", "--daemon"),
    ),
    Option(
        "USE_RELOADER",
        kinds.BOOLEAN,
        "false",
        "use_reloader",
        "Not supported: run /start-reload.sh.",
        flags=("--reload",),
    ),
    Option(
        "HEALTHCHECK_PATH",
        kinds.TEXT,
        "",
        None,
        "Path that the health check requests; a status below 400 is healthy. Without it, any answer is healthy. It is "
        "not requested when every bind requires a client certificate (CA_CERTS).",
    ),
    Option(
        "STATE_DIRECTORY",
        kinds.PATH,
        "the first writable of /run, /tmp, /dev/shm",
        None,
        "Directory of the file that tells the health check where the server listens.",
    ),
    Option("HEALTHCHECK_TIMEOUT", kinds.number(True, "seconds"), "5", None, "Seconds the health check waits."),
]

TABLE: List[Option] = _table()
BY_VARIABLE: Dict[str, Option] = {option.variable: option for option in TABLE}
BY_FLAG: Dict[str, Option] = {flag: option for option in TABLE for flag in option.flags}
BY_OPTION: Dict[str, Option] = {option.option: option for option in TABLE if option.option}


def value(variables: Mapping[str, Any], name: str) -> Any:
    """Return the value of the variable `name` in `variables`, or its default in the table."""
    return variables[name] if name in variables else BY_VARIABLE[name].kind.read(BY_VARIABLE[name].default)


def problem(option: Option, source: str, text: str) -> str:
    """Return the line for a `text`, given as `source`, that is not allowed."""
    shown = "(not shown)" if option.secret else repr(text)
    return f"{source}={shown} is not allowed: {option.kind.allowed}"


def read_environment(environ: Mapping[str, str], problems: Problems) -> Dict[str, Any]:
    """Return the typed value of every variable that is set in `environ`; add each that is wrong to `problems`."""
    values: Dict[str, Any] = {}
    for option in TABLE:
        source, text = option.variable, environ.get(option.variable)
        if option.secret:
            source, text = _secret(option, environ, problems)
        if text is None or (not text.strip() and not option.keeps_empty):
            continue
        try:
            values[option.variable] = option.kind.read(text)
        except ValueError:
            problems.add(option.variable, problem(option, source, text))
    return values


def _secret(option: Option, environ: Mapping[str, str], problems: Problems) -> Tuple[str, Optional[str]]:
    """Return where a secret comes from, and its text; None when there is none, or where two places give it."""
    direct, source = environ.get(option.variable), option.variable + "_FILE"
    path = environ.get(source)
    if not path:
        return option.variable, direct
    if direct:
        problems.add(option.variable, f"{option.variable} and {source} are both set: set one of them")
        return source, None
    try:
        with open(path, encoding="utf-8") as file:
            return source, file.read().rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text in UTF-8"
        line = f"{source}={path!r} cannot be read ({reason}): the path of a readable file"
        problems.add(option.variable, line)
        return source, None
