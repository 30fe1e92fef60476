"""What the tests of proxies have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.runtime.certificates import Authority
from tests.runtime.proxies.programs import Files


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


@pytest.fixture
def tls(authority: Authority) -> dict[str, Any]:
    """The variables with which a server speaks TLS on a port of its own."""
    return authority.tls()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Files:
    certificate, key = authority.issue()
    both = tmp_path / "both.pem"
    both.write_text(Path(certificate).read_text() + Path(key).read_text())
    return Files(str(certificate), str(key), str(both))
