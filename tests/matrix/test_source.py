"""Reading YAML: lines, repeated keys, and what YAML would make of things."""

from __future__ import annotations

import datetime
import random
from pathlib import Path

import pytest

from imagematrix.errors import InputError
from imagematrix.matrix.source import Source, as_read, read, shortened


def parse(tmp_path: Path, text: str | bytes) -> Source:
    path = tmp_path / "some.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path)


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    with pytest.raises(InputError) as error:
        parse(tmp_path, text)
    return str(error.value).splitlines()


def test_data_lines_and_texts(tmp_path: Path) -> None:
    source = parse(tmp_path, "a: 3.10\nb:\n  - x\n  - {c: 2024-10-07}\n")
    assert source.data == {"a": 3.1, "b": ["x", {"c": datetime.date(2024, 10, 7)}]}
    assert source.scalars[("a",)] == "3.10"
    assert [source.line(where) for where in (["a"], ["b"], ["b", 0], ["b", 1, "c"])] == [1, 2, 3, 4]


def test_the_line_of_something_missing_is_that_of_what_is_around_it(tmp_path: Path) -> None:
    source = parse(tmp_path, "a: 1\nb:\n  c: 2\n")
    assert source.line(["b", "missing", "deeper"]) == 2
    assert source.line(["missing"]) == 1


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    source = parse(tmp_path, b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert source.data == {"a": 1, "b": 2}
    assert source.line(["b"]) == 2


def test_aliases_are_taken_but_not_into_themselves(tmp_path: Path) -> None:
    assert parse(tmp_path, "a: &a [1]\nb: *a\nc: *a\n").data == {"a": [1], "b": [1], "c": [1]}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a is there twice; the first is on line 1"),
        ("a:\n  b: 1\n  b: 1\n", 3, "b is there twice; the first is on line 2"),
        ("x: 1\n3.10: a\n", 2, 'the key 3.10 is read as a number (3.1); write it in quotes: "3.10"'),
        ("3: a\n", 1, 'the key 3 is read as a number; write it in quotes: "3"'),
        ("no: a\n", 1, 'the key no is read as true or false; write it in quotes: "no"'),
        ("~: a\n", 1, "the key ~ is read as nothing"),
        ("2024-01-01: a\n", 1, "the key 2024-01-01 is read as a date"),
        ("[a]: b\n", 1, "a key must be text"),
        ("? {a: b}\n: c\n", 1, "a key must be text"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", 3, "merge keys (<<) are not supported; write the keys out"),
        ("a: &a\n  - *a\n", 1, "an alias (*) must not contain itself"),
        ("a: &a\n  b: *a\n", 1, "an alias (*) must not contain itself"),
        ("a: *b\n", 1, "undefined alias"),
        ("a:\n\tb: 1\n", 2, "is indented with a tab; YAML allows only spaces"),
        ("a:\n  \tb: 1\n", 2, "is indented with a tab"),
        ("a: b: c\n", 1, "a text with a colon and a space needs quotes"),
        ("a: 1\nb 2\nc: 3\n", 3, "is a colon, the space behind it or a closing quote missing?"),
        ("a: [b\nc: d\n", 2, "is the bracket closed?"),
        ("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n", 2, "has a merge conflict in it"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 2024-13-07\n", 1, "2024-13-07 is no date"),
        ("a: !foo b\n", 1, "the YAML tag !foo is not supported"),
        ("a: !!python/object:os.system b\n", 1, "is not supported"),
        ("a: !!int\n", 1, "an empty text is not a value that YAML knows"),
        ("a: !!timestamp\n", 1, "an empty text is no date"),
        ("a: !!int b\n", 1, "b is not a value that YAML knows"),
        ("a: " + "1" * 5000 + "\n", 1, "is not a value that YAML knows"),
        ("a: 1\nb: c\0d\n", 2, "has a control character (U+0000)"),
        (b"a: 1\nb: \xe9\n", 2, "is not UTF-8 text"),
        ("a: 1\n".encode("utf-16"), 1, "is not UTF-8 text"),
        ("", 1, "is empty"),
        ("# nothing\n", 1, "is empty"),
        ("a:\n  " + "[" * 100_000, 2, "is nested too deeply"),
        ("- &a0 [1]\n" + "".join(f"- &a{one + 1} [*a{one}]\n" for one in range(440)), None, "is nested too deeply"),
        ("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n"
         for a, b in zip("abcdef", "bcdefg", strict=True)), None, "has too many aliases"),
    ],
)  # fmt: skip
def test_each_mistake_is_one_line_that_says_where(
    tmp_path: Path, text: str | bytes, line: int | None, says: str
) -> None:
    (said,) = problems(tmp_path, text)
    assert says in said
    assert said.startswith(f"some.yaml:{line}: " if line else "some.yaml:")
    assert len(said) < 300


def test_all_mistakes_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    assert [one.split(":")[1] for one in problems(tmp_path, "a: 1\na: 1\n1: b\nc:\n  d: 1\n  d: 1\n")] == [
        "2",
        "3",
        "6",
    ]


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_file_that_cannot_be_read(tmp_path: Path, make: object) -> None:
    path = tmp_path / "some.yaml"
    make(path)  # type: ignore[operator]
    with pytest.raises(InputError, match=r"^some.yaml: cannot be read: (No such file|Is a directory)"):
        read(path)


def test_random_bytes_are_data_or_an_input_error(tmp_path: Path) -> None:
    chance = random.Random(2)
    for _ in range(300):
        text = "".join(chance.choices("ab:- \n\t[]{}&*!#|>'\"%@`,?0.~<=\r\0é\x85", k=chance.randrange(30)))
        try:
            parse(tmp_path, text)
        except InputError as error:
            assert str(error).startswith("some.yaml:")


def test_as_read_names_the_value_only_where_it_differs() -> None:
    assert as_read("3.10", 3.1) == '3.10 is read as a number (3.1); write it in quotes: "3.10"'
    assert as_read("3.8", 3.8) == '3.8 is read as a number; write it in quotes: "3.8"'
    assert as_read("yes", True) == 'yes is read as true or false; write it in quotes: "yes"'


def test_shortened() -> None:
    assert shortened("a" * 80) == "a" * 80
    assert len(shortened("a" * 81)) == 80
