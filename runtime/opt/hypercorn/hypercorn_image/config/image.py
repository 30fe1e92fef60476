# SPDX-License-Identifier: MIT
"""What this image has: its `image.json`, written by the generator, its worker classes, and whether HTTP/3."""

import importlib.util
import json
import os
from typing import Any, Dict, List, Mapping, Optional

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # /opt/hypercorn/hypercorn_image
DESCRIPTION = os.path.join(os.path.dirname(PACKAGE), "image.json")
# The extra that a feature needs, and a module that this extra installs.
_NEEDS = {"uvloop": ("uvloop", "uvloop"), "trio": ("trio", "trio"), "HTTP/3": ("h3", "aioquic")}


def describe(path: Optional[str] = None) -> Dict[str, Any]:
    """Return the image's description; empty where there is none, as on a developer's machine."""
    try:
        with open(path or DESCRIPTION, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def missing(feature: str, image: Optional[Mapping[str, Any]] = None) -> Optional[str]:
    """Return why `feature` (uvloop, trio, HTTP/3) is not available here, or None when it is."""
    extra, module = _NEEDS.get(feature, (None, None))
    if extra is None or module is None or importlib.util.find_spec(module) is not None:
        return None
    described = describe() if image is None else image
    reason = described.get("dropped", {}).get(extra)
    name = f"{described['image']}:{described['tag']}" if {"image", "tag"} <= set(described) else "this installation"
    return f"{feature} is not in {name}: " + (reason or f"the package {module} is not installed")


def worker_classes() -> List[str]:
    """Return the worker classes that are available here."""
    return ["asyncio"] + [name for name in ("uvloop", "trio") if importlib.util.find_spec(name) is not None]
