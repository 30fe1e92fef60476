"""chart.svg: for each case, how many times plain Hypercorn's requests per second each server answers."""

from __future__ import annotations

from html import escape
from math import log2

from tests.bench.measuring import Row
from tests.bench.results import ratio
from tests.bench.servers import PLAIN, TABLE

TITLE = "Requests per second, times plain Hypercorn"
LEFT, WIDTH, ROW, TOP, RADIUS = 330, 520, 22, 62, 5
COLOURS = {"ours": "#d9480f", "plain": "#868e96", "uvicorn": "#1c7ed6", "gunicorn": "#2f9e44", "granian": "#9c36b5"}
STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.background { fill: #ffffff }
.grid { stroke: #d0d7de }
.one { stroke: #57606a; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.background { fill: #0d1117 }
.grid { stroke: #30363d }
.one { stroke: #9198a1 }
}"""


def draw(rows: list[Row]) -> str:
    """Return the chart of those cases in which plain Hypercorn has a figure."""
    points = [(row, _ratios(row)) for row in rows if row.cells[PLAIN].samples]
    ratios = [value for _, found in points for value in found.values()] or [1.0]
    low, high = min(-1, int(log2(min(ratios)) - 1)), max(1, int(log2(max(ratios)) + 1))
    height = TOP + ROW * len(points) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 30} {height}" role="img">',
        f"<title>{TITLE}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="background" width="100%" height="{height}" rx="6"/>',
        *_legend(),
        *_grid(low, high, height),
        *[part for number, (row, found) in enumerate(points) for part in _row(number, row, found, low, high)],
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _ratios(row: Row) -> dict[str, float]:
    found = {name: ratio(cell, row.cells[PLAIN], "requests_per_second") for name, cell in row.cells.items()}
    return {name: value for name, value in found.items() if value}


def _place(value: float, low: int, high: int) -> float:
    return LEFT + WIDTH * (log2(value) - low) / (high - low)


def _legend() -> list[str]:
    parts = [f'<text x="10" y="20" font-weight="bold">{TITLE}</text>']
    for number, server in enumerate(TABLE):
        x = LEFT + 100 * number
        parts.append(f'<circle cx="{x}" cy="16" r="{RADIUS}" fill="{COLOURS[server.name]}"/>')
        parts.append(f'<text x="{x + 10}" y="20">{server.name}</text>')
    return parts


def _grid(low: int, high: int, height: int) -> list[str]:
    parts = []
    for power in range(low, high + 1):
        x = _place(2**power, low, high)
        kind = "grid" if power else "one"
        parts.append(f'<line class="{kind}" x1="{x:.0f}" y1="{TOP - 12}" x2="{x:.0f}" y2="{height - 8}"/>')
        parts.append(f'<text x="{x:.0f}" y="{TOP - 18}" text-anchor="middle">{2**power:g}</text>')
    return parts


def _row(number: int, row: Row, found: dict[str, float], low: int, high: int) -> list[str]:
    y = TOP + ROW * number + ROW // 2
    parts = [f'<text x="10" y="{y + 4}">{escape(row.case.what)}</text>']
    for name, value in reversed(found.items()):  # ours is drawn last, over the others
        x = _place(value, low, high)
        title = f"<title>{name}: {value:.2f}</title>"
        parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="{RADIUS}" fill="{COLOURS[name]}">{title}</circle>')
    return parts
