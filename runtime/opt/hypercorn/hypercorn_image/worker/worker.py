# SPDX-License-Identifier: MIT
"""One worker: its configuration, its sockets, its application, its log.

It runs in a forked child, or in the only process with WEB_CONCURRENCY=0. `running` starts it, `serving` is its life,
`clock` times its stop, `parent` is its channel to the process that forked it.
"""

import random
from typing import Any, Callable, List, Mapping, NamedTuple, Optional

from hypercorn_image import upstream
from hypercorn_image.app import application
from hypercorn_image.config import options
from hypercorn_image.config.effective import Effective
from hypercorn_image.config.settings import UNLIMITED_REQUESTS
from hypercorn_image.listen.sockets import Listeners
from hypercorn_image.worker.clock import Clock
from hypercorn_image.worker.parent import Parent

_FOREVER = 86400.0  # seconds: Hypercorn's own graceful timeout, which `clock` replaces


class Loaded(NamedTuple):
    """An imported application, and the kind that APP_MODULE names."""

    application: Any
    mode: Optional[str]


def reads_http1(config: Any, variables: Mapping[str, Any]) -> bool:
    """Tell whether plain HTTP/1.1 requests are read by `http1`, and not by Hypercorn.

    `http1` lacks two limits. With one of them set, Hypercorn reads every request.
    """
    if "http1" not in upstream.used(config, variables):
        return False
    if config.read_timeout is not None or config.keep_alive_max_requests < UNLIMITED_REQUESTS:
        return False
    return upstream.holds("hypercorn-http1")


class Worker:
    """What a worker needs on any event loop."""

    def __init__(
        self,
        effective: Effective,
        loaded: Optional[Loaded],
        listeners: Listeners,
        quic: List[Any],
        parent: Optional[Parent] = None,
    ) -> None:
        self.config, self.path, self.variables, _ = effective
        self.listeners, self.quic_sockets, self.loaded = listeners, quic, loaded
        self.parent = parent
        self.clock = Clock(float(self.config.graceful_timeout))
        self.worker_class = self.config.worker_class
        self.listening: List[int] = []  # descriptors
        self.udp: List[int] = []
        self.on_started: Callable[[], None] = lambda: None
        self.on_draining: Callable[[], None] = lambda: None

    def prepare(self) -> None:
        """Take over options from Hypercorn, and import the application; raises StartError."""
        self.max_requests = self.config.max_requests
        if self.max_requests is not None:
            self.max_requests += random.SystemRandom().randint(0, self.config.max_requests_jitter)
        # Hypercorn would stop this worker before its replacement serves.
        self.config.max_requests = None
        self.config.workers = 1
        self.listeners.adopt(self.config, self.quic_sockets, copy=self.parent is None)
        self.listening = [int(bind[5:]) for bind in self.config.bind + self.config.insecure_bind]
        self.udp = [int(bind[5:]) for bind in self.config.quic_bind]
        self.config.graceful_timeout = _FOREVER
        self.debug, self.config.debug = self.config.debug, False
        if self.loaded is None:
            self.loaded = Loaded(*application.load(self.path))
        self.asgi = application.to_asgi3(
            self.loaded.application, self.loaded.mode, self.worker_class, self.config.wsgi_max_body_size
        )
        if "LIMIT_CONCURRENCY" in self.variables:
            self.asgi = self._limited(self.asgi)
        if "FORWARDED_ALLOW_IPS" in self.variables:
            self.asgi = self._behind_proxies(self.asgi)

    def _limited(self, asgi: Any) -> Any:
        from hypercorn_image.app.limit import Limit

        return Limit(asgi, self.variables["LIMIT_CONCURRENCY"], self.variables.get("HEALTHCHECK_PATH"), self.log)

    def _behind_proxies(self, asgi: Any) -> Any:
        from hypercorn_image.app.forwarded.addresses import Proxies
        from hypercorn_image.app.forwarded.middleware import Forwarded

        proxies = Proxies(self.variables["FORWARDED_ALLOW_IPS"])
        return Forwarded(asgi, proxies, options.value(self.variables, "FORWARDED_HEADERS"), self.proxy_protocol)

    @property
    def proxy_protocol(self) -> bool:
        """Whether connections of proxies begin with a PROXY header."""
        return bool(options.value(self.variables, "PROXY_PROTOCOL"))

    def senders(self) -> Any:
        """Return who has to send one."""
        from hypercorn_image.app.forwarded.addresses import Proxies
        from hypercorn_image.worker.proxy_protocol.senders import Senders

        return Senders(Proxies(self.variables["FORWARDED_ALLOW_IPS"]), self.log)

    def say(self, what: str, **details: Any) -> None:
        """Send a message to the parent, if there is one."""
        if self.parent is not None:
            self.parent.say(what, **details)

    def log(self, level: str, message: str, *args: Any) -> None:
        """Log a line, if there is an error log."""
        logger = self.config.log.error_logger
        if logger is not None:
            getattr(logger, level)(message, *args)

    def not_as_expected(self, name: str) -> None:
        """Log that the assumption `name` about upstream does not hold."""
        self.log("warning", upstream.line(name))
