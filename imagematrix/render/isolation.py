"""What a run for some variants keeps of those that it cannot render, because their locks are missing or broken."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from imagematrix.matrix.model import Matrix, Variant
from imagematrix.render.render import BAKE, MANIFEST, TAGS, File, Files, Rendered, manifest
from imagematrix.render.tree import compare


def with_others(matrix: Matrix, wanted: Files, folder: Path) -> Files:
    """Return the files that tell of all variants; what `wanted` has no entry for is as it is in `folder`."""
    bake, tags = _object(wanted[BAKE].data), _object(wanted[TAGS].data)
    targets = {**_targets(_on_disk(folder / BAKE)), **bake["target"]}
    tags = {**_on_disk(folder / TAGS), **tags}
    targets = {one.target: targets[one.target] for one in matrix.variants if one.target in targets}
    bake = {**bake, "group": {"default": {"targets": list(targets)}}, "target": targets}
    return {BAKE: _file(bake), TAGS: _file({one.name: tags[one.name] for one in matrix.variants if one.name in tags})}


def complete(matrix: Matrix, kept: Files, wanted: Files) -> Files:
    """Return `kept` with a manifest that lists it and all that is wanted."""
    return dict(sorted({**kept, MANIFEST: manifest(matrix, {*kept, *wanted})}.items()))


def stale(folder: Path, rendered: Rendered, variants: Iterable[Variant], also: Iterable[str] = ()) -> list[str]:
    """Return what is not as it should be, sorted: of the files that building these variants reads, and of `also`."""
    wanted = {**rendered.files, **with_others(rendered.matrix, rendered.files, folder)}
    changes = compare(folder, {path: wanted[path] for path in (*rendered.needed(variants), *also)})
    return sorted((*changes.missing, *changes.stale))


def _targets(bake: dict[str, Any]) -> dict[str, Any]:
    found = bake.get("target")
    return found if isinstance(found, dict) else {}


def _on_disk(path: Path) -> dict[str, Any]:
    try:
        return _object(path.read_bytes())
    except (OSError, ValueError):
        return {}  # nothing there, or nothing that could be kept


def _object(data: bytes) -> dict[str, Any]:
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _file(value: dict[str, Any]) -> File:
    return File((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())
