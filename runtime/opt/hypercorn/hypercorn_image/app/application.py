# SPDX-License-Identifier: MIT
"""Finds and imports the application, and makes it an ASGI 3 callable."""

import asyncio
import importlib
import inspect
import os
import sys
import traceback
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Optional, Tuple

from hypercorn_image.errors import StartError

DIRECTORY = "/app"


def locate(variables: Mapping[str, Any], directory: str = DIRECTORY) -> Tuple[str, str]:
    """Return `MODULE:VARIABLE` of the application, and an error line if there is none."""
    if "APP_MODULE" in variables:
        return variables["APP_MODULE"], ""
    variable = variables.get("VARIABLE_NAME", "app")
    if "MODULE_NAME" in variables:
        return f"{variables['MODULE_NAME']}:{variable}", ""
    nested, plain = os.path.join(directory, "app", "main.py"), os.path.join(directory, "main.py")
    if os.path.isfile(nested):
        return f"app.main:{variable}", ""
    if os.path.isfile(plain):
        return f"main:{variable}", ""
    return "", f"no application: there is neither {nested} nor {plain}; add one, or set MODULE_NAME or APP_MODULE"


def load(path: str) -> Tuple[Any, Optional[str]]:
    """Import the application at `path`; return it and the kind that `path` names (`asgi`, `wsgi` or None).

    Raises StartError, with the traceback if the application's own code raised.
    """
    mode: Optional[str] = None
    if path.count(":") == 2 and path.split(":", 1)[0] in ("asgi", "wsgi"):
        mode, path = path.split(":", 1)
    module_name, _, expression = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            where = ", ".join(repr(entry or os.getcwd()) for entry in sys.path[:3])
            raise StartError(
                [
                    f"no module {module_name!r} for the application {path!r}: "
                    f"looked in {where} and the installed packages"
                ]
            ) from None
        raise _fault(path, error) from None
    except Exception as error:
        raise _fault(path, error) from None
    return _find(module, expression or "app", path), mode


def _fault(path: str, error: BaseException) -> StartError:
    line = f"the application {path!r} cannot be imported: {type(error).__name__}: {error}"
    return StartError([line], own_traceback(error))


def own_traceback(error: BaseException) -> str:
    """Return the traceback of `error` without the frames of this package and of the import machinery."""
    entry = error.__traceback__
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    while entry is not None and (
        entry.tb_frame.f_code.co_filename.startswith(here) or "importlib" in entry.tb_frame.f_code.co_filename
    ):
        entry = entry.tb_next
    return "".join(traceback.format_exception(type(error), error, entry))


def _find(module: Any, expression: str, path: str) -> Any:
    found = module
    for name in expression.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise StartError(
                [
                    f"no {expression!r} in the module {module.__name__!r} ({module.__file__}): "
                    "set VARIABLE_NAME or APP_MODULE"
                ]
            ) from None
    if not callable(found):
        raise StartError([f"{path!r} is {type(found).__name__}, not an application: an ASGI or WSGI callable"])
    return found


def kind(application: Any) -> str:
    """Return `asgi3`, `asgi2` or `wsgi`, depending on the signature of the callable.

    Hypercorn only looks whether it is a coroutine function, and takes an ASGI 2 class for ASGI 3.
    """
    if inspect.isclass(application):
        return "asgi2" if hasattr(application, "__await__") or _is_async(application.__call__) else "wsgi"
    if _is_async(application) or _is_async(type(application).__call__):
        return "asgi3"
    return "asgi2" if _takes_scope_alone(application) else "wsgi"


def _is_async(function: Any) -> bool:
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    return (
        asyncio.iscoroutinefunction(function) if sys.version_info < (3, 14) else inspect.iscoroutinefunction(function)
    )


def _takes_scope_alone(function: Any) -> bool:
    """Tell whether a plain callable takes one argument, like `def application(scope)` of ASGI 2."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [
        p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len(required) == 1 and not any(p.kind is p.VAR_POSITIONAL for p in parameters)


def to_asgi3(application: Any, mode: Optional[str], worker_class: str, max_body_size: int) -> Any:
    """Return `application` as an ASGI 3 callable for `worker_class`; `mode` overrides its kind."""
    found = mode if mode == "wsgi" else kind(application)
    if mode == "asgi" and found == "wsgi":
        found = "asgi3"
    if found == "asgi2":
        return _from_asgi2(application)
    if found == "wsgi":
        return _from_wsgi(application, worker_class, max_body_size)
    return application


def _from_asgi2(application: Any) -> Any:
    async def adapted(scope: Any, receive: Any, send: Any) -> None:
        await application(scope)(receive, send)

    return adapted


def _from_wsgi(application: Any, worker_class: str, max_body_size: int) -> Any:
    from hypercorn.middleware import AsyncioWSGIMiddleware, TrioWSGIMiddleware

    middleware = TrioWSGIMiddleware if worker_class == "trio" else AsyncioWSGIMiddleware
    return middleware(_with_first_chunk(application), max_body_size)


class _Body:
    """The body of a WSGI response, of which the first chunk has been read."""

    def __init__(self, first: bytes, rest: Iterator[bytes], body: Iterable[bytes]) -> None:
        self._first: Optional[bytes] = first
        self._rest = rest
        self._body = body

    def __iter__(self) -> "Iterator[bytes]":
        return self

    def __next__(self) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return next(self._rest)

    def close(self) -> None:
        if hasattr(self._body, "close"):
            self._body.close()


def _with_first_chunk(application: Callable[..., Iterable[bytes]]) -> Callable[..., _Body]:
    # Hypercorn 0.18.0 sends no response for an empty body, and 0.17.3 refuses an application that calls start_response
    # only when its body is read (both in app_wrappers.py, run_app). Reading one chunk ahead avoids both. This can go
    # when the oldest version in the matrix does neither.
    def adapted(environ: Dict[str, Any], start_response: Any) -> _Body:
        body = application(environ, start_response)
        rest = iter(body)
        return _Body(next(rest, b""), rest, body)

    return adapted
