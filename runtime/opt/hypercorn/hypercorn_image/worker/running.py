# SPDX-License-Identifier: MIT
"""Runs one worker on the event loop of its class, and reports why it cannot serve.

Of `on_asyncio` and `on_trio`, it imports only the one that is needed.
"""

import contextlib
import importlib
import traceback
from typing import Any, Callable, Iterable, Mapping

from hypercorn_image import logs, upstream
from hypercorn_image.config import options
from hypercorn_image.errors import StartError
from hypercorn_image.process import channel
from hypercorn_image.worker.worker import Worker, reads_http1


def before_fork(config: Any, variables: Mapping[str, Any]) -> None:
    """Import modules and set up TLS before the workers are forked; raises StartError if TLS cannot be set up.

    The workers then share the memory of the modules, and the key of TLS session tickets: each resumes all sessions.
    """
    _import(config, variables)
    if config.workers > 0:
        _import_packages(options.value(variables, "PRELOAD_PACKAGES"))
    try:
        upstream.share_tls_context(config)
    except Exception as error:
        raise as_start_error(error) from None


def _import(config: Any, variables: Mapping[str, Any]) -> None:
    runner(config.worker_class)
    if upstream.holds("hypercorn-h2-connection"):
        from hypercorn_image.worker import h2  # noqa: F401
    if reads_http1(config, variables):
        from hypercorn_image.worker.http1 import connection  # noqa: F401
    if config.quic_bind and upstream.holds("hypercorn-h3-connection"):
        from hypercorn_image.worker import h3, quic  # noqa: F401
    if "FORWARDED_ALLOW_IPS" in variables:
        from hypercorn_image.app.forwarded import middleware  # noqa: F401


def _import_packages(names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(Exception):  # not installed, or broken: then the application's own import fails
            importlib.import_module(name)


def runner(worker_class: str) -> Callable[[Worker], None]:
    """Import and return what runs a worker of `worker_class`."""
    if worker_class == "trio":
        from hypercorn_image.worker import on_trio

        return on_trio.run
    from hypercorn_image.worker import on_asyncio

    return on_asyncio.run


def run(worker: Worker) -> int:
    """Serve until told to stop; return the exit status. A failed start is reported to the parent, or raised."""
    worker.config.logger_class = logs.chosen(worker.config, worker.variables)
    if worker.loaded is None:
        # They are made again after the import, as under plain Hypercorn. A dictConfig of the application silences
        # loggers that exist: its disable_existing_loggers is true by default.
        upstream.forget_loggers(worker.config)
    try:
        worker.prepare()
        runner(worker.worker_class)(worker)
    except StartError as error:
        if worker.parent is None:
            raise
        worker.say(channel.FAILED, lines=error.lines, details=error.details)
        return 1
    except Exception as error:
        failure = as_start_error(error)
        if worker.parent is None:
            raise failure from None
        worker.say(channel.FAILED, lines=failure.lines, details=failure.details)
        return 1
    return 0


def as_start_error(error: BaseException) -> StartError:
    """Return the StartError for an exception that `serve` raised."""
    import ssl

    while getattr(error, "exceptions", None):  # a group, as trio raises
        error = error.exceptions[0]  # type: ignore[attr-defined]
    if isinstance(error, StartError):
        return error
    if isinstance(error, ssl.SSLError):
        return StartError(
            [f"TLS cannot be set up: {error}: check CERTFILE, KEYFILE, KEYFILE_PASSWORD, CA_CERTS and CIPHERS"]
        )
    if isinstance(error, OSError):
        where = f" {error.filename!r}" if error.filename else ""
        return StartError([f"the worker cannot serve{where}: {error.strerror or error}"])
    details = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return StartError([f"the worker cannot serve: {type(error).__name__}: {error}"], details)
