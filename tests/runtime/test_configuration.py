"""The table, the parsing and the rules of the configuration: in the interpreter, without a server."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypercorn_image.config import arguments, cores, effective, image, kinds, options, settings
from hypercorn_image.config.problems import Problems
from hypercorn_image.errors import StartError
from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.server import RUNTIME

CONF = RUNTIME / "hypercorn_conf.py"


def defaults(**environ: str) -> dict[str, Any]:
    problems = Problems()
    values = settings.from_environment(environ, problems, core_count=2)
    assert problems.lines == []
    return values


def problems(**environ: str) -> list[str]:
    found = Problems()
    settings.from_environment(environ, found, core_count=2)
    return found.lines


# ---- the table -------------------------------------------------------------------------------------------------------

CONTRACT = {
    "MODULE_NAME",
    "VARIABLE_NAME",
    "APP_MODULE",
    "HYPERCORN_CONF",
    "WORKERS_PER_CORE",
    "MAX_WORKERS",
    "WEB_CONCURRENCY",
    "HOST",
    "TCP_PORT",
    "USE_SSL",
    "USE_TCP",
    "SSL_PORT",
    "BIND",
    "INSECURE_BIND",
    "QUIC_BIND",
    "LOG_LEVEL",
    "WORKER_CLASS",
    "CERTFILE",
    "KEYFILE",
    "CA_CERTS",
    "CIPHERS",
    "KEEP_ALIVE",
    "GRACEFUL_TIMEOUT",
    "ACCESS_LOG",
    "ERROR_LOG",
    "BACKLOG",
    "PRE_START_PATH",
}


def test_every_variable_of_the_contract_is_in_the_table() -> None:
    documented = {option.variable for option in options.TABLE if option.since == options.DOCUMENTED}
    assert documented == CONTRACT


def test_every_hypercorn_option_has_a_variable() -> None:
    from hypercorn.config import Config

    names = {name for name in vars(Config) if not name.startswith("_") and not callable(getattr(Config, name, None))}
    names |= {"logger_class", "application_path"}
    names -= {"log", "ssl_enabled", "cert_reqs", "from_object", "from_pyfile", "from_toml", "from_mapping"}
    assert names - set(options.BY_OPTION) == set()
    assert set(options.BY_OPTION) - names == set()


def test_the_table_names_nothing_twice() -> None:
    assert len(options.BY_VARIABLE) == len(options.TABLE)
    flags = [flag for option in options.TABLE for flag in option.flags]
    assert len(flags) == len(set(flags))
    taken = [option.option for option in options.TABLE if option.option]
    assert len(taken) == len(set(taken))


def test_every_flag_of_hypercorn_is_understood() -> None:
    text = subprocess.run(
        [sys.executable, "-m", "hypercorn", "--help"], capture_output=True, text=True, check=True
    ).stdout
    found = {word.strip(",[]") for word in text.split() if word.strip("[").startswith("-") and len(word) > 1}
    flags = {flag for flag in found if flag.startswith("--") or len(flag) == 2} - {"-h", "--help", "--cert-reqs", "->"}
    assert flags - set(options.BY_FLAG) == set()


def test_the_reference_shows_every_variable_and_needs_no_hypercorn() -> None:
    program = RUNTIME.parent / "templates/variables.py"
    command = [sys.executable, "-S", str(program), str(RUNTIME)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for option in options.TABLE:
        assert f"| `{option.variable}`" in text
        assert option.meaning.replace("|", "\\|") in text


# ---- kinds of value --------------------------------------------------------------------------------------------------


@given(st.sampled_from([*kinds.FALSY, *kinds.TRULY]), st.randoms())
def test_booleans_are_compared_in_lower_case(word: str, random: Any) -> None:
    mixed = "".join(random.choice((letter.lower(), letter.upper())) for letter in word)
    assert kinds.BOOLEAN.read(mixed) is (word in kinds.TRULY)


@given(st.text().filter(lambda text: text.strip().lower() not in kinds.FALSY + kinds.TRULY))
def test_any_other_text_is_no_boolean(text: str) -> None:
    with pytest.raises(ValueError):
        kinds.BOOLEAN.read(text)


@given(st.integers(min_value=1, max_value=2**53))
def test_whole_numbers(value: int) -> None:
    assert kinds.integer(1).read(f" {value} ") == value
    with pytest.raises(ValueError):
        kinds.integer(value + 1).read(str(value))


@pytest.mark.parametrize("text", ["", "1.0", "1_000", "٣", "0x10", "-1", "+1", "1e3", "one"])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(ValueError):
        kinds.integer(0).read(text)


@given(st.floats())
def test_numbers_are_finite_and_not_negative(value: float) -> None:
    if math.isfinite(value) and value >= 0:
        assert kinds.SECONDS.read(str(value)) == value
    else:
        with pytest.raises(ValueError):
            kinds.SECONDS.read(str(value))


@given(st.from_regex(r"[a-z0-9.-]{1,20}", fullmatch=True), st.integers(0, 65535))
def test_a_bind_is_split_again(host: str, port: int) -> None:
    assert kinds.split_bind(settings.address(host, port)) == (host, port)


@pytest.mark.parametrize(
    "text", ["0.0.0.0:80", "[::]:80", "unix:/a b", "fd://3", "localhost", "a:1,b:2", "a:1 , unix:/x"]
)
def test_binds(text: str) -> None:
    assert kinds.BIND.read(text) == [part.strip() for part in text.split(",")]


@pytest.mark.parametrize("text", ["a:1,", ":80", "a:http", "a:70000", "unix:", "fd://x", "[::1", ","])
def test_what_is_no_bind(text: str) -> None:
    with pytest.raises(ValueError):
        kinds.BIND.read(text)


@given(
    st.dictionaries(st.sampled_from([option.variable for option in options.TABLE]), st.text(max_size=12), max_size=6)
)
def test_no_value_makes_anything_but_values_and_lines(environ: dict[str, str]) -> None:
    found = Problems()
    values = settings.from_environment(environ, found, core_count=1)
    assert values["bind"]
    for line in found.lines:
        assert any(name in line for name in options.BY_VARIABLE), line


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", options.TABLE, ids=lambda option: option.variable)
def test_a_wrong_value_is_one_line_with_variable_value_and_what_is_allowed(option: options.Option) -> None:
    wrong = "!,,\x00"
    try:
        option.kind.read(wrong)
    except ValueError:
        line = options.problem(option, option.variable, wrong)
        assert problems(**{option.variable: wrong}) == [line]
        assert line == f"{option.variable}={wrong!r} is not allowed: {option.kind.allowed}"
    else:
        assert option.kind.name in ("text", "path"), "takes any text"


def test_an_empty_value_means_unset_except_for_the_logs() -> None:
    empty = {option.variable: "" for option in options.TABLE}
    assert problems(**empty) == []
    assert defaults(**empty) == {**defaults(), "accesslog": None, "errorlog": None}


def conf(python: str = sys.executable, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `python /hypercorn_conf.py`."""
    base = {"PATH": os.environ["PATH"], "MODULE_NAME": "main", **environ}
    return subprocess.run([python, str(CONF)], env=base, capture_output=True, text=True, check=False)


