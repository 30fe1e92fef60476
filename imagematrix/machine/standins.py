"""Makes stand-ins for base images and imports them into the engine.

A stand-in is for tests where no registry can be reached. It has a label, and never the official name."""

import os
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from docker.client import DockerClient
from docker.errors import DockerException
from requests.exceptions import RequestException

from imagematrix.console import say
from imagematrix.errors import UserError
from imagematrix.machine import apt, artefacts, base_image, cache, catalogue
from imagematrix.machine.base_image import Base, Unavailable
from imagematrix.machine.catalogue import Artefact

PATH = "/usr/local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def stand_ins(client: DockerClient, names: list[str], *, dry_run: bool = False) -> dict[str, Base | Unavailable]:
    """Return the stand-in for each image, or why there is none.

    It is made if the engine does not have it. A dry run makes none, and leaves them out.
    """
    found: dict[str, Base | Unavailable] = {}
    to_make: dict[str, Artefact] = {}
    for name in names:
        plan = catalogue.standin_for(name)
        if base := current_stand_in(client, name, plan):
            found[name] = base
        elif isinstance(plan, Unavailable):
            found[name] = plan
        else:
            to_make[name] = plan
    if dry_run:
        return found
    failures = make_all(to_make.values())
    for name, artefact in to_make.items():
        if artefact in failures:
            reason = str(failures[artefact]).partition("\n")[0]
            found[name] = Unavailable(f"its stand-in could not be built: {reason}")
        else:
            found[name] = _import(client, name, artefact)
    return found


def current_stand_in(client: DockerClient, name: str, plan: Artefact | Unavailable) -> Base | None:
    """Return the stand-in that the engine has, unless its script has changed since."""
    base = base_image.in_engine(client, f"standin/{name}")
    if base and isinstance(plan, Artefact):
        digest = client.images.get(base.reference).labels.get(base_image.own_labels().standin_script)
        return base if digest in (None, artefacts.script_digest(plan.script)) else None
    return base


def make_all(wanted: Iterable[Artefact]) -> dict[Artefact, UserError]:
    """Make artefacts and what they need, as many at once as there are cores; return the failures."""
    made: dict[Artefact, Future[None]] = {}

    def make(artefact: Artefact) -> None:
        if artefacts.is_made(artefact.name, artefact.script):
            return
        for needed in artefact.needs:
            made[needed].result()
        apt.install_packages(artefact.packages, "building stand-ins for base images")
        if os.geteuid() != 0:
            raise UserError("building stand-ins for base images needs root, for chroot")
        artefacts.make_artefact(artefact.name, artefact.script, artefact.arguments)

    def submit(pool: ThreadPoolExecutor, some: list[Artefact]) -> None:
        if needed := [need for artefact in some for need in artefact.needs]:
            submit(pool, needed)  # first, so that no task waits for one that has not been submitted
        for artefact in some:
            if artefact not in made:
                made[artefact] = pool.submit(make, artefact)

    failures: dict[Artefact, UserError] = {}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            submit(pool, list(wanted))
            for artefact, future in made.items():
                error = future.exception()
                if isinstance(error, UserError):
                    say(str(error))  # with the end of the log
                    failures[artefact] = error
                elif error is not None:
                    raise error
        except BaseException:  # Ctrl-C or SIGTERM
            pool.shutdown(wait=False, cancel_futures=True)
            artefacts.end_scripts()
            raise
    return failures


def _import(client: DockerClient, name: str, artefact: Artefact) -> Base | Unavailable:
    repository, _, tag = f"standin/{name}".rpartition(":")
    with cache.locked(f"import-{artefact.name}"):
        if base := current_stand_in(client, name, artefact):
            return base  # another process imported it
        started = time.monotonic()
        folder = artefacts.artefact_path(artefact.name)
        version = (folder / "python-version").read_text(encoding="utf-8").strip()
        digest = artefacts.made_by(artefact.name)
        made_by = [f"LABEL {base_image.own_labels().standin_script}={digest}"] if digest else []
        try:
            client.api.import_image_from_file(
                str(folder / "root.tar"),
                repository=repository,
                tag=tag,
                changes=[*image_settings(name, version), *made_by],
            )
            image = client.images.get(f"{repository}:{tag}")
        except (DockerException, RequestException) as error:
            return Unavailable(f"the engine could not import its stand-in: {error}")
    say(f"imported {repository}:{tag} in {time.monotonic() - started:.0f} s")
    return base_image.described(f"{repository}:{tag}", image)


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
        f"LABEL {base_image.own_labels().standin}=true",
        f'LABEL org.opencontainers.image.description="{description}"',
    ]
