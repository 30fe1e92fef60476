#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Renders build/ from matrix.yaml, templates/, runtime/ and locks/. See --help and imagematrix.render.generate."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - for those who have an older one
    sys.exit(f"error: Python 3.10 or newer is needed, this is {sys.version.split()[0]}")

try:
    from imagematrix import cli
    from imagematrix.render.generate import main
except ModuleNotFoundError as error:
    sys.exit(f"error: {error.name} is not installed here; run: make generate (it makes .venv)")

if __name__ == "__main__":
    cli.run(main)
