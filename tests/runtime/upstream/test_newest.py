"""`make upstream` reports an assumption that breaks. The rounds themselves need the network: upstream.yml runs them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.runtime.upstream import newest

RENAMED = """
import hypercorn.protocol
import hypercorn.protocol.h2
hypercorn.protocol.HTTP2Protocol = hypercorn.protocol.__dict__.pop("H2Protocol")
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
    assert any(line.startswith("hypercorn 0.") and "hypercorn-h2-connection: BREAKS" in line for line in breaks)
    assert "    without it: HTTP/2 clients may lose a request when a worker is replaced" in lines
    assert [line for line in lines if "trio-accepts-on-the-descriptor: holds" in line]
