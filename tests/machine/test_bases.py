"""Where a base image comes from: the engine, a registry, a stand-in, or nowhere with a reason. No engine is needed."""

import pytest
from docker.errors import APIError, ImageNotFound, NotFound
from requests.exceptions import ReadTimeout

from imagematrix.errors import UserError
from imagematrix.machine import apt, artefacts, base_image, catalogue, images, standins
from imagematrix.machine.base_image import Base, Unavailable
from imagematrix.machine.catalogue import Artefact
from imagematrix.machine.engine import Engine

NO_REGISTRY = 'Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host'


class Response:
    def __init__(self, status_code):
        self.status_code = status_code


def api_error(status, explanation):
    return APIError("failed", response=Response(status), explanation=explanation)


class FakeImage:
    def __init__(self, engine, reference, standin=False):
        self.engine = engine
        self.id = f"sha256:{reference}"
        self.labels = {base_image.own_labels().standin: "true"} if standin else {}
        digest = reference if "@" in reference else f"{reference.rpartition(':')[0]}@sha256:abc"
        self.attrs = {"RepoDigests": [] if standin else [digest]}

    def tag(self, repository, tag):
        self.engine.has[f"{repository}:{tag}"] = self


class FakeEngine:
    """Stands for the engine, its client and the parts of that: there is no registry to pull from where tests run."""

    def __init__(self, has=(), registry=None):
        self.has = {name: FakeImage(self, name, name.startswith("standin/")) for name in has}
        self.registry = registry  # names it has, or the error that asking it gives
        self.asked, self.pulled, self.imported, self.timeout = [], [], {}, None
        self.images = self.api = self

    def client(self):
        return self

    def get(self, reference):
        if reference not in self.has:
            raise ImageNotFound(reference)
        return self.has[reference]

    def inspect_distribution(self, reference):
        self.asked.append(reference)
        if isinstance(self.registry, Exception):
            raise self.registry
        if reference not in self.registry:
            raise NotFound(reference)

    def pull(self, repository, tag):
        reference = f"{repository}{'@' if tag.startswith('sha256:') else ':'}{tag}"
        self.pulled.append(reference)
        if reference not in self.registry:
            raise NotFound(reference)
        self.has[reference] = FakeImage(self, reference)
        return self.has[reference]

    def import_image_from_file(self, path, repository, tag, changes):
        self.imported[f"{repository}:{tag}"] = changes
        self.has[f"{repository}:{tag}"] = FakeImage(self, f"{repository}:{tag}", standin=True)


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with two pyenv Pythons and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.delenv("BASE_MIRROR", raising=False)
    monkeypatch.setattr(catalogue.platform, "machine", lambda: "x86_64")
    for version in ("3.13.0", "3.13.10", "3.12.1", "3.13-dev"):
        program = tmp_path / "pyenv/versions" / version / "bin" / f"python{version[:4]}"
        program.parent.mkdir(parents=True)
        program.touch()


@pytest.fixture
def scripts(monkeypatch):
    """Scripts that always work, without running any."""
    made = []

    def make(name, script, arguments):
        made.append(name)
        folder = artefacts.artefact_path(name)
        folder.mkdir()
        (folder / "python-version").write_text("3.12.1\n")

    monkeypatch.setattr(artefacts, "make_artefact", make)
    monkeypatch.setattr(apt, "install_packages", lambda packages, purpose: None)
    monkeypatch.setattr(standins.os, "geteuid", lambda: 0)
    return made


@pytest.fixture
def said(capsys):
    """Return the lines that were said since the last call."""
    return lambda: capsys.readouterr().err.splitlines()


def obtain(engine, *names, pins=None):
    return images.obtain(engine, names, pins)


