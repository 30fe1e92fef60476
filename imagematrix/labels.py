"""The names of all labels on images and containers. Other modules say what stands in them."""

PREFIX = "io.hypercorn-images"
"""What our own labels begin with."""

# https://github.com/opencontainers/image-spec/blob/main/annotations.md
TITLE = "org.opencontainers.image.title"
DESCRIPTION = "org.opencontainers.image.description"
VERSION = "org.opencontainers.image.version"
REVISION = "org.opencontainers.image.revision"
BASE_NAME = "org.opencontainers.image.base.name"
"""The base with its digest, if that is locked."""
BASE_DIGEST = "org.opencontainers.image.base.digest"

PYTHON = f"{PREFIX}.python"
OS = f"{PREFIX}.os"
EXTRAS = f"{PREFIX}.extras"
DROPPED = f"{PREFIX}.dropped"
"""With `.EXTRA` behind it: why this variant does not have that extra."""
INPUTS = f"{PREFIX}.inputs"
"""The digest of what an image is made from. The base counts only if its digest is locked."""
PARENT = f"{PREFIX}.parent"
"""The digest of what the parent is made from: it tells whether the parent changed."""
BASE_ID = f"{PREFIX}.base"
"""The engine's ID of the base image. Only `make build` sets it."""

TEST = f"{PREFIX}.test"
"""On every container and image that a test makes."""
SMOKE = f"{PREFIX}.smoke"
"""On every container that `make push` starts to check an image."""

STANDIN = f"{PREFIX}.standin"
STANDIN_SCRIPT = f"{STANDIN}.script"
"""The digest of the script that made a stand-in."""
