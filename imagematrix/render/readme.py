"""Fills in the generated parts of README.md: the table of images, the reference of variables.

Each part is between `<!-- NAME: generated -->` and `<!-- end of NAME -->`. The rest is written by hand.
"""

import html
import re
import subprocess
import sys
from pathlib import Path

from imagematrix import cli
from imagematrix.errors import InputError, UserError
from imagematrix.matrix.loading import load
from imagematrix.matrix.model import OS, Matrix, Python
from imagematrix.writing import write_whole

FILE = "README.md"


def images(matrix: Matrix) -> str:
    """Return the table of tags: a row for each Python, the newest first, a column for each OS."""
    names = ", ".join(f"`{matrix.repository(image)}`" for image in matrix.images)
    rule = "Where no note says otherwise, every tag exists for" if any(matrix.excluded()) else "Every tag exists for"
    heads = ["Python", "support", *(os.name for os in matrix.oses)]
    lines = [f"{rule} {names}.{_more(matrix)}", "", _row(heads), _row(["---"] * len(heads))]
    notes: dict[str, None] = {}
    for python in reversed(matrix.pythons):
        lines.append(_row([python.version, python.support, *(_cell(matrix, python, os, notes) for os in matrix.oses)]))
    return "\n".join([*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1))])


def _cell(matrix: Matrix, python: Python, os: OS, notes: dict[str, None]) -> str:
    """Return the tags of a cell. What is left out becomes a numbered note."""
    variants = [variant for variant in matrix.variants if variant.python == python and variant.os == os]
    remarks = [
        f"Without `{dropped.extra.name}`: {_plain(dropped.exclusion.reason)}."
        for variant in variants
        for dropped in variant.dropped
    ]
    remarks += [
        f"No `{image.name}`: {_plain(exclusion.reason)}."
        for image, python_, os_, exclusion in matrix.excluded()
        if (python_, os_) == (python, os)
    ]
    for remark in remarks:
        notes.setdefault(remark)
    numbers = sorted({list(notes).index(remark) + 1 for remark in remarks})
    tags = dict.fromkeys(tag for variant in variants for tag in variant.named_tags)
    return " ".join([", ".join(f"`{tag}`" for tag in tags), *(f"[{number}]" for number in numbers)]).strip() or "–"


def _more(matrix: Matrix) -> str:
    """Return a sentence about tags with a version or a day, with those of the last variant as examples."""
    last = matrix.variants[-1]
    tags = [f"`{tag}`" for tag in (*last.version_tags, *last.dated_tags("YYYYMMDD"))]
    return f" Each variant also has tags such as {' and '.join(tags)}." if tags else ""


def _plain(text: str) -> str:
    """Escape a text for Markdown: it becomes no HTML, link, image or table cell."""
    return re.sub(r"([\\`*_\[\]|!~])", r"\\\1", html.escape(text, quote=False))


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def variables(matrix: Matrix, root: Path) -> str:
    """Return the reference of the variables of each server, the output of its program `variables`."""
    parts = []
    for server in dict.fromkeys(image.server for image in matrix.images if image.server.variables):
        command = [sys.executable, str(server.variables), server.runtime]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"{server.variables}: {done.stderr.strip()}")
        parts.append(done.stdout.strip())
    return "\n\n".join(parts)


def fill(text: str, matrix: Matrix, root: Path) -> str:
    """Return README.md's text with new generated parts. Raises InputError if a part has no place."""
    sections = {"images": images(matrix)}
    if text_of_variables := variables(matrix, root):
        sections["variables"] = text_of_variables
    for name, section in sections.items():
        place = re.compile(rf"(?<=<!-- {name}: generated -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
        if len(place.findall(text)) != 1:
            raise InputError(f"{FILE}: needs the lines `<!-- {name}: generated -->` and `<!-- end of {name} -->` once")
        before, after = place.split(text)
        text = f"{before}{section}\n{after}"
    return text


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return the exit status."""
    parser = cli.parser("Fill in the generated parts of README.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a part is not as it should be")
    arguments = parser.parse_args(argv)
    path: Path = arguments.root / FILE
    try:
        old = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{FILE}:{line}: is not UTF-8 text") from None
    new = fill(old, load(arguments.root), arguments.root)
    if old == new:
        return 0
    if arguments.check:
        print(f"stale: {FILE}; run: make generate")
        return 1
    try:
        write_whole(path, new.encode())
    except OSError as error:
        raise UserError(f"{FILE}: cannot be written, and stays as it was: {error.strerror}") from None
    print(f"{FILE}: written")
    return 0


if __name__ == "__main__":
    cli.run(main)
