# SPDX-License-Identifier: MIT
"""Logging: Hypercorn's own logger, with JSON lines, and with paths that stay out of the access log.

The parent and the workers use the same one, so that a container logs in one format.
"""

import functools
import importlib
import json
import logging
import time
from typing import Any, Dict, List, Mapping, Set, Tuple

from hypercorn_image import upstream
from hypercorn_image.atoms import Atoms
from hypercorn_image.errors import StartError

# The `id` of the scope of each request in progress whose whole answer the application has sent. Nothing is kept in the
# scopes themselves, because the application may copy them.
answered: Set[int] = set()


class Seldom:
    """Tells whether something may be logged again: at most once in INTERVAL."""

    INTERVAL = 10.0  # seconds

    def __init__(self) -> None:
        self._next: Dict[str, float] = {}

    def may(self, what: str = "") -> bool:
        """Return whether to log `what` now."""
        now = time.monotonic()
        if now < self._next.get(what, 0.0):
            return False
        self._next[what] = now + self.INTERVAL
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line. What is passed as `extra={"fields": {…}}` becomes members of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return `record` as one line of JSON."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: Dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
        }
        fields = getattr(record, "fields", None)
        if fields:
            line.update(fields)
        else:
            line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def logger_class(config: Any, variables: Mapping[str, Any]) -> Any:
    """Return the logger class for `config`: Hypercorn's (or its statsd one) with what `variables` ask for."""
    base = _base(config)
    json_lines = variables.get("LOG_FORMAT") == "json"
    skipped = frozenset(variables.get("ACCESS_LOG_SKIP", ()))

    class ImageLogger(base):  # type: ignore[misc, valid-type]
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            if json_lines:
                for logger in (self.access_logger, self.error_logger):
                    for handler in getattr(logger, "handlers", ()):
                        handler.setFormatter(JsonFormatter())

        def atoms(self, request: Any, response: Any, request_time: float) -> Mapping[str, Any]:
            return Atoms(request, response, functools.partial(super().atoms, request, response, request_time))

        async def info(self, message: str, *args: Any, **kwargs: Any) -> None:
            # Each worker would log where it listens. The parent logs it once.
            await self.debug(message, *args, **kwargs)

        async def access(self, request: Any, response: Any, request_time: float) -> None:
            # If a client closes as soon as it has the answer, Hypercorn on trio logs the request twice, first as one
            # that was never answered (http_stream.py, handle of StreamClosed while EndBody is being sent).
            if request["path"] in skipped or (response is None and id(request) in answered):
                return
            if json_lines and self.access_logger is not None:
                self.access_logger.info("", extra={"fields": access_fields(request, response, request_time)})
                return
            await super().access(request, response, request_time)

    return ImageLogger


def chosen(config: Any, variables: Mapping[str, Any]) -> Any:
    """Return the logger class that `config` names, as a class or as `module:Class`, or the image's own."""
    from hypercorn.logging import Logger

    named = config.logger_class
    if isinstance(named, str):
        module, _, attribute = named.partition(":")
        try:
            named = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise StartError(
                [f"LOGGER_CLASS={config.logger_class!r} cannot be imported ({error}): module:Class"]
            ) from None
    if named is not Logger:
        return named
    return logger_class(config, variables)


def _base(config: Any) -> Any:
    from hypercorn.logging import Logger

    if config.statsd_host is None:
        return Logger
    # Hypercorn chooses its statsd logger only where no other class was chosen.
    return upstream.statsd_logger(config.worker_class)


def reopen(config: Any) -> List[Tuple[str, str]]:
    """Reopen all log files, the application's too, after logrotate has moved them.

    Return path and reason of those that cannot be opened. They go on in the file that is open.
    """
    own = [getattr(config.log, name, None) for name in ("access_logger", "error_logger")]
    loggers = [*own, logging.getLogger(), *upstream.loggers().values()]
    handlers = {id(handler): handler for logger in loggers for handler in getattr(logger, "handlers", ())}
    failures = []
    for handler in handlers.values():
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            try:
                old = handler.setStream(open(handler.baseFilename, "a", encoding=handler.encoding))  # noqa: SIM115
            except OSError as error:
                failures.append((handler.baseFilename, error.strerror or str(error)))
            else:
                if old is not None:
                    old.close()
    return failures


def access_fields(request: Any, response: Any, request_time: float) -> Dict[str, Any]:
    """Return the members of a line of the JSON access log; `request_time` is in seconds."""
    headers = {name.lower(): value for name, value in request["headers"]}
    sent = {name.lower(): value for name, value in (response or {}).get("headers", [])}
    client = request.get("client")
    length = sent.get(b"content-length")
    return {
        "message": "request",
        "client": client[0] if client else None,
        "method": request.get("method", "GET"),
        "scheme": request["scheme"],
        "host": headers.get(b"host", b"").decode("latin-1"),
        "path": request["path"],
        "query": request["query_string"].decode("latin-1"),
        "protocol": request.get("http_version", "ws"),
        "status": response["status"] if response else None,
        "bytes": int(length) if length and length.isdigit() else None,
        "seconds": round(request_time, 6),
        "referer": headers.get(b"referer", b"").decode("latin-1") or None,
        "user_agent": headers.get(b"user-agent", b"").decode("latin-1") or None,
    }
