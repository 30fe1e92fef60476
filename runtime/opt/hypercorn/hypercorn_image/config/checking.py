# SPDX-License-Identifier: MIT
"""Checks a user's configuration, in Python or TOML, against the table in `options`.

A wrong type or a misspelt option gets one line before the server starts, as a wrong variable does.
"""

import difflib
from typing import TYPE_CHECKING, Any, Container, Dict, Iterator, List, Mapping, Optional

from hypercorn_image.config import kinds, options
from hypercorn_image.config.options import Option

if TYPE_CHECKING:
    from hypercorn.config import Config

# Hypercorn takes what no variable can say: a logger or None, a class, and the deprecated `cert_reqs`.
_LOGS = ("accesslog", "errorlog")
_OBJECTS = (*_LOGS, "logger_class")
_DEPRECATED = ("cert_reqs",)
# What an error says is allowed, where that differs from a variable's.
_ALLOWED = {
    kinds.TEXT: "a string",
    kinds.BOOLEAN: "true or false",
    kinds.LIST: "a list of strings",
    kinds.OCTAL: "a whole number from 0 to 0o777",
    kinds.BIND: "a list of HOST:PORT, [IPV6]:PORT, unix:PATH or fd://NUMBER",
    kinds.JSON_OBJECT: "a mapping",
}


def check(config: "Config", given: Mapping[str, Any], source: str) -> List[str]:
    """Return one line for each option that was set in `config` to a value that is not allowed.

    `given` is what `config` was made from. The lines name the configuration as `source`. A value that may be written in
    two ways is set to the one that Hypercorn knows.
    """
    problems = []
    for name in sorted(options.BY_OPTION):
        if name in vars(config) or "_" + name in vars(config):  # some are properties, kept in `_name`
            try:
                setattr(config, name, _accept(config, name, getattr(config, name)))
            except (ValueError, TypeError):
                problems.append(_problem(options.BY_OPTION[name], source, getattr(config, name)))
        elif name in given:  # Hypercorn drops a value that one of its properties does not take
            problems.append(_problem(options.BY_OPTION[name], source, given[name]))
    return problems


def _accept(config: "Config", name: str, value: Any) -> Any:
    if value is None and (name in _LOGS or getattr(type(config), name, None) is None):
        return value
    if name in _OBJECTS and not isinstance(value, (str, bytes, int, float, list, dict, type(None))):
        return value
    return options.BY_OPTION[name].kind.accept(value)


def _problem(option: Option, source: str, value: Any) -> str:
    shown = "(not shown)" if option.secret else repr(value)
    allowed = _ALLOWED.get(option.kind, option.kind.allowed)
    return f"{option.option}={shown} in {source} is not allowed: {allowed}"


def unknown(given: Dict[str, Any], source: str) -> List[str]:
    """Return one line for each name in `given`, the content of a TOML file, that is not an option."""
    return [_unknown(name, source, nearest(name)) for name in sorted(given) if not _is_known(name)]


def misspelt(given: Dict[str, Any], source: str) -> List[str]:
    """Return one line for each name in `given`, the content of a Python module, that is almost an option.

    A module may have variables of its own. A name is a mistake when it is almost that of an option, and the module does
    not set that option.
    """
    return list(_misspelt(given, source))


def _misspelt(given: Dict[str, Any], source: str) -> Iterator[str]:
    for name, value in sorted(given.items()):
        if name.startswith("_") or _is_known(name) or callable(value):
            continue
        option = nearest(name, 0.85, set(given))
        if option is not None:
            yield _unknown(name, source, option)


def _is_known(name: str) -> bool:
    return name in options.BY_OPTION or name in _DEPRECATED


def nearest(name: str, likeness: float = 0.6, but: Container[str] = ()) -> Optional[str]:
    """Return the option with the name most like `name`, except those in `but`; None below a `likeness` (0 to 1)."""
    names = [option for option in options.BY_OPTION if option not in but]
    return next(iter(difflib.get_close_matches(name, names, 1, likeness)), None)


def _unknown(name: str, source: str, option: Optional[str]) -> str:
    said = f"{name!r} in {source} is not an option of Hypercorn"
    return said + (f": did you mean {option!r}?" if option else ": see the variables in the README")
