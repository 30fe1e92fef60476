# SPDX-License-Identifier: MIT
"""The kinds of value in the table in `options`: how each is read from a variable, and checked in a configuration.

A kind has its name in the documentation and the text of what it allows, for error messages. It knows no variable.
"""

import json
import math
import os
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

FALSY = ("no", "n", "0", "false")
TRULY = ("yes", "y", "1", "true")


class Kind(NamedTuple):
    """A kind of value.

    `read` takes the text of a variable, `accept` the value that a Python or TOML configuration gives. Both return the
    typed value, or raise ValueError when it is not allowed.
    """

    name: str
    allowed: str
    read: Callable[[str], Any]
    accept: Callable[[Any], Any]


def _instance(*types: type) -> Callable[[Any], Any]:
    def accept(value: Any) -> Any:
        if not isinstance(value, types):
            raise ValueError(value)
        return value

    return accept


def _accept_list(value: Any) -> List[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) and item for item in value):
        raise ValueError(value)
    return list(value)


def _boolean(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in TRULY:
        return True
    if lowered in FALSY:
        return False
    raise ValueError(text)


def _decimal_digits(text: str) -> int:
    # int() also takes "1_000", "+1" and digits of other scripts, which nobody writes on purpose.
    stripped = text.strip()
    digits = stripped[1:] if stripped.startswith("-") else stripped
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(text)
    return int(stripped)


def integer(minimum: int, maximum: int = 2**53) -> Kind:
    """Return the kind of a whole number from `minimum` to `maximum`, both included."""

    def read(text: str) -> int:
        return accept(_decimal_digits(text))

    def accept(value: Any) -> int:
        if type(value) is not int or not minimum <= value <= maximum:  # True is an int too
            raise ValueError(value)
        return value

    bounds = f"from {minimum} to {maximum}" if maximum != 2**53 else f"of {minimum} or more"
    return Kind("integer", f"a whole number {bounds}", read, accept)


def number(above_zero: bool = False, unit: str = "") -> Kind:
    """Return the kind of a finite number, 0 or more (or above 0). The error text names `unit`."""

    def read(text: str) -> float:
        if "_" in text:
            raise ValueError(text)
        return float(accept(float(text)))

    def accept(value: Any) -> Any:
        if type(value) not in (int, float) or not math.isfinite(value) or value < 0 or (above_zero and value == 0):
            raise ValueError(value)
        return value

    allowed = "a number above 0" if above_zero else "a number of 0 or more"
    return Kind("float", allowed + (f" ({unit})" if unit else ""), read, accept)


def choice(*names: str) -> Kind:
    """Return the kind of one of `names`; case does not matter."""

    def read(text: str) -> str:
        lowered = text.strip().lower()
        if lowered not in names:
            raise ValueError(text)
        return lowered

    def accept(value: Any) -> str:
        return read(_instance(str)(value))

    return Kind("choice", "one of " + ", ".join(names), read, accept)


def _listed(text: str) -> List[str]:
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise ValueError(text)
    return items


def listed(*names: str) -> Kind:
    """Return the kind of a comma-separated list of some of `names`, compared in lower case."""

    def read(text: str) -> List[str]:
        return accept(_listed(text))

    def accept(value: Any) -> List[str]:
        items = [item.lower() for item in _accept_list(value)]
        if not set(items) <= set(names):
            raise ValueError(value)
        return items

    return Kind("list", "a comma-separated list of " + ", ".join(names), read, accept)


def _list_of(check: Callable[[str], None], name: str, allowed: str) -> Kind:
    """Return the kind of a comma-separated list; `check` raises ValueError for an item that is not allowed."""

    def read(text: str) -> List[str]:
        return accept(_listed(text))

    def accept(value: Any) -> List[str]:
        items = _accept_list(value)
        for item in items:
            check(item)
        return items

    return Kind(name, allowed, read, accept)


def _check_proxy(item: str) -> None:
    from hypercorn_image.app.forwarded import addresses  # the standard library's module costs: who sets it pays

    addresses.check(item)


def _check_bind(bind: str) -> None:
    if bind.startswith("unix:"):
        if bind == "unix:":
            raise ValueError(bind)
        return
    if bind.startswith("fd://"):
        _decimal_digits(bind[5:])
        return
    host, port = split_bind(bind)
    if not host or not 0 <= port <= 65535:
        raise ValueError(bind)


def split_bind(bind: str) -> Tuple[str, int]:
    """Return host and port of a `HOST:PORT` or `[IPv6]:PORT` bind; 8000 is the port of a bare host, as in Hypercorn.

    Raises ValueError when the port is not a number.
    """
    if bind.startswith("["):
        host, bracket, rest = bind[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(bind)
        return host, _decimal_digits(rest[1:]) if rest else 8000
    if ":" not in bind:
        return bind, 8000
    host, _, port = bind.rpartition(":")
    return host, _decimal_digits(port)


def _octal(text: str) -> int:
    return int(_accept_mask(int(text.strip(), 8)))


_accept_mask = integer(0, 0o777).accept


def _json_object(text: str) -> Dict[str, Any]:
    return dict(_instance(dict)(json.loads(text)))


def _verify_mode(text: str) -> Any:
    # ssl takes 15 ms to import, so it is imported only when the variable is set.
    import ssl

    try:
        return ssl.VerifyMode[text.strip()]
    except KeyError:
        raise ValueError(text) from None


def _verify_flags(text: str) -> Any:
    import ssl

    flags = ssl.VerifyFlags(0)
    for name in _listed(text):
        try:
            flags |= ssl.VerifyFlags[name]
        except KeyError:
            raise ValueError(text) from None
    return flags


def _accept_verify_mode(value: Any) -> Any:
    import ssl

    return _verify_mode(value) if isinstance(value, str) else ssl.VerifyMode(value)  # TOML gives the name


def _accept_verify_flags(value: Any) -> Any:
    import ssl

    if isinstance(value, (str, list)):
        return _verify_flags(value if isinstance(value, str) else ",".join(_accept_list(value)))
    return ssl.VerifyFlags(_instance(int)(value))


TEXT = Kind("text", "any text", str, _instance(str))
BOOLEAN = Kind("boolean", "one of " + ", ".join(FALSY + TRULY), _boolean, _instance(bool))
PORT = integer(0, 65535)
PATH = Kind("path", "a path", str, _instance(str, os.PathLike))
LIST = Kind("list", "a comma-separated list without empty items", _listed, _accept_list)
BIND = _list_of(_check_bind, "bind list", "a comma-separated list of HOST:PORT, [IPV6]:PORT, unix:PATH or fd://NUMBER")
PROXIES = _list_of(_check_proxy, "list", "a comma-separated list of addresses, networks (10.0.0.0/8), `unix` and `*`")
OCTAL = Kind("octal", "an octal number from 0 to 777", _octal, _accept_mask)
JSON_OBJECT = Kind("JSON", "a JSON object", _json_object, _instance(dict))
SECONDS = number(unit="seconds")
VERIFY_MODE = Kind("name", "one of CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED", _verify_mode, _accept_verify_mode)
VERIFY_FLAGS = Kind(
    "list", "a comma-separated list of names of Python's ssl.VerifyFlags", _verify_flags, _accept_verify_flags
)
