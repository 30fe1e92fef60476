"""A run with a filter: the files of the chosen variants are made again, and all others stay as they are."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from imagematrix.matrix.model import Variant
from imagematrix.render.render import BAKE, MANIFEST, TAGS, VARIANT_FILES, Files, Rendered, as_json, manifest, sources
from imagematrix.render.tree import compare, on_disk


def for_some(rendered: Rendered, variants: Iterable[Variant], folder: Path) -> Files:
    """Return what `folder` should hold after a run for these variants: their files, and what all share."""
    chosen, matrix = set(variants), rendered.matrix
    files = {path: file for path, file in rendered.files.items() if "/" not in path} | _entries(
        rendered, chosen, folder
    )
    for variant in matrix.variants:
        for path in (f"{variant.directory}/{name}" for name in VARIANT_FILES):
            if variant in chosen:
                files[path] = rendered.files[path]
            elif (folder / path).is_file():
                files[path] = on_disk(folder / path)
    files[MANIFEST] = manifest(matrix, {*files, *rendered.files})
    return dict(sorted(files.items()))


def stale(folder: Path, rendered: Rendered, variants: Iterable[Variant], also: Iterable[str] = ()) -> list[str]:
    """Return what is not as it should be, sorted: of the files that building these variants reads, and of `also`."""
    chosen = set(variants)
    wanted = {**rendered.files, **_entries(rendered, chosen, folder)}
    read = {BAKE, *(path for variant in chosen for path in sources(variant)), *also}
    changes = compare(folder, {path: wanted[path] for path in read})
    return sorted((*changes.missing, *changes.stale))


def left_stale(folder: Path, rendered: Rendered) -> list[str]:
    """Return the names of the variants whose files, or entries in the bake file, are not as they should be."""
    changes = compare(folder, rendered.files)
    folders = {path.rpartition("/")[0] for path in (*changes.missing, *changes.stale)}
    there, wanted = _on_disk(folder / BAKE, "target"), json.loads(rendered.files[BAKE].data)["target"]
    return [
        variant.name
        for variant in rendered.inputs
        if variant.directory in folders or there.get(variant.target) != wanted[variant.target]
    ]


def _entries(rendered: Rendered, chosen: set[Variant], folder: Path) -> Files:
    """Return the files with an entry for each variant: those of the chosen are new, the others as in `folder`."""
    bake, tags = (json.loads(rendered.files[name].data) for name in (BAKE, TAGS))
    old_targets, old_tags = _on_disk(folder / BAKE, "target"), _on_disk(folder / TAGS)
    targets: dict[str, Any] = {}
    named: dict[str, Any] = {}
    for variant in rendered.matrix.variants:
        from_targets, from_tags = (bake["target"], tags) if variant in chosen else (old_targets, old_tags)
        targets |= {variant.target: from_targets[variant.target]} if variant.target in from_targets else {}
        named |= {variant.name: from_tags[variant.name]} if variant.name in from_tags else {}
    bake = {**bake, "group": {"default": {"targets": list(targets)}}, "target": targets}
    return {BAKE: as_json(bake), TAGS: as_json(named)}


def _on_disk(path: Path, *keys: str) -> dict[str, Any]:
    """Return an object of a JSON file, {} if there is none that could be kept."""
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
        for key in keys:
            found = found[key]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
