"""`make bench` from end to end with one short case, and what it says of wrong input. No test asserts a figure."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest

from imagematrix.errors import InputError, UserError
from imagematrix.matrix import locks
from tests.bench import cases, environment, loads, measuring, report, results, servers
from tests.bench.measuring import Cell, Row, Sample
from tests.bench.results import Results
from tests.conftest import REPOSITORY
from tests.local import need
from tests.runtime.conftest import interpreter
from tests.runtime.server import wait_for

CASE = "h2c-10b"
"""It takes less than a whole second, and one server lacks what it needs."""
SLOW = "no request was answered"
"""What a cell says where a busy machine had no time for that server."""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.bench", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.fixture
def able() -> None:
    """What the benchmark takes from the machine."""
    if interpreter(environment.VERSION) is None:
        pytest.skip(f"this machine has no Python {environment.VERSION}")
    need("wrk", "wrk")
    need("h2load", "nghttp2-client")


def test_a_case_is_measured_and_reported(able: None, tmp_path: Path) -> None:
    done = run("--only", CASE, "--rounds", "1", "--seconds", "0.2", "--output", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    assert f"[1/1] {CASE}: " in done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert json.loads(done.stdout) == found
    assert {"cpu", "cores", "memory_gib", "kernel", "python", "versions", "load_before", "load_after", "date"} < {
        *found
    }
    assert found["command"] == f"make bench ONLY={CASE} ROUNDS=1 SECONDS=0.2"
    (case,) = found["cases"]
    cells = {cell["server"]: cell for cell in case["servers"]}
    assert [*cells] == ["ours", "plain", "uvicorn", "gunicorn", "granian"]
    wrong = {name: cell["why"] for name, cell in cells.items() if cell["why"] not in ("", SLOW)}
    assert wrong == {"uvicorn": "no HTTP/2"}
    assert all(bool(cell["why"]) != bool(cell["samples"]) for cell in cells.values())
    samples = [sample for cell in cells.values() for sample in cell["samples"]]
    assert samples
    assert all(sample["requests_per_second"] > 0 and sample["server_microseconds"] >= 0 for sample in samples)
    rows = [line.split("|") for line in (tmp_path / "README.md").read_text().splitlines() if f"`{CASE}`" in line]
    assert [len(row) for row in rows] == [10, 10]  # requests per second, and processor time
    assert all(cell.strip() for row in rows for cell in row[1:-1])
    chart = ElementTree.parse(tmp_path / "chart.svg").getroot()
    assert "prefers-color-scheme: dark" in ElementTree.tostring(chart, encoding="unicode")


def logs(folder: Path) -> list[Path]:
    """Return what the processes that write into a folder write to."""
    found = []
    for output in Path("/proc").glob("[0-9]*/fd/1"):
        with suppress(OSError):  # the process has ended since
            found.append(output.readlink())
    return [path for path in found if path.is_relative_to(folder)]


def test_ctrl_c_leaves_no_process_and_writes_nothing(able: None, tmp_path: Path) -> None:
    output = tmp_path / "output"
    process = subprocess.Popen(
        command("--only", CASE, "--seconds", "60", "--output", str(output)),
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: logs(tmp_path), "server", limit=120)
    finally:
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=120)[1]
    assert (process.returncode, error.splitlines()[-1]) == (130, "interrupted")
    assert logs(tmp_path) == []
    assert not output.exists()


def test_the_list_names_each_case() -> None:
    done = run("--list", "--only", "h2*,websocket")
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names == [case.name for case in cases.TABLE if case.name.startswith("h2") or case.name == "websocket"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--only", "http2-10k"], "ONLY=http2-10k: no case has this name; did you mean http1-10k? allowed: http1-10b"),
        (["--rounds", "0"], "ROUNDS is 1 or more"),
        (["--seconds", "0"], "SECONDS more than 0"),
        (["--seconds", "nan"], "SECONDS more than 0"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(arguments: list[str], line: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_two_cases_have_one_name_and_each_server_has_what_it_needs_or_says_why_not() -> None:
    names = [case.name for case in cases.TABLE]
    assert len(names) == len({*names})
    assert {case.name.removesuffix("-2w") for case in cases.TABLE if case.workers == 2} <= {*names}
    features = {case.feature for case in cases.TABLE}
    assert features == {"http/1.1", "h2c", "h2", "h3", "websocket"}
    assert all({*server.lacks} <= features for server in servers.TABLE)
    with pytest.raises(InputError):
        cases.chosen("http1-10k,nothing")


def test_requirements_pin_hashes_and_the_packages_of_the_images() -> None:
    text = environment.REQUIREMENTS.read_text()
    pinned = dict(re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", text, re.MULTILINE))
    entries = re.split(r"\n(?=\S)", text.strip())[2:]
    assert len(entries) == len(pinned) > 30
    assert all("--hash=sha256:" in entry for entry in entries)
    lock = locks.read(REPOSITORY / f"locks/python{environment.VERSION}.txt")
    images = {package.name: package.version for package in lock.packages}
    assert {name: pinned.get(name) for name in images} == images


H2LOAD = """\
Application protocol: h2c
finished in 200.00ms, 5000.00 req/s, 1.00MB/s
requests: 1000 total, 1000 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1000 2xx, 0 3xx, 0 4xx, 0 5xx
"""
WRK = """\
  1000 requests in 2.00s, 10.00MB read