def test_all_errors_of_a_start_are_said_together() -> None:
    found = conf(
        WORKERS_PER_CORE="many",
        USE_SSL="maybe",
        BACKLOG="0",
        LOG_LEVEL="loud",
        HYPERCORN_CONF="/nowhere.py",
        KEEP_ALIVE="-1",
    )
    assert found.returncode == 1
    assert found.stdout == ""
    lines = found.stderr.splitlines()
    assert len(lines) == 6
    assert all(line.startswith("hypercorn-image: error: ") for line in lines)
    assert (
        "hypercorn-image: error: LOG_LEVEL='loud' is not allowed: one of debug, info, warning, error, critical" in lines
    )
    assert any("HYPERCORN_CONF='/nowhere.py' does not exist" in line for line in lines)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"USE_SSL": "no", "USE_TCP": "0"}, "USE_SSL and USE_TCP are both false"),
        ({"INSECURE_BIND": "a:1"}, "INSECURE_BIND is set"),
        ({"INSECURE_BIND": "a:1", "USE_SSL": "1", "USE_TCP": "n"}, "INSECURE_BIND is set"),
        ({"QUIC_BIND": "a:1"}, "QUIC_BIND is set but HTTP/3 needs TLS"),
        ({"USE_SSL": "y"}, "CERTFILE is not set: USE_SSL=true needs CERTFILE and KEYFILE"),
        ({"USE_SSL": "y"}, "KEYFILE is not set: USE_SSL=true needs CERTFILE and KEYFILE"),
        ({"USE_SSL": "y", "CERTFILE": "/none", "KEYFILE": "/none"}, "CERTFILE='/none' does not exist"),
        ({"USE_SSL": "y", "CERTFILE": str(CONF), "KEYFILE": str(CONF), "SSL_PORT": "80"}, "both ask for 0.0.0.0:80"),
        ({"SOCKET_USER": "1"}, "SOCKET_USER and SOCKET_GROUP go together"),
        ({"KEYFILE_PASSWORD": "x", "KEYFILE_PASSWORD_FILE": "/etc/hostname"}, "are both set"),
        ({"KEYFILE_PASSWORD_FILE": "/nowhere"}, "KEYFILE_PASSWORD_FILE='/nowhere' cannot be read"),
        (
            {"USE_SSL": "1", "CERTFILE": str(CONF), "KEYFILE": str(CONF), "QUIC_BIND": "a:1", "CA_CERTS": str(CONF)},
            "QUIC_BIND is set but Hypercorn verifies no client certificate over HTTP/3",
        ),
        (
            {"USE_SSL": "1", "CERTFILE": str(CONF), "KEYFILE": str(CONF), "QUIC_BIND": "a:1", "KEYFILE_PASSWORD": "x"},
            "QUIC_BIND is set but Hypercorn reads no encrypted KEYFILE",
        ),
    ],
)
def test_rules_between_variables(environ: dict[str, str], said: str) -> None:
    assert any(said in line for line in problems(**environ)), problems(**environ)


