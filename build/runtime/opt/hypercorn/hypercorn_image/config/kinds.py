"""From the text of a variable to a typed value: the kinds of value that the table in `options` is written in.

A kind says what it is called in the documentation, what it allows in an error message, and how to read it. It knows
nothing about which variables there are.
"""

import json
import math
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

FALSY = ("no", "n", "0", "false")
TRULY = ("yes", "y", "1", "true")


class Kind(NamedTuple):
    """A kind of value. `read` takes the text and returns the value, or raises ValueError when it is not allowed."""

    name: str
    allowed: str
    read: Callable[[str], Any]


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
        value = _decimal_digits(text)
        if not minimum <= value <= maximum:
            raise ValueError(text)
        return value

    bounds = f"from {minimum} to {maximum}" if maximum != 2**53 else f"of {minimum} or more"
    return Kind("integer", f"a whole number {bounds}", read)


def number(above_zero: bool = False, unit: str = "") -> Kind:
    """Return the kind of a finite decimal number, zero or more (or above zero), said to be in `unit`."""

    def read(text: str) -> float:
        if "_" in text:
            raise ValueError(text)
        value = float(text)
        if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
            raise ValueError(text)
        return value

    allowed = "a number above 0" if above_zero else "a number of 0 or more"
    return Kind("float", allowed + (f" ({unit})" if unit else ""), read)


def choice(*names: str) -> Kind:
    """Return the kind of one of `names`, compared in lower case."""

    def read(text: str) -> str:
        lowered = text.strip().lower()
        if lowered not in names:
            raise ValueError(text)
        return lowered

    return Kind("choice", "one of " + ", ".join(names), read)


def _listed(text: str) -> List[str]:
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise ValueError(text)
    return items


def _bind(text: str) -> List[str]:
    binds = _listed(text)
    for bind in binds:
        _check_bind(bind, text)
    return binds


def _check_bind(bind: str, text: str) -> None:
    if bind.startswith("unix:"):
        if bind == "unix:":
            raise ValueError(text)
        return
    if bind.startswith("fd://"):
        _decimal_digits(bind[5:])
        return
    host, port = split_bind(bind)
    if not host or not 0 <= port <= 65535:
        raise ValueError(text)


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
    value = int(text.strip(), 8)
    if not 0 <= value <= 0o777:
        raise ValueError(text)
    return value


def _json_object(text: str) -> Dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(text)
    return value


def _verify_mode(text: str) -> Any:
    # ssl costs 15 ms to import: only who sets the variable pays.
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


TEXT = Kind("text", "any text", str)
BOOLEAN = Kind("boolean", "one of " + ", ".join(FALSY + TRULY), _boolean)
PORT = integer(0, 65535)
PATH = Kind("path", "a path", str)
LIST = Kind("list", "a comma-separated list without empty items", _listed)
BIND = Kind("bind list", "a comma-separated list of HOST:PORT, [IPV6]:PORT, unix:PATH or fd://NUMBER", _bind)
OCTAL = Kind("octal", "an octal number from 0 to 777", _octal)
JSON_OBJECT = Kind("JSON", "a JSON object", _json_object)
SECONDS = number(unit="seconds")
VERIFY_MODE = Kind("name", "one of CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED", _verify_mode)
VERIFY_FLAGS = Kind("list", "a comma-separated list of names of Python's ssl.VerifyFlags", _verify_flags)