Requests/sec:    500.00
"""
WRK_MINUTE = """\
  156000 requests in 0.87m, 29.39MB read
Requests/sec:   3000.00
"""


@pytest.mark.parametrize(
    ("case", "output", "why"),
    [
        (CASE, H2LOAD.replace("0 failed", "3 failed"), "3 requests failed"),
        (CASE, H2LOAD.replace("1000 2xx, 0 3xx", "990 2xx, 10 3xx"), "10 requests failed"),
        (CASE, H2LOAD.replace("protocol: h2c", "protocol: http/1.1"), "did not speak h2c"),
        ("http1-10k", f"{WRK}  Non-2xx or 3xx responses: 7\n", "non-2xx or 3xx responses: 7"),
        (
            "http1-10k",
            f"{WRK}  Socket errors: connect 0, read 5, write 0, timeout 0\n",
            "socket errors: connect 0, read 5",
        ),
        ("http1-10k", "unable to connect\n", "unable to connect"),
        ("https-new", '{"requests": 9, "failed": 1, "seconds": 1}', "1 of 10 requests failed"),
    ],
)
def test_failed_requests_are_said_and_give_no_figure(case: str, output: str, why: str, tmp_path: Path) -> None:
    (one,) = cases.chosen(case)
    with pytest.raises(loads.Failed, match=re.escape(why)):
        loads.load(one, 1, 1, tmp_path).read(output)


def test_what_clients_print_is_read(tmp_path: Path) -> None:
    found = [
        loads.load(cases.chosen(name)[0], 1, 1, tmp_path).read(output)
        for name, output in [(CASE, H2LOAD), ("http1-10k", WRK), ("http1-10k", WRK_MINUTE)]
    ]
    assert found == [loads.Count(1000, 0.2), loads.Count(1000, 2.0), loads.Count(156_000, 52.0)]


def test_a_server_that_does_not_start_has_a_cell_that_says_so(tmp_path: Path) -> None:
    broken = servers.Server(
        "ours", "hypercorn", "", lambda case, place: ["sh", "-c", "echo no such module >&2; exit 3"]
    )
    bench = measuring.Bench(Path(sys.executable), tmp_path, 1, 0.1)
    row = bench.measure(cases.chosen(CASE)[0], [broken])
    assert row.cells["ours"] == Cell("ours", "did not start: no such module")


def test_a_ratio_is_of_rounds_and_the_tables_have_no_empty_cell() -> None:
    one, two = cases.chosen("http1-10k,http1-10k-2w")

    def cell(*rates: float) -> Cell:
        return Cell("any", samples=[Sample(rate, 1e6 / rate, 0.95) for rate in rates])

    assert results.ratio(cell(200, 20, 2), cell(100, 10, 10), "requests_per_second") == 2
    lacking = Cell("any", "no HTTP/2")
    cells = {
        "ours": cell(200, 220),
        "plain": cell(100, 100),
        "uvicorn": lacking,
        "gunicorn": lacking,
        "granian": lacking,
    }
    about = dict.fromkeys(("date", "command", "rounds", "seconds", "cpu", "cores", "memory_gib", "system", "kernel"), 0)
    about |= dict.fromkeys(("python", "pinned", "load_before", "load_after"), 0)
    text = report.markdown(Results({**about, "versions": {}}, [Row(one, "wrk", cells), Row(two, "wrk", cells)]))
    assert "| 210 (200–220) * | 100 (100–100) * | **2.10** | no HTTP/2 | no HTTP/2 |" in text
    assert "Requests per second of 2 workers over 1" in text
    assert not re.search(r"\| *\|", text)


def test_packages_are_installed_with_apt_or_the_line_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagematrix.machine.apt.is_debian", lambda: False)
    with pytest.raises(UserError, match="the benchmark needs wrk, nghttp2-client"):
        loads.install()
