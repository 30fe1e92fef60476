"""The effective configuration: the environment, the configuration file, the command line, in rising order.

Gives a checked `hypercorn.Config` and the path of the application, or all problems of this start at once. Opens no
socket and imports no application.
"""

import importlib
import importlib.util
import json
import os
import sys
import traceback
import types
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from hypercorn_image.app import application
from hypercorn_image.config import arguments, image, options, settings
from hypercorn_image.errors import StartError, report

if TYPE_CHECKING:
    from hypercorn.config import Config

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(image.PACKAGE)))
INCLUDED = os.path.join(_ROOT, "hypercorn_conf.py")


class Effective(NamedTuple):
    """What this start works with. `variables` are the typed values of those that are set, `source` the file used."""

    config: "Config"
    application: str
    variables: Mapping[str, Any]
    source: str


def defaults_or_exit(environ: Mapping[str, str]) -> Dict[str, Any]:
    """Return the options computed from `environ`; with problems, write them to stderr and exit with status 1."""
    values, problems = settings.from_environment(environ)
    if problems:
        raise StartError(problems) if _loading else SystemExit(report(StartError(problems)))
    return values


_loading = False  # whether `load` runs a configuration file now, and so gathers the problems


def load(environ: Mapping[str, str], argv: Sequence[str] = (), app_directory: str = "/app") -> Effective:
    """Return the effective configuration of `environ` and the server arguments `argv`.

    Raises StartError with every problem found, one line each.
    """
    given, problems = arguments.read(argv)
    variables, found = options.read_environment(environ)
    problems += found
    variables.update(given)
    path, found = application.locate(variables, app_directory)
    problems += found
    config: Any = None
    source, found = _source(variables, app_directory)
    problems += found
    if not found:
        try:
            config = _read_source(source, environ)
        except StartError as error:
            problems += error.lines
            if error.details:
                raise StartError(list(dict.fromkeys(problems)), error.details) from None
    if config is not None:
        if "keep_alive_max_requests" not in vars(config):
            config.keep_alive_max_requests = settings.UNLIMITED_REQUESTS
        _apply(given, config)
        problems += check(config)
    if problems:
        raise StartError(list(dict.fromkeys(problems)))
    config.application_path = path
    return Effective(config, path, variables, source)


def _source(variables: Mapping[str, Any], app_directory: str) -> Tuple[str, List[str]]:
    """Return which configuration is used, as `file:`, `python:` or a TOML file's path, and problems."""
    named = variables.get("HYPERCORN_CONF")
    if named is None:
        for path in (
            os.path.join(app_directory, "app", "hypercorn_conf.py"),
            os.path.join(app_directory, "hypercorn_conf.py"),
        ):
            if os.path.isfile(path):
                return "file:" + path, []
        return "file:" + INCLUDED, []
    if named.startswith("python:"):
        return named, []
    path = named[5:] if named.startswith("file:") else named
    if not os.path.isfile(path):
        return named, [
            f"HYPERCORN_CONF={named!r} is not there: file:PATH.py, python:MODULE, or the path of a .py or TOML file"
        ]
    return ("file:" + path if path.endswith(".py") or named.startswith("file:") else path), []


def _read_source(source: str, environ: Mapping[str, str]) -> "Config":
    from hypercorn.config import Config

    if source == "file:" + INCLUDED:
        values, problems = settings.from_environment(environ)
        if problems:
            raise StartError(problems)
        return Config.from_mapping(values)
    if source.startswith("file:"):
        return _configured(lambda: _run_file(source[5:]), source)
    if source.startswith("python:"):
        return _configured(lambda: _import_module(source[7:]), source)
    return _configured(lambda: Config.from_toml(source), source)


def _configured(read: Any, source: str) -> "Config":
    """Run a user's configuration; its own faults are shown with their traceback."""
    from hypercorn.config import Config

    global _loading
    _loading = True
    previous = sys.modules.get("hypercorn_conf")
    try:
        if source != "python:hypercorn_conf":
            _preset_included()
        found = read()
        return found if isinstance(found, Config) else Config.from_object(found)
    except StartError:
        raise
    except Exception as error:
        line = f"the configuration {source} failed: {type(error).__name__}: {error}"
        raise StartError([line], "".join(traceback.format_exc())) from None
    finally:
        _loading = False
        if previous is not None:
            sys.modules["hypercorn_conf"] = previous


def _preset_included() -> None:
    # A user's /app/hypercorn_conf.py that says `from hypercorn_conf import *` means the image's, and would find itself.
    spec = importlib.util.spec_from_file_location("hypercorn_conf", INCLUDED)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hypercorn_conf"] = module
    spec.loader.exec_module(module)


def _run_file(path: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("hypercorn_conf_of_user", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> Any:
    sys.modules.pop(name, None)  # read again at a SIGHUP
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        if not module:
            raise
        return getattr(importlib.import_module(module), attribute)


def _apply(given: Mapping[str, Any], config: "Config") -> None:
    for variable, value in given.items():
        option = options.BY_VARIABLE[variable].option
        if option is not None:
            setattr(config, option, value)


def check(config: "Config") -> List[str]:
    """Return one line for each thing that a finished configuration asks for and that cannot be had here."""
    problems = []
    if config.worker_class not in ("asyncio", "uvloop", "trio"):
        problems.append(f"worker_class={config.worker_class!r} is not allowed: one of asyncio, uvloop, trio")
    else:
        reason = image.missing(config.worker_class)
        if reason:
            problems.append(
                f"WORKER_CLASS={config.worker_class}: {reason}; here it is one of {', '.join(image.worker_classes())}"
            )
    if config.quic_bind:
        reason = image.missing("HTTP/3")
        if reason:
            problems.append(f"QUIC_BIND: {reason}; unset it")
    if config.use_reloader:
        problems.append("USE_RELOADER is not for the launcher: run /start-reload.sh for reload on code changes")
    return problems


def as_json(effective: Effective) -> str:
    """Return the effective configuration as JSON; secrets are not in it."""
    shown: Dict[str, Any] = {"application": effective.application, "configuration": effective.source}
    for name, option in sorted(options.BY_OPTION.items()):
        if name == "application_path" or not hasattr(effective.config, name):
            continue
        value = getattr(effective.config, name)
        # The names of ssl's numbers say more; json would write the numbers.
        shown[name] = ("***" if value else None) if option.secret else getattr(value, "name", value)
    for option in options.TABLE:
        if option.option is None and option.variable in effective.variables:
            shown[option.variable] = effective.variables[option.variable]
    return json.dumps(shown, indent=2, default=_plain)


def _plain(value: Any) -> Any:
    name = getattr(value, "name", None) or getattr(value, "__name__", None)
    return name if isinstance(name, str) else str(value)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the effective configuration; the exit status is 1 when it has problems."""
    try:
        print(as_json(load(os.environ, sys.argv[1:] if argv is None else argv, application.DIRECTORY)))
    except StartError as error:
        return report(error)
    return 0
