# SPDX-License-Identifier: MIT
"""The effective configuration: the command line overrides the configuration file, which overrides the environment.

Returns a checked `hypercorn.Config` and the path of the application, or reports all problems at once. Opens no socket
and imports no application.
"""

import json
import os
import sys
from enum import Enum
from typing import TYPE_CHECKING, Any, Dict, Mapping, NamedTuple, Optional, Sequence

from hypercorn_image.app import application
from hypercorn_image.config import arguments, image, options, settings, sources
from hypercorn_image.config.problems import Problems
from hypercorn_image.errors import StartError, report

if TYPE_CHECKING:
    from hypercorn.config import Config


class Effective(NamedTuple):
    """A checked configuration. `variables` has the typed values of the variables that are set, `source` is its file."""

    config: "Config"
    application: str
    variables: Mapping[str, Any]
    source: str


def included_or_exit(environ: Mapping[str, str]) -> Dict[str, Any]:
    """Return the options computed from `environ`; if there are problems, print them and exit with status 1."""
    problems = Problems()
    values = settings.from_environment(environ, problems)
    if problems.lines:
        raise SystemExit(report(StartError(problems.lines)))
    return values


def load(environ: Mapping[str, str], argv: Sequence[str] = (), app_directory: str = "/app") -> Effective:
    """Return the effective configuration of `environ` and the server arguments `argv`.

    Raises StartError with every problem found, one line each.
    """
    problems = Problems()
    given = arguments.read(argv, problems)
    values = options.read_environment(environ, problems)
    variables = {**values, **given}
    path, missing = application.locate(variables, app_directory)
    if missing:
        problems.add("APP_MODULE", missing)
    source = sources.find(variables, app_directory, problems)
    if source is None:
        raise StartError(problems.lines)
    try:
        config = _read(source, values, problems)
    except StartError as error:  # it may repeat some: a configuration can import the included one
        raise StartError(list(dict.fromkeys(problems.lines + error.lines)), error.details) from None
    _apply(given, config)
    check(config, problems)
    if variables.get("PROXY_PROTOCOL") and "FORWARDED_ALLOW_IPS" not in variables:
        line = "PROXY_PROTOCOL is set but FORWARDED_ALLOW_IPS is not: name the proxies that send a PROXY header"
        problems.add("PROXY_PROTOCOL", line, "FORWARDED_ALLOW_IPS")
    if problems.lines:
        raise StartError(problems.lines)
    return Effective(config, path, variables, source)


def _read(source: str, values: Mapping[str, Any], problems: Problems) -> "Config":
    from hypercorn.config import Config

    if source == "file:" + sources.INCLUDED:
        return Config.from_mapping(settings.from_variables(values, problems))
    config = sources.read(source)
    if "keep_alive_max_requests" not in vars(config):
        config.keep_alive_max_requests = settings.UNLIMITED_REQUESTS
    return config


def _apply(given: Mapping[str, Any], config: "Config") -> None:
    for variable, value in given.items():
        option = options.BY_VARIABLE[variable].option
        if option is not None:
            setattr(config, option, value)


def check(config: "Config", problems: Problems) -> None:
    """Add to `problems` what a finished configuration asks for and this image does not have."""
    if config.worker_class not in ("asyncio", "uvloop", "trio"):
        line = f"worker_class={config.worker_class!r} is not allowed: one of asyncio, uvloop, trio"
        problems.add("WORKER_CLASS", line)
    elif image.missing(config.worker_class):
        reason, here = image.missing(config.worker_class), ", ".join(image.worker_classes())
        problems.add("WORKER_CLASS", f"WORKER_CLASS={config.worker_class}: {reason}; here it is one of {here}")
    if not config.bind and not config.insecure_bind:
        problems.add("BIND", "bind is empty: the server needs an address to listen on")
    if config.quic_bind and image.missing("HTTP/3"):
        problems.add("QUIC_BIND", f"QUIC_BIND: {image.missing('HTTP/3')}; unset it")
    if config.use_reloader:
        problems.add(
            "USE_RELOADER", "USE_RELOADER is not for the launcher: run /start-reload.sh for reload on code changes"
        )


def as_json(effective: Effective) -> str:
    """Return the effective configuration as JSON, without secrets."""
    shown: Dict[str, Any] = {"application": effective.application, "configuration": effective.source}
    for name, option in sorted(options.BY_OPTION.items()):
        if name == "application_path" or not hasattr(effective.config, name):
            continue
        value = getattr(effective.config, name)
        if option.secret:
            value = "***" if value else None
        shown[name] = _plain(value) if isinstance(value, Enum) else value  # json would write ssl's constants as numbers
    for option in options.TABLE:
        if option.option is None and option.variable in effective.variables:
            shown[option.variable] = effective.variables[option.variable]
    return json.dumps(shown, indent=2, default=_plain)


def _plain(value: Any) -> Any:
    name = getattr(value, "name" if isinstance(value, Enum) else "__name__", None)
    return name or str(value)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the effective configuration; the exit status is 1 when it has problems."""
    try:
        print(as_json(load(os.environ, sys.argv[1:] if argv is None else argv, application.DIRECTORY)))
    except StartError as error:
        return report(error)
    return 0
