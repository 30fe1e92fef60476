"""Reading what installers leave in an image, and the bill of materials made from it."""

from __future__ import annotations

import datetime
import json

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from imagematrix.prove.sbom import alpines, debians, document, pythons

METADATA = """\
Metadata-Version: 2.4
Name: Typing_Extensions
Version: 4.16.0
License-Expression: PSF-2.0

Name: not this
"""
STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.41-12+deb13u1
Description: a library
 of several lines: with a colon

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""
INSTALLED = """\
C:Q1abc=
P:musl
V:1.2.5-r10
A:x86_64
L:MIT

P:busybox
V:1.37.0-r19
A:x86_64
L:GPL-2.0-only
"""


def test_python_distributions() -> None:
    (found,) = pythons({"a.dist-info/METADATA": METADATA})
    assert (found.name, found.version) == ("typing-extensions", "4.16.0")
    assert str(found.purl) == "pkg:pypi/typing-extensions@4.16.0"
    assert [one.value for one in found.licenses] == ["PSF-2.0"]


def test_debian_packages_that_are_installed() -> None:
    (found,) = debians({"status": STATUS}, {"os-release": 'ID=debian\nVERSION_ID="13"\n'})
    assert (found.name, found.version) == ("libc6", "2.41-12+deb13u1")
    assert str(found.purl) == "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64&distro=debian-13"


def test_alpine_packages() -> None:
    found = list(alpines({"installed": INSTALLED}, {"os-release": "ID=alpine\nVERSION_ID=3.24.0\n"}))
    assert [(one.name, one.version, [each.value for each in one.licenses]) for one in found] == [
        ("musl", "1.2.5-r10", ["MIT"]),
        ("busybox", "1.37.0-r19", ["GPL-2.0-only"]),
    ]
    assert str(found[0].purl) == "pkg:apk/alpine/musl@1.2.5-r10?arch=x86_64&distro=alpine-3.24.0"


def test_an_image_without_such_a_database() -> None:
    assert [*debians({}, {}), *alpines({}, {}), *pythons({})] == []


def test_the_bill_of_materials_is_valid_and_the_same_every_time() -> None:
    def made() -> str:
        components = [*pythons({"a": METADATA}), *debians({"s": STATUS}, {}), *alpines({"i": INSTALLED}, {})]
        moment = datetime.datetime(2026, 11, 22, tzinfo=datetime.timezone.utc)
        return json.dumps(document("example.org/a/b", "sha256:" + "0" * 64, moment, components))

    first = made()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(first) is None
    assert first == made()
    assert json.loads(first)["metadata"]["timestamp"] == "2026-11-22T00:00:00+00:00"
