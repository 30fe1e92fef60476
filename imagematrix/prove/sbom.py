"""The bill of materials of an image, CycloneDX 1.6: every distribution that is installed in it, Python's and the OS's.

Read from the files that the installers leave, so it needs no program in the image, and no emulation for an image of
another platform. https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import email.parser
import io
import re
import tarfile
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from docker.client import DockerClient
from docker.errors import NotFound
from packaging.utils import canonicalize_name

PREDICATE = "cyclonedx"
"""What cosign calls this kind of attestation."""
_METADATA = re.compile(r"(?:^|/)[^/]+\.(?:dist-info/METADATA|egg-info/PKG-INFO)$")


@dataclass(frozen=True, order=True)
class Component:
    """A distribution: its package URL says which kind, https://github.com/package-url/purl-spec."""

    name: str
    version: str
    purl: str
    license: str = ""


def read(client: DockerClient, reference: str, python: str) -> list[Component]:
    """Return what is installed in an image that the engine has; it is not run."""
    container = client.containers.create(reference, ["true"])
    try:
        found = [
            *pythons(_files(container, f"/usr/local/lib/python{python}/site-packages")),
            *debians(_files(container, "/var/lib/dpkg/status"), _files(container, "/etc/os-release")),
            *alpines(_files(container, "/lib/apk/db/installed"), _files(container, "/etc/os-release")),
        ]
    finally:
        container.remove(force=True)
    return sorted(set(found))


def _files(container: Any, path: str) -> dict[str, str]:
    """Return the text of what is at a path of a container, following a link; {} if it has none."""
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
        name, version = canonicalize_name(str(head["Name"])), str(head["Version"])
        licence = str(head["License-Expression"] or "")
        yield Component(name, version, f"pkg:pypi/{name}@{quote(version)}", licence)


def debians(status: dict[str, str], release: dict[str, str]) -> Iterator[Component]:
    """Read dpkg's database, man deb-control(5)."""
    for one in _stanzas(status, ": "):
        if one.get("Status", "").endswith(" installed"):
            name, version, machine = one["Package"], one["Version"], one["Architecture"]
            purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={machine}{_distro(release)}"
            yield Component(name, version, purl)


def alpines(installed: dict[str, str], release: dict[str, str]) -> Iterator[Component]:
    """Read apk's database, https://wiki.alpinelinux.org/wiki/Apk_spec."""
    for one in _stanzas(installed, ":"):
        purl = f"pkg:apk/alpine/{quote(one['P'])}@{quote(one['V'])}?arch={one['A']}{_distro(release)}"
        yield Component(one["P"], one["V"], purl, one.get("L", ""))


def _stanzas(files: dict[str, str], separator: str) -> Iterator[dict[str, str]]:
    for text in files.values():
        for stanza in re.split(r"\n\n+", text.strip()):
            pairs = (line.partition(separator) for line in stanza.splitlines() if not line.startswith(" "))
            yield {key: value for key, _, value in pairs}


def _distro(release: dict[str, str]) -> str:
    pairs = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)', "\n".join(release.values()), re.MULTILINE))
    return f"&distro={pairs.get('ID', 'unknown')}-{pairs['VERSION_ID']}" if "VERSION_ID" in pairs else ""


def document(name: str, digest: str, components: Iterable[Component]) -> dict[str, object]:
    """Return the bill of materials of the image with that digest; the same image, the same bytes."""
    image = f"pkg:oci/{name.rpartition('/')[2]}@{quote(digest)}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, image)}",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": digest, "purl": image}},
        "components": [_entry(component) for component in components],
    }


def _entry(component: Component) -> dict[str, object]:
    entry: dict[str, object] = {
        "type": "library",
        "bom-ref": component.purl,
        "name": component.name,
        "version": component.version,
        "purl": component.purl,
    }
    return entry | ({"licenses": [{"expression": component.license}]} if component.license else {})
