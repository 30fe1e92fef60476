"""The engine's own decisions: which one, whose process, what a build is told. No engine is needed."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from imagematrix.errors import UserError
from imagematrix.machine import address, build_secrets, buildx, cache, dockerd, engine, processes


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.fixture
def said(capsys):
    """Return the lines that were said since the last call."""
    return lambda: capsys.readouterr().err.splitlines()


@pytest.fixture
def daemon(tmp_path):
    """A process that is called dockerd."""
    program = tmp_path / "dockerd"
    shutil.copy("/bin/sleep", program)
    process = subprocess.Popen([program, "60"])
    yield process
    process.kill()
    process.wait()


class TestPidFile:
    def clear(self, tmp_path, said, text, name="dockerd"):
        path = tmp_path / "docker.pid"
        path.write_text(text)
        return dockerd.clear_stale_pid_file(path, name), path.exists()

    def test_nothing_there(self, tmp_path, said):
        assert dockerd.clear_stale_pid_file(tmp_path / "none", "dockerd") is None
        assert said() == []

    def test_of_a_process_that_ended(self, tmp_path, said):
        ended = subprocess.Popen(["true"])
        ended.wait()
        assert self.clear(tmp_path, said, str(ended.pid)) == (None, False)
        assert f"process {ended.pid} is not dockerd" in said()[0]

    def test_of_a_dead_process_that_nobody_reaped(self, tmp_path, said, daemon):
        daemon.kill()
        os.waitid(os.P_PID, daemon.pid, os.WEXITED | os.WNOWAIT)
        assert self.clear(tmp_path, said, str(daemon.pid)) == (None, False)

    def test_of_another_program(self, tmp_path, said):
        assert self.clear(tmp_path, said, str(os.getpid())) == (None, False)

    @pytest.mark.parametrize("text", ["", "no number", "0"])
    def test_without_a_number(self, tmp_path, said, text):
        assert self.clear(tmp_path, said, text) == (None, False)

    def test_of_a_daemon_that_runs(self, tmp_path, said, daemon):
        assert self.clear(tmp_path, said, f"{daemon.pid}\n") == (daemon.pid, True)
        assert said() == []


class TestStop:
    def test_ends_the_daemon_that_was_recorded(self, said, daemon):
        processes.note(dockerd.record_path(), daemon.pid)
        assert dockerd.stop() == 0
        assert daemon.wait() == -15
        assert said() == [f"stopping dockerd (process {daemon.pid})"]
        assert dockerd.stop() == 0
        assert said() == ["no engine that was started here runs"]

    def test_leaves_a_later_process_with_the_same_number_alone(self, said, daemon):
        processes.note(dockerd.record_path(), daemon.pid)
        record = json.loads(dockerd.record_path().read_text())
        dockerd.record_path().write_text(json.dumps({**record, "start_time": record["start_time"] - 1}))
        assert dockerd.stop() == 0
        assert daemon.poll() is None

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"pid": null, "start_time": 1}'])
    def test_survives_a_broken_record(self, said, text):
        dockerd.record_path().write_text(text)
        assert dockerd.stop() == 0
        assert said() == ["no engine that was started here runs"]


class TestWhichEngine:
    def test_default(self):
        assert address.configured_host() == address.DEFAULT_HOST

    def test_docker_host_comes_before_the_context(self, monkeypatch):
        monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
        monkeypatch.setenv("DOCKER_CONTEXT", "none-such")
        assert address.configured_host() == "tcp://192.0.2.1:2375"

    @pytest.mark.parametrize("chosen_by", ["environment", "config.json"])
    def test_context(self, tmp_path, monkeypatch, chosen_by):
        meta = tmp_path / "docker/contexts/meta" / hashlib.sha256(b"remote").hexdigest()
        meta.mkdir(parents=True)
        described = {"Name": "remote", "Metadata": {}, "Endpoints": {"docker": {"Host": "tcp://192.0.2.2:2375"}}}
        (meta / "meta.json").write_text(json.dumps(described))
        current = {"currentContext": "remote"} if chosen_by == "config.json" else {}
        (tmp_path / "docker/config.json").write_text(json.dumps(current))
        if chosen_by == "environment":
            monkeypatch.setenv("DOCKER_CONTEXT", "remote")
        assert address.configured_host() == "tcp://192.0.2.2:2375"

    def test_unknown_context(self, monkeypatch):
        monkeypatch.setenv("DOCKER_CONTEXT", "none-such")
        with pytest.raises(UserError, match="'none-such' does not exist"):
            address.configured_host()

    def test_one_that_was_named_and_is_silent_is_not_replaced(self, monkeypatch, said):
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
        with pytest.raises(UserError, match=r"tcp://127\.0\.0\.1:1 .* does not answer: nothing listens there"):
            engine.ensure()
        assert said() == []

    def test_no_root_says_what_to_install(self, monkeypatch, said):
        monkeypatch.setattr(address, "why_silent", lambda address: "nothing listens there")
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(UserError, match=r"Install Docker .* or set DOCKER_HOST"):
            engine.ensure()


class TestBuildSecrets:
    def test_names_the_ca_where_the_build_mounts_it(self, tmp_path, monkeypatch):
        ca = tmp_path / "ca.pem"
        ca.write_text("certificates")
        monkeypatch.setenv("PIP_CERT", str(tmp_path / "missing.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        monkeypatch.setattr(build_secrets, "_pip_settings", lambda: {"index-url": "https://index.example/simple"})
        secrets = build_secrets.build_secrets()
        assert secrets["ca"] == ca
        assert secrets["pipconf"].read_text() == (
            "[global]\ncert = /etc/ssl/certs/ca-certificates.crt\nindex-url = https://index.example/simple\n"
        )
        assert secrets["pipconf"].stat().st_mode & 0o077 == 0

    def test_without_a_ca(self, tmp_path, monkeypatch):
        for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(build_secrets, "CONTAINER_CA", str(tmp_path / "none"))
        monkeypatch.setattr(build_secrets, "_pip_settings", dict)
        secrets = build_secrets.build_secrets()
        assert list(secrets) == ["pipconf"]
        assert secrets["pipconf"].read_text() == "[global]\n"

    def test_drops_what_a_build_cannot_see(self):
        settings = {
            "extra-index-url": "file:///srv/simple https://index.example/simple\nhttp://two.example/simple",
            "find-links": "/srv/wheels",
            "index-url": "file:///srv/simple",
            "cert": "/elsewhere/ca.pem",
            "default-timeout": "180",
            "no-binary": ":all:",
        }
        assert build_secrets.usable_in_a_build(settings) == {
            "extra-index-url": "https://index.example/simple http://two.example/simple",
            "timeout": "180",
        }

    def test_reads_pips_list_with_the_environment_last(self):
        listing = ":env:.index-url='https://env.example'\nglobal.index-url='https://file.example'\n"
        listing += "freeze.timeout='10'\nglobal.trusted-host='a\\nb'\n"
        assert build_secrets.parse_pip_settings(listing) == {"index-url": "https://env.example", "trusted-host": "a\nb"}


def test_the_plugin_folder_of_the_user_stays_untouched(monkeypatch, tmp_path, said):
    monkeypatch.setattr(buildx, "_installed", lambda program: [])
    monkeypatch.setattr(buildx, "_standalone", lambda: Path("/opt/docker-buildx"))
    monkeypatch.delenv("BUILDX_CONFIG", raising=False)
    command = buildx.command("unix:///x.sock")
    assert command[-1] == "/opt/docker-buildx"
    assert "DOCKER_HOST=unix:///x.sock" in command
    assert f"BUILDX_CONFIG={cache.cache_folder() / 'buildx'}" in command
    (tmp_path / "docker/buildx").mkdir(parents=True)  # builders that the user made
    assert not any(word.startswith("BUILDX_CONFIG=") for word in buildx.command("unix:///x.sock"))
