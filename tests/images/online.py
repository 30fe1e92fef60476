"""Images whose pip, uv and Poetry reach the package index that this machine's pip reaches, for Dockerfiles of users."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from imagematrix.machine.build_secrets import CONTAINER_CA, build_secrets
from imagematrix.matrix.model import Variant
from tests.documents.blocks import on
from tests.images.container import Runner

_DOCKERFILE = f"""\
FROM {{image}}
COPY ca.pem {CONTAINER_CA}
COPY pip.conf /etc/pip.conf
ENV SSL_CERT_FILE={CONTAINER_CA} REQUESTS_CA_BUNDLE={CONTAINER_CA}
# pip comes without byte code: each run of it would take ten seconds.
RUN python -m compileall -q "$(python -c 'import os, pip; print(os.path.dirname(pip.__file__))')"
"""


class Online:
    """Makes such an image of a variant once."""

    def __init__(self, run: Runner, stack: ExitStack) -> None:
        self.run, self.stack = run, stack
        self.made: dict[str, str] = {}

    def image(self, variant: Variant) -> str:
        """Return the tag of the variant that is told of this machine's network."""
        if variant.name not in self.made:
            secrets = {name: path.read_text() for name, path in build_secrets().items()}
            files = {"ca.pem": secrets.get("ca", ""), "pip.conf": secrets["pipconf"]}
            built = self.run.built(_DOCKERFILE.format(image=variant.references[0]), files)
            self.made[variant.name] = self.stack.enter_context(built)
        return self.made[variant.name]

    def on(self, variant: Variant, text: str) -> str:
        """Return a Dockerfile with such images of one cell in the place of those that it names."""
        return on(variant, text, self.image)


@contextmanager
def online_images(run: Runner) -> Iterator[Online]:
    """Give it; its images are removed at the end."""
    with ExitStack() as stack:
        yield Online(run, stack)
