"""Base images: taken from the engine, else pulled, else a stand-in is made."""

import os
import time
from collections.abc import Iterable

from docker.client import DockerClient
from docker.errors import APIError, DockerException, NotFound
from requests.exceptions import RequestException

from imagematrix.console import say
from imagematrix.machine import base_image, standins
from imagematrix.machine.base_image import Base, Pins, Unavailable
from imagematrix.machine.engine import Engine
from imagematrix.reference import parse

PROBE_LIMIT = 10  # seconds to wait for the registry


def obtain(
    engine: Engine, names: Iterable[str], pins: Pins | None = None, *, dry_run: bool = False
) -> dict[str, Base | Unavailable]:
    """Return each named base image, or why it cannot be had here, in the order of `names`.

    Official images that the engine has are used if they are the pinned ones. Only the others need the network; a
    registry that cannot be reached is asked once. A failure with one image does not affect others. A dry run pulls and
    makes nothing; what it would pull or make is left out. Raises UserError only if the engine fails.
    """
    client, pins = engine.client(), pins or {}
    wanted = list(dict.fromkeys(names))
    found, missing, why = _known(engine, client, wanted, pins)
    if why is not None:
        say(f"no image registry can be reached ({why}): stand-ins are used for {len(missing)} base images")
        found |= standins.stand_ins(client, missing, dry_run=dry_run)
    elif not dry_run:
        found |= {name: _pull(client, name, pins.get(name)) for name in missing}
    return {name: found[name] for name in wanted if name in found}


def _known(
    engine: Engine, client: DockerClient, names: list[str], pins: Pins
) -> tuple[dict[str, Base | Unavailable], list[str], str | None]:
    """Return what is known without pulling or making anything, the names of the rest, and why no registry answers."""
    found: dict[str, Base | Unavailable] = {}
    others: dict[str, Base | None] = {}
    for name in names:
        base = base_image.in_engine(client, name, pins.get(name))
        if base and (base.standin or pins.get(name) in (None, base.digest)):
            found[name] = base
        else:
            others[name] = base
    why = why_no_registry(engine, pull_reference(next(iter(others)))) if others else None
    for name, base in others.items() if why is not None else ():
        if base:
            has = f"the engine has {name} as {base.digest or 'an image of no registry'}"
            reason = f"{has}, locks/bases.json pins {pins[name]}, and no registry can be reached ({why})"
            found[name] = Unavailable(reason, refused=True)
    return found, [name for name in names if name not in found], why


def pull_reference(name: str) -> str:
    """Return where an official image is pulled from: Docker Hub, or the mirror of it that BASE_MIRROR names."""
    mirror = os.environ.get("BASE_MIRROR", "").removeprefix("https://").strip("/")
    return parse(name).mirrored(mirror)


def why_no_registry(engine: Engine, reference: str) -> str | None:
    """Have the engine ask the registry about an image; return why it cannot, None if a registry answers.

    The engine asks because it may run elsewhere, with its own proxies and mirrors.
    """
    try:
        with_limit = engine.client()
        with_limit.api.timeout = PROBE_LIMIT
        with_limit.api.inspect_distribution(reference)  # type: ignore[no-untyped-call]
    except NotFound:
        return None
    except APIError as error:
        # A registry that refuses (401, 403, 429) has answered. The engine reports its own failure to reach one as 500,
        # and what a registry says of an unknown repository too, before 23.0.
        if error.status_code is not None and error.status_code < 500:
            return None
        text = str(error.explanation or error)
        answered = any(word in text for word in ("manifest unknown", "denied", "unauthorized", "toomanyrequests"))
        return None if answered else text.partition("dial tcp")[2].lstrip(": ") or text
    except RequestException:
        return f"no answer within {PROBE_LIMIT} s"
    return None


def _pull(client: DockerClient, name: str, pin: str | None) -> Base | Unavailable:
    """Pull an image, by its digest if that is pinned, and give it its official name."""
    official, source = parse(name), parse(pull_reference(name))
    reference = f"{source.name}@{pin}" if pin else f"{source.name}:{source.tag}"
    pinned = f", which locks/bases.json pins for {name}" if pin and not official.digest else ""
    started = time.monotonic()
    say(f"pulling {reference} …")
    try:
        image = client.images.pull(source.name, tag=pin or source.tag)
        if reference != name and official.tag:
            image.tag(official.name, official.tag)
    except NotFound:
        return Unavailable(f"the registry answers, but has no image {reference}{pinned}", refused=bool(pin))
    except (DockerException, RequestException) as error:
        return Unavailable(f"pulling {reference}{pinned} failed: {error}", refused=bool(pin))
    say(f"pulled {reference} in {time.monotonic() - started:.0f} s")
    return base_image.described(name if official.tag else reference, image, pin)
