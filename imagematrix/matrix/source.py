"""Reads a YAML file with the line of each value.

`yaml.safe_load` forgets lines and takes the last of two equal keys. This refuses repeated keys, and keeps the text of
scalars: `3.10` is read as the number 3.1.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from imagematrix.errors import InputError

Where = tuple["str | int", ...]
"""The path to a value: keys and list positions."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader if PyYAML has it
_MOST = 100_000
"""The most values in a file. Only nested aliases make more."""
_DEEPEST = 100
"""The most levels in a file. libyaml is recursive and has no limit but the stack."""


@dataclass
class Source:
    """A YAML file: its data, the line of each value, and the problems found in it so far."""

    name: str
    data: Any = None
    lines: dict[Where, int] = field(default_factory=dict)
    scalars: dict[Where, str] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def line(self, where: Iterable[str | int]) -> int:
        """Return the line (from 1) of the value at `where`, or of the nearest value around it."""
        path = tuple(where)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, where: Iterable[str | int], text: str) -> None:
        """Note that the value at `where` is wrong; `check` raises."""
        self.problems.append((self.line(where), text))

    def check(self) -> None:
        """Raise InputError with every problem noted, in the order of the file, each once."""
        if self.problems:
            ordered = sorted(dict.fromkeys(self.problems))
            raise InputError("\n".join(f"{self.name}:{line}: {text}" for line, text in ordered))


def read(path: Path) -> Source:
    """Read a YAML file. Raises InputError if it cannot be read, is not YAML, or says one thing twice."""
    source = Source(path.name)
    try:
        if path.is_fifo():
            raise InputError(f"{source.name}:1: is not a plain file")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{source.name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{source.name}:{line}: is not UTF-8 text") from None
    try:
        _refuse_depth(source.name, text)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise InputError(_syntax(source.name, text, error)) from None
    except yaml.reader.ReaderError as error:
        # libyaml counts bytes, PyYAML characters: the character itself tells.
        line = text[: max(0, text.find(chr(error.character)))].count("\n") + 1
        raise InputError(f"{source.name}:{line}: has a control character (U+{int(error.character):04X})") from None
    if node is None:
        raise InputError(f"{source.name}:1: is empty")
    source.data = _Reader(source).value(node, ())
    source.check()
    return source


def _refuse_depth(name: str, text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise _too_deep(name, event.start_mark)


def _too_deep(name: str, mark: Any) -> InputError:
    return InputError(f"{name}:{mark.line + 1}: is nested too deeply; an alias (*) must not contain itself")


def _syntax(name: str, text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    context = error.context or ""
    if "quoted scalar" in context or ("flow" in context and "end" in (error.problem or "")):
        mark = error.context_mark or mark  # where it begins; it may end at the end of the file
    lines = text.splitlines()
    line = min(mark.line + 1, max(1, len(lines))) if mark else 1
    if line <= len(lines) and lines[line - 1].lstrip(" ").startswith("\t"):
        return f"{name}:{line}: is indented with a tab; YAML allows only spaces"
    conflict = next((number for number, content in enumerate(lines, 1) if content.startswith("<<<<<<< ")), None)
    if conflict:
        return f"{name}:{conflict}: has a merge conflict in it; resolve it"
    detail = error.problem or error.context or "cannot be parsed"
    hint = next((hint for said, hint in _HINTS.items() if said in detail), "")
    return f"{name}:{line}: is not YAML: {detail}{hint}"


_HINTS = {
    "mapping values are not allowed": " (is the indentation right? a text with a colon and a space needs quotes)",
    "could not find expected ':'": " (here or above: is a colon, the space behind it or a closing quote missing?)",
    "found unexpected end of stream": " (is the quote closed?)",
    "did not find expected ',' or": " (is the bracket closed? a text with one of []{},: in it needs quotes)",
}
"""The usual mistakes behind the parser's messages."""


class _Reader:
    """Turns YAML's nodes into plain data."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.construct = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, where: Where) -> Any:
        self.source.lines.setdefault(where, node.start_mark.line + 1)
        if len(self.source.lines) > _MOST:
            raise InputError(f"{self.source.name}:{node.start_mark.line + 1}: has too many aliases (*); write them out")
        if len(where) > _DEEPEST:  # by aliases
            raise _too_deep(self.source.name, node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, where)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*where, position)) for position, item in enumerate(node.value)]
        self.source.scalars[where] = str(node.value)
        return self.construct_scalar(node)

    def mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = self.key(key_node, line)
            if key is None:
                continue
            inside = (*where, key)
            if key in result:
                first = self.source.lines[inside]
                self.source.problems.append((line, f"{key} is there twice; the first is on line {first}"))
                continue
            self.source.lines[inside] = line
            result[key] = self.value(value_node, inside)
        return result

    def key(self, node: yaml.Node, line: int) -> str | None:
        if node.tag == "tag:yaml.org,2002:str":
            return str(node.value)
        if node.tag == "tag:yaml.org,2002:merge":
            self.source.problems.append((line, "merge keys (<<) are not supported; write the keys out"))
        elif isinstance(node, yaml.ScalarNode):
            self.source.problems.append((line, f"the key {as_read(node.value, self.construct_scalar(node))}"))
        else:
            self.source.problems.append((line, "a key must be text"))
        return None

    def construct_scalar(self, node: yaml.Node) -> Any:
        try:
            return self.construct.construct_object(node, deep=True)
        # An explicit tag on a text that it does not fit, such as `!!bool maybe`, is a KeyError, and so on.
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError):
            text = f"the YAML tag {node.tag} is not supported; remove it"
            shown = shortened(str(node.value)) or "an empty text"
            if node.tag == "tag:yaml.org,2002:timestamp":
                text = f"{shown} is no date; allowed are days there are, as YYYY-MM-DD"
            elif node.tag.removeprefix("tag:yaml.org,2002:") in ("bool", "int", "float", "binary"):
                text = f"{shown} is not a value that YAML knows; for a text write it in quotes"
            self.source.problems.append((node.start_mark.line + 1, text))
            return None


def as_read(text: str, value: object) -> str:
    """Return how YAML reads `text`, which is not as text, and what to write instead."""
    kinds = {bool: "true or false", int: "a number", float: "a number", type(None): "nothing"}
    kind = kinds.get(type(value), f"a {type(value).__name__}")
    became = f" ({value})" if isinstance(value, float) and str(value) != text else ""
    text = shortened(text)
    return f'{text} is read as {kind}{became}; write it in quotes: "{text}"'


def shortened(text: str) -> str:
    """Return a text short enough for one line of a message."""
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}..."
