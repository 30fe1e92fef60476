"""HTTP/2 where workers are replaced or stop: what does not need many clients."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx

from tests.runtime.h2client import fetch_all
from tests.runtime.launching import Launch, every_class
from tests.runtime.server import APPLICATIONS


@every_class
def test_requests_of_one_connection_that_are_in_progress_at_a_stop_are_answered(
    server: Launch, worker_class: str
) -> None:
    with server(WEB_CONCURRENCY="1", WORKER_CLASS=worker_class) as one:
        one.serving()
        sizes: list[int | None] = []
        paths = ["/slow?seconds=1"] * 20
        thread = threading.Thread(target=lambda: sizes.extend(fetch_all(one.address, paths)))
        thread.start()
        one.wait_events("slow", 20)
        assert one.stop() == 0
        thread.join()
        assert len(sizes) == 20
        assert None not in sizes


def test_scopes_can_be_copied(server: Launch, tmp_path: Path) -> None:
    """Hypercorn's own ProxyFixMiddleware copies them deeply."""
    (tmp_path / "proxied.py").write_text(
        "from hypercorn.middleware import ProxyFixMiddleware\nimport main\n"
        "app = ProxyFixMiddleware(main.app, mode='legacy', trusted_hops=1)\n"
    )
    path = f"{tmp_path}:{APPLICATIONS}"
    with server(MODULE_NAME="proxied", PYTHONPATH=path) as one:
        one.serving()
        assert None not in fetch_all(one.address, ["/"] * 3)
        with httpx.Client(http1=False, http2=True) as client:
            assert client.get("http://{}:{}/".format(*one.address)).status_code == 200
