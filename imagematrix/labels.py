"""The names of all labels on images and containers. Other modules set their values."""

# https://github.com/opencontainers/image-spec/blob/main/annotations.md
TITLE = "org.opencontainers.image.title"
DESCRIPTION = "org.opencontainers.image.description"
VERSION = "org.opencontainers.image.version"
REVISION = "org.opencontainers.image.revision"
CREATED = "org.opencontainers.image.created"
"""The time of the commit that last changed the image. Only `make push` sets it."""
SOURCE = "org.opencontainers.image.source"
URL = "org.opencontainers.image.url"
DOCUMENTATION = "org.opencontainers.image.documentation"
VENDOR = "org.opencontainers.image.vendor"
LICENSES = "org.opencontainers.image.licenses"
BASE_NAME = "org.opencontainers.image.base.name"
"""The base, with its digest if that is locked."""
BASE_DIGEST = "org.opencontainers.image.base.digest"
"""The digest of the base in locks/bases.json. Absent if the lock has none; empty on a stand-in."""


class Labels:
    """The labels that a project defines."""

    def __init__(self, project: str) -> None:
        prefix = f"io.{project}"

        self.python = f"{prefix}.python"
        self.end_of_life = f"{prefix}.end-of-life"
        """The day on which the support of its Python ends."""
        self.os = f"{prefix}.os"
        self.extras = f"{prefix}.extras"
        self.tags = f"{prefix}.tags"
        """The tags that always name this variant. Aliases and days are not among them."""
        self.dropped = f"{prefix}.dropped"
        """`.EXTRA` is appended. The value is the reason why the variant does not have that extra."""

        self.inputs = f"{prefix}.inputs"
        """The digest of an image's inputs. The base is one of them only if its digest is locked."""
        self.parent = f"{prefix}.parent"
        """The digest of the parent's inputs. It shows whether the parent changed."""
        self.base_id = f"{prefix}.base"
        """The engine's ID of the base image. Only `make build` sets it."""

        self.test = f"{prefix}.test"
        """On every container and image that a test makes."""
        self.smoke = f"{prefix}.smoke"
        """On every container that `make push` starts to check an image."""

        self.standin = f"{prefix}.standin"
        self.standin_script = f"{self.standin}.script"
        """The digest of the script that made a stand-in."""