TLS_FILES = {"USE_SSL": "1", "CERTFILE": str(CONF), "KEYFILE": str(CONF)}


@pytest.mark.parametrize(
    ("environ", "variables"),
    [
        ({"USE_SSL": "maybe", "USE_TCP": "0"}, ["USE_SSL"]),
        ({"USE_SSL": "maybe", "QUIC_BIND": "a:1", "INSECURE_BIND": "a:1"}, ["USE_SSL"]),
        ({"USE_SSL": "0", "USE_TCP": "0", "QUIC_BIND": "a:1", "INSECURE_BIND": "a:1"}, ["USE_SSL"]),
        ({"QUIC_BIND": "a:1", "INSECURE_BIND": "a:1"}, ["INSECURE_BIND", "QUIC_BIND"]),
        ({"SOCKET_USER": "1", "SOCKET_GROUP": "x"}, ["SOCKET_GROUP"]),
        ({**TLS_FILES, "CERTFILE": ""}, ["CERTFILE"]),
        ({**TLS_FILES, "BIND": "a:1,a:2", "INSECURE_BIND": "a:2,a:1"}, ["BIND"]),
        ({**TLS_FILES, "BIND": "a:x", "INSECURE_BIND": "0.0.0.0:443"}, ["BIND"]),
        ({**TLS_FILES, "QUIC_BIND": "a:1", "CA_CERTS": "/none"}, ["CA_CERTS"]),
        (
            {**TLS_FILES, "QUIC_BIND": "a:1", "CA_CERTS": str(CONF), "KEYFILE_PASSWORD": "x"},
            ["QUIC_BIND", "QUIC_BIND"],  # of two others
        ),
    ],
)
def test_a_variable_has_one_line_and_none_follows_from_one_that_is_wrong(
    environ: dict[str, str], variables: list[str]
) -> None:
    found = problems(**environ)
    assert [line.replace("=", " ").split()[0] for line in found] == variables, found


def test_a_secret_is_never_shown() -> None:
    found = conf(KEYFILE_PASSWORD="open sesame", USE_SSL="1", CERTFILE=str(CONF), KEYFILE=str(CONF))
    assert found.returncode == 0
    assert "open sesame" not in found.stdout + found.stderr
    assert json.loads(found.stdout)["keyfile_password"] == "***"


# ---- what is computed ------------------------------------------------------------------------------------------------