class TestObtain:
    def test_what_the_engine_has_touches_no_network(self, said):
        engine = FakeEngine(has=["python:3.13-slim-trixie"])
        found = obtain(engine, "python:3.13-slim-trixie")
        assert found == {
            "python:3.13-slim-trixie": Base(
                "python:3.13-slim-trixie",
                "sha256:python:3.13-slim-trixie",
                "sha256:abc",
                standin=False,
            )
        }
        assert (engine.asked, engine.pulled, said()) == ([], [], [])

    def test_pulls_what_is_missing(self):
        engine = FakeEngine(has=["python:3.13-slim-trixie"], registry=["python:3.12-slim-trixie"])
        found = obtain(engine, "python:3.13-slim-trixie", "python:3.12-slim-trixie")
        assert engine.pulled == ["python:3.12-slim-trixie"]
        assert [base.standin for base in found.values()] == [False, False]

    @pytest.mark.parametrize("mirror", ["mirror.example/docker-hub", "https://mirror.example/docker-hub/"])
    def test_pulls_from_a_mirror_and_gives_the_official_name(self, monkeypatch, mirror):
        monkeypatch.setenv("BASE_MIRROR", mirror)
        engine = FakeEngine(registry=["mirror.example/docker-hub/library/python:3.12-alpine3.24"])
        found = obtain(engine, "python:3.12-alpine3.24")
        assert found["python:3.12-alpine3.24"].reference == "python:3.12-alpine3.24"
        assert found["python:3.12-alpine3.24"].digest == "sha256:abc"
        assert "python:3.12-alpine3.24" in engine.has

    def test_a_registry_without_the_tag_gets_no_stand_in(self, scripts):
        engine = FakeEngine(registry=["python:3.12-slim-trixie"])
        found = obtain(engine, "python:3.13-slim-trixie", "python:3.12-slim-trixie")
        assert isinstance(found["python:3.13-slim-trixie"], Unavailable)
        assert "the registry answers, but has no image" in found["python:3.13-slim-trixie"].reason
        assert isinstance(found["python:3.12-slim-trixie"], Base)
        assert scripts == []

    @pytest.mark.parametrize("error", [api_error(500, NO_REGISTRY), ReadTimeout("read timed out")])
    def test_no_registry_is_found_out_once(self, scripts, error, said):
        engine = FakeEngine(registry=error)
        names = ["python:3.13-slim-trixie", "python:3.12-slim-trixie", "python:3.13-slim-bookworm"]
        found = obtain(engine, *names)
        assert len(engine.asked) == 1
        assert engine.pulled == []
        assert list(found) == names
        assert [base.reference for base in found.values()] == [f"standin/{name}" for name in names]
        assert all(base.standin and base.digest is None for base in found.values())
        assert "no image registry can be reached" in said()[0]
        assert not any(name in engine.has for name in names), "never under the official name"

    def test_a_stand_in_in_the_engine_is_used_as_it_is(self, scripts):
        engine = FakeEngine(has=["standin/python:3.13-slim-trixie"], registry=api_error(500, NO_REGISTRY))
        found = obtain(engine, "python:3.13-slim-trixie")
        assert found["python:3.13-slim-trixie"].standin
        assert (scripts, engine.imported) == ([], {})

    def test_a_stand_in_whose_script_has_changed_is_made_again(self, scripts):
        engine = FakeEngine(has=["standin/python:3.13-slim-trixie"], registry=api_error(500, NO_REGISTRY))
        image = engine.has["standin/python:3.13-slim-trixie"]
        image.labels[base_image.own_labels().standin_script] = artefacts.script_digest("slim-pyenv.sh")
        obtain(engine, "python:3.13-slim-trixie")
        assert engine.imported == {}
        image.labels[base_image.own_labels().standin_script] = "sha256:of another script"
        obtain(engine, "python:3.13-slim-trixie")
        assert list(engine.imported) == ["standin/python:3.13-slim-trixie"]

    def test_one_failure_stops_no_other(self, scripts, monkeypatch, said):
        works = artefacts.make_artefact

        def make(name, script, arguments):
            if name == "debian-bookworm":
                raise UserError("debian-root.sh failed; log: /x.log\n    last line")
            works(name, script, arguments)

        monkeypatch.setattr(artefacts, "make_artefact", make)
        engine = FakeEngine(registry=api_error(500, NO_REGISTRY))
        found = obtain(engine, "python:3.13-slim-bookworm", "python:3.13-slim-trixie", "python:3.15-alpine3.24")
        failed = found["python:3.13-slim-bookworm"].reason
        assert failed == "its stand-in could not be built: debian-root.sh failed; log: /x.log"
        assert any("last line" in line for line in said())
        assert found["python:3.13-slim-trixie"].standin
        assert "no CPython 3.15 for musl is known" in found["python:3.15-alpine3.24"].reason

    def test_each_artefact_is_made_once_and_after_what_it_needs(self, scripts):
        engine = FakeEngine(registry=api_error(500, NO_REGISTRY))
        obtain(
            engine, "python:3.13-trixie", "python:3.13-slim-trixie", "python:3.9-alpine3.22", "python:3.8-alpine3.20"
        )
        assert sorted(scripts) == sorted(set(scripts))
        assert scripts.index("debian-trixie") < scripts.index("slim-3.13-trixie") < scripts.index("full-3.13-trixie")
        assert scripts.index("musl-openssl-1.1") < scripts.index("alpine-3.9")


