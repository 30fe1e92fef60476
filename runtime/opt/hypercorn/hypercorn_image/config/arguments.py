# SPDX-License-Identifier: MIT
"""The command line: `docker run IMAGE --root-path /api` sets a Hypercorn option, spelled as for `hypercorn` itself.

The flags are in the table in `options`, so an argument is checked like its variable.
"""

from typing import Any, Dict, List, Sequence, Tuple

from hypercorn_image.config import options
from hypercorn_image.config.options import Option
from hypercorn_image.config.problems import Problems


def read(arguments: Sequence[str], problems: Problems) -> Dict[str, Any]:
    """Return the typed value of each variable that `arguments` set; add each argument that is wrong to `problems`.

    A list that is given several times (`--bind A --bind B`) is joined.
    """
    values: Dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        flag, has_value, text = _split(rest.pop(0))
        option = options.BY_FLAG.get(flag)
        if option is None:
            problems.add(
                flag, f"{flag!r} is not a server argument: see `hypercorn --help`, and the variables in the README"
            )
            continue
        if not has_value:
            text = _next_value(option, rest)
            if text is None:
                problems.add(flag, f"{flag} has no value: {option.kind.allowed}")
                continue
        _store(option, flag, text, values, problems)
    return values


def _split(argument: str) -> Tuple[str, bool, str]:
    if argument.startswith("--"):
        flag, equals, text = argument.partition("=")
        return flag, bool(equals), text
    if argument.startswith("-") and len(argument) > 2:
        return argument[:2], True, argument[2:]  # -w4
    return argument, False, ""


def _next_value(option: Option, rest: List[str]) -> Any:
    is_boolean = option.kind.name == "boolean"
    if rest and (not rest[0].startswith("-") or rest[0] == "-"):
        if not is_boolean:
            return rest.pop(0)
        try:
            option.kind.read(rest[0])
        except ValueError:
            return "true"
        return rest.pop(0)
    return "true" if is_boolean else None


def _store(option: Option, flag: str, text: str, values: Dict[str, Any], problems: Problems) -> None:
    try:
        value = option.kind.read(text)
    except ValueError:
        problems.add(flag, options.problem(option, flag, text))
        return
    if isinstance(value, list) and isinstance(values.get(option.variable), list):
        value = values[option.variable] + value
    values[option.variable] = value
