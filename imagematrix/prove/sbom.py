"""The bill of materials of an image, CycloneDX 1.6: every Python and OS distribution that is installed in it.

It is read from the files of the installers. The image is not run, so another platform needs no emulation.
https://cyclonedx.org/docs/1.6/json/
"""

import datetime
import email.parser
import io
import json
import re
import tarfile
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from docker.client import DockerClient
from docker.errors import NotFound
from packageurl import PackageURL
from packaging.utils import canonicalize_name

PREDICATE = "cyclonedx"
"""The name of this kind of attestation in cosign."""
_METADATA = re.compile(r"(?:^|/)[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO)$")


def read(client: DockerClient, reference: str, python: str) -> list[Component]:
    """Return what is installed in an image that the engine has. The image is not run."""
    container = client.containers.create(reference, ["true"])
    try:
        found = [
            *pythons(_files(container, f"/usr/local/lib/python{python}/site-packages")),
            *debians(_files(container, "/var/lib/dpkg/status"), _files(container, "/etc/os-release")),
            *alpines(_files(container, "/lib/apk/db/installed"), _files(container, "/etc/os-release")),
        ]
    finally:
        container.remove(force=True)
    return found


def _files(container: Any, path: str) -> dict[str, str]:
    """Return the text of the files at a path of a container. A link is followed. {} if there are none."""
    try:
        stream, _ = container.get_archive(path)
    except NotFound:
        return {}
    files = {}
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as tar:
        for member in tar:
            if member.issym() and member.name == path.rpartition("/")[2]:
                return _files(container, _target(path, member.linkname))
            wanted = "/" not in member.name or _METADATA.search(member.name)
            file = tar.extractfile(member) if member.isfile() and wanted else None
            if file:
                files[member.name] = file.read().decode(errors="replace")
    return files


def _target(path: str, link: str) -> str:
    return link if link.startswith("/") else f"{path.rpartition('/')[0]}/{link}"


def pythons(files: dict[str, str]) -> Iterator[Component]:
    """Read the metadata of installed Python distributions, https://packaging.python.org/specifications/core-metadata/."""
    for text in files.values():
        head = email.parser.HeaderParser().parsestr(text)
        purl = PackageURL("pypi", None, canonicalize_name(str(head["Name"])), str(head["Version"]))
        yield _library(purl, str(head["License-Expression"] or ""))


def debians(status: dict[str, str], release: dict[str, str]) -> Iterator[Component]:
    """Read dpkg's database, man deb-control(5)."""
    for stanza in _stanzas(status, ": "):
        if stanza.get("Status", "").endswith(" installed"):
            qualifiers = {"arch": stanza["Architecture"], **_distro(release)}
            yield _library(PackageURL("deb", "debian", stanza["Package"], stanza["Version"], qualifiers))


def alpines(installed: dict[str, str], release: dict[str, str]) -> Iterator[Component]:
    """Read apk's database, https://wiki.alpinelinux.org/wiki/Apk_spec."""
    for stanza in _stanzas(installed, ":"):
        purl = PackageURL("apk", "alpine", stanza["P"], stanza["V"], {"arch": stanza["A"], **_distro(release)})
        yield _library(purl, stanza.get("L", ""))


def _library(purl: PackageURL, licence: str = "") -> Component:
    licenses = [LicenseExpression(licence)] if licence else None
    return Component(name=purl.name, version=purl.version, purl=purl, bom_ref=str(purl), licenses=licenses)


def _stanzas(files: dict[str, str], separator: str) -> Iterator[dict[str, str]]:
    for text in files.values():
        for stanza in re.split(r"\n\n+", text.strip()):
            pairs = (line.partition(separator) for line in stanza.splitlines() if not line.startswith(" "))
            yield {key: value for key, _, value in pairs}


def _distro(release: dict[str, str]) -> dict[str, str]:
    pairs = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)', "\n".join(release.values()), re.MULTILINE))
    return {"distro": f"{pairs.get('ID', 'unknown')}-{pairs['VERSION_ID']}"} if "VERSION_ID" in pairs else {}


def document(name: str, digest: str, moment: datetime.datetime, components: Iterable[Component]) -> dict[str, object]:
    """Return the bill of materials of the image with this digest and time. It is the same for the same image."""
    purl = PackageURL("oci", None, name.rpartition("/")[2], digest)
    image = Component(type=ComponentType.CONTAINER, name=name, version=digest, purl=purl, bom_ref=str(purl))
    bom = Bom(components=components, serial_number=uuid.uuid5(uuid.NAMESPACE_URL, str(purl)))
    bom.metadata.timestamp, bom.metadata.component = moment, image
    bom.register_dependency(image, bom.components)
    found: dict[str, object] = json.loads(JsonV1Dot6(bom).output_as_string())
    return found
