"""`make upstream` reports an assumption that breaks. The rounds themselves need the network: upstream.yml runs them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.runtime.upstream import newest

# One without which no client waits in vain.
RENAMED = """
import hypercorn.asyncio.statsd
hypercorn.asyncio.statsd.StatsLogger = hypercorn.asyncio.statsd.__dict__.pop("StatsdLogger")
"""


def test_a_class_that_hypercorn_renames_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text(RENAMED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(newest, "environment", lambda directory, options: Path(sys.executable))
    monkeypatch.setattr(newest, "ROUNDS", {"newest": ()})
    assert newest.main() == 1
    lines = capsys.readouterr().out.splitlines()
    breaks = [line.strip() for line in lines if "BREAKS" in line]
    assert any(line.startswith("hypercorn 0.") and "hypercorn-statsd: BREAKS" in line for line in breaks)
    assert "    without it: statsd gets no metrics" in lines
    assert [line for line in lines if "trio-accepts-on-the-descriptor: holds" in line]