def test_the_defaults_of_the_contract() -> None:
    found = defaults()
    assert {name: found[name] for name in ("bind", "workers", "worker_class", "loglevel", "accesslog", "errorlog")} == {
        "bind": ["0.0.0.0:80"],
        "workers": 2,
        "worker_class": "asyncio",
        "loglevel": "info",
        "accesslog": "-",
        "errorlog": "-",
    }
    assert found["graceful_timeout"] == 120
    effective_options = json.loads(conf().stdout)
    assert effective_options["keep_alive_timeout"] == 5
    assert effective_options["backlog"] == 100
    assert effective_options["ciphers"] == "ECDHE+AESGCM"
    assert effective_options["insecure_bind"] == effective_options["quic_bind"] == []


@pytest.mark.parametrize(
    ("environ", "binds", "insecure"),
    [
        ({}, ["0.0.0.0:80"], None),
        ({"HOST": "::", "TCP_PORT": "8080"}, ["[::]:8080"], None),
        ({"PORT": "5000"}, ["0.0.0.0:5000"], None),
        ({"PORT": "5000", "TCP_PORT": "6000"}, ["0.0.0.0:6000"], None),
        ({"USE_SSL": "1"}, ["0.0.0.0:443"], ["0.0.0.0:80"]),
        ({"USE_SSL": "1", "USE_TCP": "0", "SSL_PORT": "8443"}, ["0.0.0.0:8443"], None),
        ({"USE_SSL": "1", "INSECURE_BIND": "a:1"}, ["0.0.0.0:443"], ["a:1"]),
        ({"BIND": "a:1, b:2"}, ["a:1", "b:2"], None),
    ],
)
def test_binds_follow_from_the_variables(environ: dict[str, str], binds: list[str], insecure: list[str] | None) -> None:
    files = {"CERTFILE": str(CONF), "KEYFILE": str(CONF)} if "USE_SSL" in environ else {}
    found = defaults(**environ, **files)
    assert found["bind"] == binds
    assert found.get("insecure_bind") == insecure


@given(st.integers(1, 512), st.floats(0.01, 16), st.none() | st.integers(1, 64))
def test_workers_are_cores_times_workers_per_core_at_least_one_at_most_max_workers(
    core_count: int, per_core: float, most: int | None
) -> None:
    values = {"WORKERS_PER_CORE": per_core, **({} if most is None else {"MAX_WORKERS": most})}
    found = settings.workers(values, core_count)
    assert found == max(1, min(math.floor(core_count * per_core), most or 10**6))


def test_an_explicit_number_of_workers_is_not_capped() -> None:
    assert settings.workers({"WEB_CONCURRENCY": 9, "MAX_WORKERS": 3}, 1) == 9
    assert settings.workers({"WEB_CONCURRENCY": 0}, 4) == 0


def test_ca_certs_require_client_certificates() -> None:
    files = {"USE_SSL": "1", "CERTFILE": str(CONF), "KEYFILE": str(CONF), "CA_CERTS": str(CONF)}
    assert defaults(**files)["verify_mode"].name == "CERT_REQUIRED"
    assert defaults(**files, VERIFY_MODE="CERT_OPTIONAL")["verify_mode"].name == "CERT_OPTIONAL"


def test_tls_options_are_ignored_without_use_ssl() -> None:
    found = defaults(CERTFILE="/nowhere", KEYFILE="/nowhere", CA_CERTS="/nowhere")
    assert not {"certfile", "keyfile", "ca_certs", "verify_mode"} & set(found)


# ---- the command line ------------------------------------------------------------------------------------------------


def test_arguments() -> None:
    found = Problems()
    values = arguments.read(
        [
            "--root-path",
            "/api",
            "-w4",
            "--bind=a:1",
            "-b",
            "b:2",
            "--debug",
            "--access-logfile",
            "-",
            "--keep-alive",
            "2.5",
        ],
        found,
    )
    assert found.lines == []
    assert values == {
        "ROOT_PATH": "/api",
        "WEB_CONCURRENCY": 4,
        "BIND": ["a:1", "b:2"],
        "LOOP_DEBUG": True,
        "ACCESS_LOG": "-",
        "KEEP_ALIVE": 2.5,
    }


@pytest.mark.parametrize(
    "argument", [["--no-such"], ["main:app"], ["--workers"], ["--workers", "x"], ["--bind", "--debug"]]
)
def test_wrong_arguments(argument: list[str]) -> None:
    found = Problems()
    arguments.read(argument, found)
    assert len(found.lines) == 1


# ---- the configuration file ------------------------------------------------------------------------------------------


