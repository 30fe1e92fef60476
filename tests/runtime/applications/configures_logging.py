"""`main`, with logging configured at its import in the way that silences every logger that exists."""

import logging.config

from main import app  # noqa: F401

logging.config.dictConfig({"version": 1, "root": {"level": "WARNING"}})
