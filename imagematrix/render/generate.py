"""`generate.py`: renders build/ from matrix.yaml, templates/, runtime/ and locks/. Offline and deterministic."""

import argparse
import json
import sys
from pathlib import Path

from imagematrix import cli
from imagematrix.console import say, table
from imagematrix.errors import InputError
from imagematrix.matrix.loading import load
from imagematrix.matrix.model import Matrix, Variant
from imagematrix.render.isolation import for_some, left_stale
from imagematrix.render.render import Files, describe, offers, render
from imagematrix.render.tree import apply, compare, differences, last_run


def main(argv: list[str] | None = None) -> int:
    """Run the verb; return the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.json and not arguments.list:
        parser.error("--json goes with --list")
    matrix = load(arguments.root)
    variants = cli.select(matrix, arguments)
    if arguments.list:
        return _list(variants, arguments.json)
    folder = arguments.root / "build"
    some = cli.with_parents(variants) if cli.filtered(arguments) else None
    rendered = render(matrix, arguments.root, some)
    if arguments.validate:
        print(f"{matrix.file}: fine, {len(matrix.variants)} variants")
        return 0
    wanted = rendered.files if some is None else for_some(rendered, some, folder)
    if arguments.check:
        return _check(folder, wanted)
    status = _generate(folder, wanted, matrix, arguments)
    if left := left_stale(folder, rendered) if some and not arguments.dry_run else []:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        say(f"{folder.name}/: left stale by the filter: {', '.join(left[:3])}{more}; run: make generate")
    return status


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser("Render build/ from matrix.yaml, templates/, runtime/ and locks/. Needs no network.")
    verbs = parser.add_mutually_exclusive_group()
    verbs.add_argument("--check", action="store_true", help="write nothing; list what differs, exit 1 if anything does")
    verbs.add_argument("--list", action="store_true", help="list the variants")
    verbs.add_argument("--validate", action="store_true", help="only say whether matrix.yaml and the locks are fine")
    verbs.add_argument("--dry-run", action="store_true", help="say what would be written and removed")
    parser.add_argument("--json", action="store_true", help="with --list: one object for each variant")
    parser.add_argument("--allow-removal", action="store_true", help="let variants, extras and tags go")
    return parser


def _list(variants: tuple[Variant, ...], as_json: bool) -> int:
    if as_json:
        print(json.dumps([describe(variant) for variant in variants], indent=2))
        return 0
    table(
        ("image", "tag", "support", "without", "aliases"),
        (
            (
                variant.image.name,
                variant.tag,
                variant.python.support,
                " ".join(dropped.extra.name for dropped in variant.dropped),
                " ".join(variant.aliases),
            )
            for variant in variants
        ),
    )
    return 0


def _check(folder: Path, wanted: Files) -> int:
    changes = compare(folder, wanted)
    for line in differences(folder, changes, wanted):
        print(line)
    found = len(changes.missing) + len(changes.stale) + len(changes.obsolete)
    if found:
        say(f"{found} files of {folder.name}/ are not as they should be; run: make generate")
    if changes.foreign:
        say(f"{len(changes.foreign)} files of {folder.name}/ are not generated; move or remove them")
    if not found and not changes.foreign:
        print(f"{folder.name}/: fresh, {len(wanted)} files")
    return 1 if found or changes.foreign else 0


def _generate(folder: Path, wanted: Files, matrix: Matrix, arguments: argparse.Namespace) -> int:
    lost = sorted(last_run(folder)[1] - offers(matrix))
    if lost and not arguments.allow_removal:
        raise InputError(
            "\n".join(f"{matrix.file}: {offer} would go" for offer in lost)
            + "\nsomebody may use these; to let them go, run again with --allow-removal "
            "(make generate ALLOW_REMOVAL=1); nothing was written"
        )
    changes = compare(folder, wanted)
    if arguments.dry_run:
        for line in differences(folder, changes, wanted):
            print(line)
    elif changes.any:
        apply(folder, changes, wanted)
    for path in changes.foreign:
        print(f"{folder.name}/{path}: is not generated; left as it is", file=sys.stderr)
    written, removed = len(changes.missing) + len(changes.stale), len(changes.obsolete)
    verb = "would be " * arguments.dry_run
    print(f"{folder.name}/: {len(wanted)} files, {written} {verb}written, {removed} {verb}removed")
    return 0


if __name__ == "__main__":
    cli.run(main)