def load(
    tmp_path: Path, text: str | None = None, name: str = "hypercorn_conf.py", argv: tuple[str, ...] = (), **environ: str
) -> Any:
    if text is not None:
        (tmp_path / name).write_text(text)
    return effective.load({"MODULE_NAME": "main", **environ}, argv, str(tmp_path))


def test_the_first_configuration_that_exists_is_used(tmp_path: Path) -> None:
    assert load(tmp_path).source == f"file:{CONF}"
    assert load(tmp_path, "workers = 7").config.workers == 7
    (tmp_path / "app").mkdir()
    assert load(tmp_path, "workers = 8", "app/hypercorn_conf.py").config.workers == 8


def test_a_configuration_may_define_functions_and_classes_and_change_a_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIND", "a:1")
    text = """
from hypercorn_conf import *
import os
class Helper:
    def __call__(self): return 3
def compute(): return Helper()()
workers = compute()
"""
    found = load(tmp_path, text).config
    assert (found.workers, found.bind, found.graceful_timeout) == (3, ["a:1"], 120.0)


def test_kinds_of_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "with space.py").write_text("workers = 3")
    assert load(tmp_path, HYPERCORN_CONF=str(tmp_path / "with space.py")).config.workers == 3
    assert load(tmp_path, HYPERCORN_CONF=f"file:{tmp_path}/with space.py").config.workers == 3
    (tmp_path / "c.toml").write_text("workers = 4\nbind = 'x:1'\n")
    assert load(tmp_path, HYPERCORN_CONF=str(tmp_path / "c.toml")).config.workers == 4
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "conf_module.py").write_text("workers = 5")
    assert load(tmp_path, HYPERCORN_CONF="python:conf_module").config.workers == 5
    with pytest.raises(StartError, match="does not exist"):
        load(tmp_path, HYPERCORN_CONF="/nowhere.toml")


def test_arguments_go_before_the_configuration(tmp_path: Path) -> None:
    assert load(tmp_path, "workers = 7", argv=("--workers", "2")).config.workers == 2


def test_a_configuration_that_fails_is_shown_with_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(StartError) as failed:
        load(tmp_path, "workers = 1 / 0")
    assert "ZeroDivisionError: division by zero" in failed.value.lines[0]
    assert "workers = 1 / 0" in (failed.value.details or "")


WRONG = {
    'graceful_timeout = "20"': "graceful_timeout='20' in {} is not allowed: a number of 0 or more (seconds)",
    "workers = -1": "workers=-1 in {} is not allowed: a whole number of 0 or more",
    "workers = true": "workers=True in {} is not allowed: a whole number of 0 or more",
    'worker_class = "gevent"': "worker_class='gevent' in {} is not allowed: one of asyncio, uvloop, trio",
    "include_date_header = 1": "include_date_header=1 in {} is not allowed: true or false",
    "bind = 80": "bind=80 in {} is not allowed: a list of HOST:PORT, [IPV6]:PORT, unix:PATH or fd://NUMBER",
    'bind = ["a:http"]': "bind=['a:http'] in {} is not allowed: a list of HOST:PORT,",
    'server_names = "a"': "server_names='a' in {} is not allowed: a list of strings",
    "loglevel = 10": "loglevel=10 in {} is not allowed: one of debug,",
    "accesslog = 1": "accesslog=1 in {} is not allowed: a path",
    "keyfile_password = 17": "keyfile_password=(not shown) in {} is not allowed: a string",
    "umask = 512": "umask=512 in {} is not allowed: a whole number from 0 to 0o777",
    "root_path = 3": "root_path=3 in {} is not allowed: a string",
    "bind = []": "bind is empty: the server needs an address to listen on",
    "gracefull_timeout = 3": "'gracefull_timeout' in {} is not an option of Hypercorn: did you mean 'graceful_",
    "worker = 3": "'worker' in {} is not an option of Hypercorn: did you mean 'workers'?",
}


@pytest.mark.parametrize("line", WRONG)
@pytest.mark.parametrize("kind", ["toml", "py"])
def test_a_users_configuration_is_checked_like_the_variables(tmp_path: Path, line: str, kind: str) -> None:
    path = tmp_path / f"c.{kind}"
    text = line.replace("true", "True") if kind == "py" else line
    path.write_text(f"backlog = 7\n{text}\n")
    with pytest.raises(StartError) as failed:
        load(tmp_path, HYPERCORN_CONF=str(path))
    source = f"file:{path}" if kind == "py" else str(path)
    assert [said[: len(WRONG[line].format(source))] for said in failed.value.lines] == [WRONG[line].format(source)]
    assert failed.value.details is None


