"""The atoms of the access log are Hypercorn's, and the environment is read only where a format names it."""

from __future__ import annotations

from typing import Any

import pytest
from hypercorn.config import Config
from hypercorn.logging import AccessLogAtoms
from hypercorn_image.atoms import Atoms

HEADERS = [(b"host", b"a"), (b"Referer", b"first"), (b"referer", b"last"), (b"user-agent", b"caf\xe9")]
REQUEST = {
    "type": "http",
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/path",
    "query_string": b"a=1",
    "headers": HEADERS,
    "client": ("127.0.0.1", 1234),
}
RESPONSE = {"status": 201, "headers": [(b"Content-Length", b"5"), (b"x-one", b"1")]}
WEBSOCKET = {"type": "websocket", "scheme": "ws", "path": "/", "query_string": b"", "headers": [], "client": None}


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        pytest.param(REQUEST, RESPONSE, id="answered"),
        pytest.param(REQUEST, None, id="not answered"),
        pytest.param({**REQUEST, "client": None, "headers": []}, {"status": 799}, id="no client and no header"),
        pytest.param({**REQUEST, "client": ("a",)}, RESPONSE, id="a client without a port"),
        pytest.param({**REQUEST, "client": (1, 2, 3)}, RESPONSE, id="a client of another kind"),
        pytest.param(WEBSOCKET, None, id="a WebSocket"),
    ],
)
def test_each_atom_is_that_of_hypercorn(monkeypatch: pytest.MonkeyPatch, request_: Any, response: Any) -> None:
    monkeypatch.setattr("time.strftime", lambda text: text)  # the second may change in between
    monkeypatch.setenv("OF_THE_ENVIRONMENT", "found")
    expected = AccessLogAtoms(request_, response, 1.5)
    found = Atoms(request_, response, lambda: expected)
    named = [*expected, "{of_the_environment}e", "{X-One}o", "{none}i", "none"]
    assert {name: found[name] for name in named} == {name: expected[name] for name in named}
    assert dict(found) == {name: expected[name] for name in expected}


def never() -> Any:
    raise AssertionError("the default format needs none of Hypercorn's")


def test_the_default_format_reads_no_environment() -> None:
    line = Config().access_log_format % Atoms(REQUEST, RESPONSE, never)
    assert line.endswith('"POST /path 1.1" 201 5 "last" "café"')


def test_a_port_that_the_proxy_has_not_said_is_left_out() -> None:
    assert Atoms({**REQUEST, "client": ("192.0.2.7", 0)}, RESPONSE, never)["h"] == "192.0.2.7"