class TestPins:
    """What locks/bases.json pins is what is built on, or nothing is."""

    NAME = "python:3.13-slim-trixie"

    def test_what_the_engine_has_is_used_if_it_is_the_pinned_one(self):
        engine = FakeEngine(has=[self.NAME])
        found = obtain(engine, self.NAME, pins={self.NAME: "sha256:abc"})
        assert found[self.NAME].digest == "sha256:abc"
        assert (engine.asked, engine.pulled) == ([], [])

    def test_another_one_is_replaced_by_the_pinned_one(self):
        engine = FakeEngine(has=[self.NAME], registry=[self.NAME, "python@sha256:def"])
        found = obtain(engine, self.NAME, pins={self.NAME: "sha256:def"})
        assert engine.pulled == ["python@sha256:def"]
        assert (found[self.NAME].reference, found[self.NAME].digest) == (self.NAME, "sha256:def")
        assert engine.has[self.NAME].id == "sha256:python@sha256:def", "under its official name"

    def test_what_is_missing_is_pulled_by_its_digest(self):
        engine = FakeEngine(registry=["python@sha256:def"])
        obtain(engine, self.NAME, pins={self.NAME: "sha256:def"})
        assert engine.pulled == ["python@sha256:def"]

    def test_a_name_with_a_digest_is_pulled_by_it(self):
        name = f"localhost:5000/x@sha256:{'d' * 64}"
        engine = FakeEngine(registry=[name])
        found = obtain(engine, name, pins={name: f"sha256:{'d' * 64}"})
        assert engine.pulled == [name]
        assert (found[name].reference, found[name].digest) == (name, f"sha256:{'d' * 64}")

    def test_a_registry_without_it_is_a_refusal(self):
        engine = FakeEngine(has=[self.NAME], registry=[self.NAME])
        found = obtain(engine, self.NAME, pins={self.NAME: "sha256:def"})
        assert found[self.NAME].refused
        assert f"no image python@sha256:def, which locks/bases.json pins for {self.NAME}" in found[self.NAME].reason

    def test_another_one_without_a_registry_is_a_refusal_and_gets_no_stand_in(self, scripts):
        engine = FakeEngine(has=[self.NAME], registry=api_error(500, NO_REGISTRY))
        found = obtain(engine, self.NAME, pins={self.NAME: "sha256:def"})
        assert found[self.NAME].refused
        assert f"has {self.NAME} as sha256:abc, locks/bases.json pins sha256:def" in found[self.NAME].reason
        assert "\n" not in found[self.NAME].reason
        assert scripts == []

    def test_a_stand_in_is_taken_whatever_is_pinned(self, scripts):
        engine = FakeEngine(registry=api_error(500, NO_REGISTRY))
        found = obtain(engine, self.NAME, pins={self.NAME: "sha256:def"})
        assert found[self.NAME].standin


class TestDryRun:
    """What a dry run may know: nothing is pulled or made."""

    NAMES = ("python:3.13-slim-trixie", "python:3.12-slim-trixie", "python:3.12-alpine3.24")

    def test_without_a_registry(self, scripts):
        engine = FakeEngine(has=["standin/python:3.13-slim-trixie"], registry=api_error(500, NO_REGISTRY))
        found = images.obtain(engine, self.NAMES, dry_run=True)
        assert found["python:3.13-slim-trixie"].standin
        assert isinstance(found["python:3.12-alpine3.24"], Unavailable)
        assert "python:3.12-slim-trixie" not in found, "its stand-in would be made"
        assert (engine.pulled, engine.imported, scripts) == ([], {}, [])

    def test_with_a_registry_what_is_missing_would_be_pulled(self):
        engine = FakeEngine(has=["standin/python:3.13-slim-trixie"], registry=self.NAMES)
        assert images.obtain(engine, self.NAMES, dry_run=True) == {}
        assert engine.pulled == []


