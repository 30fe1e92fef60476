"""A base image that the engine has, or the reason why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass

from docker.client import DockerClient
from docker.errors import DockerException, ImageNotFound
from docker.models.images import Image
from requests.exceptions import RequestException

from imagematrix import project
from imagematrix.errors import UserError
from imagematrix.labels import Labels


@dataclass(frozen=True)
class Base:
    """A base image that is in the engine."""

    reference: str  # for FROM: the official name, or the stand-in's
    image_id: str
    digest: str | None  # sha256:… as the registry has it; None for a stand-in
    standin: bool


@dataclass(frozen=True)
class Unavailable:
    """A base image that is not available, and why."""

    reason: str
    refused: bool = False  # there is one, but not the one that locks/bases.json pins


Pins = Mapping[str, "str | None"]
"""Official name -> the digest that it must have, None for any."""


def in_engine(client: DockerClient, reference: str, pin: str | None = None) -> Base | None:
    """Return a base image that the engine has, None if it does not have it. Raises UserError if the engine fails."""
    try:
        image = client.images.get(reference)
    except ImageNotFound:
        return None
    except (DockerException, RequestException) as error:
        raise UserError(f"the engine failed when asked for the image {reference}: {error}") from error
    return described(reference, image, pin)


def described(reference: str, image: Image, pin: str | None = None) -> Base:
    """Describe an image. If it has digests in several registries, the pinned one is preferred."""
    digests = [digest.rpartition("@")[2] for digest in image.attrs.get("RepoDigests") or []]
    standin = is_standin(image.labels)
    digest = pin if pin in digests else next(iter(digests), None)
    return Base(reference, str(image.id), None if standin else digest, standin)


def own_labels() -> Labels:
    """Return the labels of this project."""
    return Labels(project.name())


def is_standin(labels: Mapping[str, str]) -> bool:
    """Say whether an image with these labels is a stand-in of this project."""
    return labels.get(own_labels().standin) == "true"
