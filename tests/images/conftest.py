"""Fixtures for the tests that run images.

A test says in its marker `images` which images it runs on (tests/images/choice.py), and runs on those of them that the
engine has. test_built.py names those that it has not, and why.
"""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Iterator
from functools import cache, partial

import pytest
from docker.client import DockerClient
from docker.errors import ImageNotFound

from imagematrix import cli
from imagematrix.machine import engine
from imagematrix.matrix.loading import load
from imagematrix.matrix.model import Variant
from tests.images import choice
from tests.images.container import Container, Runner
from tests.images.online import Online, online_images

FILTERS = ("tag", "image", "python", "os")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "every_class: run with every worker class of the variant, not one in turn")
    config.addinivalue_line("markers", "images(image, os, extras, one_per, at_most): which images a test runs on")


def pytest_report_header() -> str | None:
    return None if choice.FULL else "tests under load: on three of the Pythons; FULL=1 takes all"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("variants", "which variants, as in every command of the Makefile")
    for name in FILTERS:
        group.addoption(f"--{name}", action="append", default=[])


@cache
def host() -> engine.Engine:
    return engine.ensure()


@cache
def has(reference: str) -> bool:
    try:
        host().client().images.get(reference)
    except ImageNotFound:
        return False
    return True


matrix = cache(partial(load, cli.ROOT))


@cache  # so that all tests have the same objects, and pytest sees that they share fixtures
def selected(filters: tuple[tuple[str, ...], ...]) -> tuple[Variant, ...]:
    return cli.select(matrix(), argparse.Namespace(**dict(zip(FILTERS, map(list, filters), strict=True))))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    images = choice.marked(metafunc, matrix())
    if images is not None:
        variants = selected(tuple(tuple(metafunc.config.getoption(f"--{name}", default=[])) for name in FILTERS))
        there = [one for one in variants if not images.built or has(one.references[0])]
        choice.parametrize(metafunc, images.of(there))


@pytest.fixture(scope="session")
def client() -> DockerClient:
    return host().client()


@pytest.fixture(scope="session")
def run(client: DockerClient) -> Iterator[Runner]:
    """Start containers; whatever was started is gone when the tests end, however they end."""
    runner = Runner(client, uuid.uuid4().hex)
    yield runner
    runner.sweep()


@pytest.fixture(scope="session")
def online(run: Runner) -> Iterator[Online]:
    with online_images(run) as made:
        yield made


@pytest.fixture(scope="session")
def image(variant: Variant) -> str:
    return variant.references[0]


@pytest.fixture(scope="session")
def unmodified(run: Runner, image: str) -> Iterator[Container]:
    """The image as it is, started without a word of configuration."""
    with run(image) as container:
        yield container
