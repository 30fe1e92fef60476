"""Makes a TLS 1.3 connection for each request, from several threads: HOST PORT SECONDS PATH THREADS new|resumed."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from collections import Counter

from tests.bench.clients import report
from tests.runtime.server import unverified_tls


def client_context() -> ssl.SSLContext:
    context = unverified_tls()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


class Client:
    """One thread's connections, one after another."""

    def __init__(self, address: tuple[str, int], path: str, resumes: bool) -> None:
        self.address, self.resumes = address, resumes
        self.request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()
        self.context = client_context()
        self.session: ssl.SSLSession | None = None
        self.counts: Counter[str] = Counter()

    def run(self, until: float) -> None:
        while time.monotonic() < until:
            try:
                answer = self._ask()
            except OSError:
                answer = b""
            self.counts["requests" if answer.startswith(b"HTTP/1.1 200") else "failed"] += 1

    def _ask(self) -> bytes:
        sock = socket.create_connection(self.address, timeout=10)
        with self.context.wrap_socket(sock, session=self.session) as tls:
            tls.sendall(self.request)
            answer = b""
            while data := tls.recv(65536):
                answer += data
            self.counts["offered"] += self.session is not None
            self.counts["resumed"] += bool(tls.session_reused)
            if self.resumes:
                self.session = tls.session
        return answer


def main(host: str, port: str, seconds: str, path: str, threads: str, how: str) -> None:
    clients = [Client((host, int(port)), path, how == "resumed") for _ in range(int(threads))]
    began = time.monotonic()
    running = [threading.Thread(target=client.run, args=[began + float(seconds)]) for client in clients]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    report(sum((client.counts for client in clients), Counter()), began)


if __name__ == "__main__":
    main(*sys.argv[1:])
