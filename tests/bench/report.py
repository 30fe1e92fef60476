"""README.md of the results: tables of all cases and servers, the machine, and how to have the same again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.bench.cases import Case
from tests.bench.chart import TITLE
from tests.bench.loads import CONNECTIONS, H2_CONNECTIONS, H2_STREAMS, H3_CONNECTIONS, H3_STREAMS, HANDSHAKES
from tests.bench.measuring import Cell, Row
from tests.bench.results import Results, find, ratio, spread
from tests.bench.servers import OURS, PLAIN, TABLE, UVICORN

NAMES = [server.name for server in TABLE]
CLIENT_BOUND = 0.9
"""A client that uses more of its cores than this is what is measured, more than the server."""


def markdown(results: Results) -> str:
    """Return the whole document."""
    about, rows = results.about, results.rows
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "<!-- Written by `make bench`; do not edit. -->",
            f"Made on {about['date']} with `{about['command']}`. The same again: the same command. "
            "All figures are in [results.json](results.json).",
            "",
            f"![{TITLE}](chart.svg)",
            "",
            "## Requests per second",
            "",
            *_explained(about),
            "",
            *_comparison(rows, "requests_per_second"),
            "",
            "## Processor time of the server for one request, in microseconds",
            "",
            "Less is better. It depends less than requests per second do on who else uses the machine.",
            "",
            *_comparison(rows, "server_microseconds"),
            "",
            *_scaling(rows),
            *_resumption(rows),
            *_servers(about),
            "",
            *_machine(about),
            "",
            *_method(),
            "",
        ]
    )


def _explained(about: dict[str, object]) -> list[str]:
    return [
        f"Median of {about['rounds']} rounds of {about['seconds']} s, with least–most. A ratio is the median of "
        "the rounds' ratios. One worker, uvloop and no access log where a case does not say otherwise. A star: the "
        f"client used more than {CLIENT_BOUND:.0%} of its cores, so the server may be able to do more.",
    ]


def _comparison(rows: Iterable[Row], field: str) -> list[str]:
    others = [name for name in NAMES if name not in (OURS, PLAIN)]
    heads = ["case", OURS, PLAIN, f"{OURS} / {PLAIN}", f"{OURS} / {UVICORN}", *others]
    lines = [
        [
            f"{row.case.what} (`{row.case.name}`)",
            _cell(row.cells[OURS], field),
            _cell(row.cells[PLAIN], field),
            _ratio(row, PLAIN, field),
            _ratio(row, UVICORN, field),
            *[_cell(row.cells[name], field) for name in others],
        ]
        for row in rows
    ]
    return _table(heads, lines)


def _cell(cell: Cell, field: str) -> str:
    found = spread(cell, field)
    if found is None:
        return cell.why
    share = spread(cell, "client_share")
    star = " *" if field == "requests_per_second" and share and share.median > CLIENT_BOUND else ""
    return f"{found.median:,.0f} ({found.least:,.0f}–{found.most:,.0f}){star}"


def _ratio(row: Row, other: str, field: str) -> str:
    found = ratio(row.cells[OURS], row.cells[other], field)
    return f"**{found:.2f}**" if found else row.cells[other].why or row.cells[OURS].why


def _scaling(rows: list[Row]) -> list[str]:
    pairs = [(find(rows, row.case.name.removesuffix("-2w")), row) for row in rows if row.case.name.endswith("-2w")]
    lines = [
        [one.case.what, *[_times(row.cells[name], one.cells[name]) for name in NAMES]] for one, row in pairs if one
    ]
    if not lines:
        return []
    text = "On a machine with two cores the client takes its share of both from two workers."
    return ["## Requests per second of 2 workers over 1", "", text, "", *_table(["case", *NAMES], lines), ""]


def _times(two: Cell, one: Cell) -> str:
    found = ratio(two, one, "requests_per_second")
    return f"{found:.2f}" if found else two.why or one.why


def _resumption(rows: Iterable[Row]) -> list[str]:
    lines = [
        [row.case.what, *[_share(row.cells[name]) for name in NAMES]] for row in rows if row.case.clients == "resumed"
    ]
    if not lines:
        return []
    return ["## Share of the TLS sessions that were resumed", "", *_table(["case", *NAMES], lines), ""]


def _share(cell: Cell) -> str:
    found = spread(cell, "resumed_share")
    return f"{found.median:.0%}" if found else cell.why


def _servers(about: dict[str, object]) -> list[str]:
    versions = about["versions"]
    assert isinstance(versions, dict)
    lines = [[server.name, f"{server.package} {versions.get(server.package, '')}", server.note] for server in TABLE]
    return ["## Servers", "", *_table(["server", "version", "what it is"], lines)]


def _machine(about: dict[str, object]) -> list[str]:
    return [
        "## Machine",
        "",
        *_table(
            ["what", "value"],
            [
                ["processor", f"{about['cpu']}, {about['cores']} cores"],
                ["memory", f"{about['memory_gib']} GiB"],
                ["system", f"{about['system']}, Linux {about['kernel']}"],
                ["Python", str(about["python"])],
                ["pinned to cores", str(about["pinned"])],
                ["load average before and after", f"{about['load_before']}, {about['load_after']}"],
            ],
        ),
    ]


def _method() -> list[str]:
    return [
        "## Method",
        "",
        "- All servers run on one Python from wheels, which `tests/bench/requirements.txt` pins.",
        "- For a case all servers are started, and one answer of each is checked. Then they are asked in turn, in "
        "another order in each round. The others are idle meanwhile.",
        f"- HTTP/1.1: wrk with {CONNECTIONS} connections. It takes whole seconds only.",
        f"- HTTP/2: h2load with {H2_CONNECTIONS} connections for each worker, {H2_STREAMS} requests at once on each.",
        f"- HTTP/3: aioquic's client with {H3_CONNECTIONS} connections, {H3_STREAMS} requests at once on each.",
        f"- TLS connections: {HANDSHAKES} threads of a client in Python. WebSocket: {CONNECTIONS} connections.",
        "- A server that fails one request has no figure in that case. Its cell says what failed.",
    ]


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *lines]]


def described(case: Case) -> str:
    """Return a line of `--list`."""
    return f"{case.name:<18} {case.what}"
