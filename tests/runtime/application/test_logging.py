"""An application that configures logging at its import keeps the access log, in every worker."""

from __future__ import annotations

import signal

import pytest

from tests.runtime.launching import Launch
from tests.runtime.server import request


def test_a_dict_config_leaves_the_access_log_of_a_replaced_worker(server: Launch) -> None:
    with server(MODULE_NAME="configures_logging", WEB_CONCURRENCY=1) as one:
        one.serving()
        request(one.address, "/first")
        one.wait_log("GET /first")
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        request(one.address, "/second")
        one.wait_log("GET /second")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_dict_config_leaves_the_log_without_a_worker_process(server: Launch, log_format: str) -> None:
    with server(MODULE_NAME="configures_logging", WEB_CONCURRENCY=0, LOG_FORMAT=log_format) as one:
        one.serving()
        request(one.address, "/alone")
        one.wait_log("/alone")


def test_a_dict_config_leaves_the_log_of_a_preloaded_application(server: Launch) -> None:
    with server(MODULE_NAME="configures_logging", WEB_CONCURRENCY=1, PRELOAD_APP="true") as one:
        one.serving()
        one.kill(signal.SIGHUP)
        one.wait_log("Reload complete")
        request(one.address, "/second")
        one.wait_log("GET /second")