@pytest.mark.parametrize(
    ("status", "explanation", "answers"),
    [
        (401, "unauthorized", True),
        (403, "denied", True),
        (429, "toomanyrequests", True),
        (500, "manifest unknown: manifest unknown", True),
        (500, NO_REGISTRY, False),
        (503, "Service Unavailable", False),
    ],
)
def test_a_registry_that_refuses_has_answered(status, explanation, answers):
    engine = FakeEngine(registry=api_error(status, explanation))
    assert (images.why_no_registry(engine, "python:3.13-slim-trixie") is None) == answers


class TestStandins:
    @pytest.mark.parametrize(
        ("name", "script", "needs"),
        [
            ("python:3.13-slim-trixie", "slim-pyenv.sh", {"debian-trixie"}),
            ("python:3.13-slim-bookworm", "slim-pyenv.sh", {"debian-bookworm"}),
            ("python:3.14-slim-trixie", "slim-debian.sh", set()),
            ("python:3.15-rc-slim-trixie", "slim-debian.sh", set()),
            ("python:3.13-trixie", "full.sh", {"slim-3.13-trixie"}),
            ("python:3.8-alpine3.20", "alpine-krunner.sh", {"musl-libs", "musl-openssl-1.1"}),
            ("python:3.9-alpine3.22", "alpine.sh", {"musl-libs", "musl-openssl-1.1"}),
            ("python:3.10-alpine3.24", "alpine-krunner.sh", {"musl-libs", "musl-openssl-1.1"}),
            ("python:3.11-alpine3.24", "alpine.sh", {"musl-libs", "musl-openssl-3"}),
            ("python:3.13-alpine3.24", "alpine.sh", {"musl-libs", "musl-openssl-3"}),
        ],
    )
    def test_known(self, name, script, needs):
        artefact = catalogue.standin_for(name)
        assert isinstance(artefact, Artefact)
        assert artefact.script == script
        assert {needed.name for needed in artefact.needs} == needs

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("python:3.11-slim-trixie", "pyenv on this machine has no Python 3.11"),
            ("python:3.12-alpine3.24", "no CPython 3.12 for musl is known"),
            ("python:3.14-trixie", "made for 3.12 and 3.13 only; python:3.14-slim-trixie has the same Python"),
            ("python:3.13-slim-buster", "no stand-in is known on Debian buster"),
            ("debian:trixie-slim", "not a name like python:3.13-slim-trixie"),
            ("python:latest", "not a name like"),
        ],
    )
    def test_unknown_with_a_reason(self, name, reason):
        unavailable = catalogue.standin_for(name)
        assert isinstance(unavailable, Unavailable)
        assert reason in unavailable.reason

    def test_alpine_on_another_architecture(self, monkeypatch):
        monkeypatch.setattr(catalogue.platform, "machine", lambda: "aarch64")
        assert "on x86_64 only" in catalogue.standin_for("python:3.13-alpine3.24").reason

    def test_the_newest_pyenv_is_taken(self):
        assert catalogue.pyenv_python("3.13").name == "3.13.10"
        assert catalogue.pyenv_python("3.1") is None

    def test_every_script_is_there_and_says_what_it_is(self):
        names = [
            f"python:3.{minor}-{kind}" for minor in range(8, 16) for kind in ("slim-trixie", "alpine3.24", "trixie")
        ]
        known = [found for found in map(catalogue.standin_for, names) if isinstance(found, Artefact)]
        for artefact in {*known, *(needed for found in known for needed in found.needs)}:
            lines = (artefacts.SCRIPTS / artefact.script).read_text().splitlines()
            assert lines[1].startswith(f"# {artefact.script} OUT")
            assert artefact.packages, "what the script runs must be named"

    def test_image_settings_are_the_official_ones_and_the_labels(self):
        settings = standins.image_settings("python:3.12-slim-trixie", "3.12.1")
        assert "ENV PYTHON_VERSION=3.12.1" in settings
        assert "ENV LANG=C.UTF-8" in settings
        assert 'CMD ["python3"]' in settings
        assert "LABEL io.hypercorn-images.standin=true" in settings
        assert any("not for shipping" in setting for setting in settings)
        assert not any("LANG" in setting for setting in standins.image_settings("python:3.13-slim-trixie", "3.13.0"))


def test_an_engine_that_has_gone_is_a_users_error():
    with pytest.raises(UserError, match="no longer answers"):
        images.obtain(Engine("tcp://127.0.0.1:1"), ["python:3.13-slim-trixie"])