def test_all_that_is_wrong_in_a_configuration_is_said_together(tmp_path: Path) -> None:
    with pytest.raises(StartError) as failed:
        load(tmp_path, "workers = -1\nbacklog = 'x'\nbinds = ['a:1']\n", LOG_LEVEL="loud")
    assert [line.split("=")[0].split(" in ")[0] for line in failed.value.lines] == [
        "LOG_LEVEL",
        "'binds'",
        "backlog",
        "workers",
    ]


def test_a_toml_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("workers = = 3\n")
    with pytest.raises(StartError, match=r"the configuration .*c.toml cannot be read: .*line 1") as failed:
        load(tmp_path, HYPERCORN_CONF=str(tmp_path / "c.toml"))
    assert failed.value.details is None


def test_a_toml_knows_no_other_names_than_options(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("zzz = 3\ncert_reqs = 0\n")
    with pytest.raises(StartError) as failed, pytest.warns(Warning, match="verify_mode"):
        load(tmp_path, HYPERCORN_CONF=str(tmp_path / "c.toml"))
    assert failed.value.lines == [
        f"'zzz' in {tmp_path}/c.toml is not an option of Hypercorn: see the variables in the README"
    ]


def test_a_toml_knows_none_of_the_other_names_of_hypercorns_class(tmp_path: Path) -> None:
    names = ["from_toml", "log", "ssl_enabled"]
    (tmp_path / "c.toml").write_text("".join(f"{name} = 3\n" for name in names))
    with pytest.raises(StartError) as failed:
        load(tmp_path, HYPERCORN_CONF=str(tmp_path / "c.toml"))
    assert [line.split(":")[0] for line in failed.value.lines] == [
        f"{name!r} in {tmp_path}/c.toml is not an option of Hypercorn" for name in names
    ]


def test_a_path_is_shown_whole(tmp_path: Path) -> None:
    found = load(tmp_path, "from pathlib import Path\ncertfile = Path('/a/b.pem')\n")
    assert json.loads(effective.as_json(found))["certfile"] == "/a/b.pem"


def test_a_configuration_that_exits_is_one_that_fails(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"the configuration .* failed: SystemExit: 3"):
        load(tmp_path, "import sys\nsys.exit(3)\n")


def test_what_hypercorn_allows_is_allowed(tmp_path: Path) -> None:
    text = """
import logging, ssl
from pathlib import Path
from hypercorn.logging import Logger
web_concurrency_str = "3"
workers_str, host, binds = "3", "x", ["a:1"]
workers = int(workers_str)
bind = binds[0]
class Mine(Logger): pass
logger_class = Mine
accesslog = logging.getLogger("mine")
errorlog = None
certfile = Path("/x")
loglevel = "WARNING"
verify_mode = ssl.CERT_NONE
max_requests = None
keep_alive_timeout = 5
def helper(): return 3
"""
    config = load(tmp_path, text).config
    assert (config.workers, config.bind, config.loglevel, config.errorlog) == (3, ["a:1"], "warning", None)
    (tmp_path / "c.toml").write_text('verify_mode = "CERT_OPTIONAL"\n')
    assert load(tmp_path, HYPERCORN_CONF=str(tmp_path / "c.toml")).config.verify_mode.name == "CERT_OPTIONAL"


def test_the_included_rules_are_for_the_included_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_SSL", "true")
    assert load(tmp_path, "workers = 2", USE_SSL="true").config.workers == 2
    (tmp_path / "c.toml").write_text('certfile = "/c"\nkeyfile = "/k"\n')
    assert load(tmp_path, HYPERCORN_CONF=str(tmp_path / "c.toml"), USE_SSL="true").config.certfile == "/c"
    with pytest.raises(StartError, match="CERTFILE is not set"):
        load(tmp_path, "from hypercorn_conf import *", USE_SSL="true")


def test_the_environment_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = options.read_environment
    monkeypatch.setattr(options, "read_environment", lambda *given: reads.append(1) or read(*given))
    load(tmp_path)
    load(tmp_path, "workers = 1")
    assert len(reads) == 2


def test_hypercorn_itself_can_use_the_included_configuration(tmp_path: Path) -> None:
    from hypercorn.config import Config

    found = Config.from_pyfile(str(CONF))
    assert found.graceful_timeout == 120.0
    import pickle

    pickle.dumps(found)


# ---- the application -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "files", "path"),
    [
        ({}, ["main.py"], "main:app"),
        ({}, ["main.py", "app/main.py"], "app.main:app"),
        ({"VARIABLE_NAME": "api"}, ["main.py"], "main:api"),
        ({"MODULE_NAME": "a.b", "VARIABLE_NAME": "api"}, [], "a.b:api"),
        ({"APP_MODULE": "x:y", "MODULE_NAME": "a"}, ["main.py"], "x:y"),
    ],
)
def test_where_the_application_is(tmp_path: Path, environ: dict[str, str], files: list[str], path: str) -> None:
    from hypercorn_image.app import application

    (tmp_path / "app").mkdir()
    for name in files:
        (tmp_path / name).touch()
    assert application.locate(options.read_environment(environ, Problems()), str(tmp_path)) == (path, "")


# ---- what is in the image --------------------------------------------------------------------------------------------


def test_a_feature_that_is_not_in_the_image_says_why() -> None:
    described = {"image": "hypercorn", "tag": "python3.9-slim", "dropped": {"trio": "because the matrix says so"}}
    image._NEEDS["nothing"] = ("trio", "no_such_module_here")
    try:
        assert (
            image.missing("nothing", described)
            == "nothing is not in hypercorn:python3.9-slim: because the matrix says so"
        )
        assert image.missing("nothing", {}) == (
            "nothing is not in this installation: the package no_such_module_here is not installed"
        )
    finally:
        del image._NEEDS["nothing"]
    assert image.missing("uvloop") is None


def test_what_the_image_lacks_is_one_line_and_none_where_the_variable_is_wrong_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(image._NEEDS, "HTTP/3", ("h3", "no_such_module_here"))
    monkeypatch.setitem(image._NEEDS, "trio", ("trio", "no_such_module_here"))
    monkeypatch.setattr(image, "describe", dict)
    (tmp_path / "main.py").touch()

    def lines(**environ: str) -> list[str]:
        with pytest.raises(StartError) as raised:
            effective.load(environ, (), str(tmp_path))
        return raised.value.lines

    trio, http_3 = lines(**TLS_FILES, WORKER_CLASS="trio", QUIC_BIND="a:1")
    assert trio.startswith("WORKER_CLASS=trio: trio is not in this installation")
    assert http_3.startswith("QUIC_BIND: HTTP/3 is not in this installation")
    (line,) = lines(QUIC_BIND="a:1")
    assert line.startswith("QUIC_BIND is set but HTTP/3 needs TLS")


# ---- cores -----------------------------------------------------------------------------------------------------------

TREES = {
    "no cgroup": ({}, None),
    "version 2 without a quota": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "version 2, docker --cpus 1.5": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
    "version 2, the parent's quota": (
        {
            "proc/self/cgroup": "0::/kubepods/pod1/c1\n",
            "sys/fs/cgroup/kubepods/pod1/c1/cpu.max": "max 100000\n",
            "sys/fs/cgroup/kubepods/pod1/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/kubepods/cpu.max": "400000 100000\n",
        },
        0.5,
    ),
    "version 1, docker --cpus 2": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/docker/1f\n3:memory:/docker/1f\n0::/docker/1f\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        2.0,
    ),
    "version 1 without a quota": (
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
    "garbage": ({"proc/self/cgroup": "\x00:::\n", "sys/fs/cgroup/cpu.max": "lots of it\n"}, None),
    "a period of nought": ({"sys/fs/cgroup/cpu.max": "100000 0\n"}, None),
}


@pytest.mark.parametrize("name", TREES)
def test_the_cpu_quota_of_recorded_cgroups(tmp_path: Path, name: str) -> None:
    files, quota = TREES[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert cores.cpu_quota(str(tmp_path)) == quota


def test_cores_are_the_least_of_affinity_and_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("150000 100000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    assert cores.available(str(tmp_path)) == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5})
    assert cores.available(str(tmp_path)) == 1
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("10000 100000")
    assert cores.available(str(tmp_path)) == 1
