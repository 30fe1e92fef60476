# SPDX-License-Identifier: MIT
"""HTTP/1.1 without h11, for asyncio and uvloop: the plain requests. Everything else is Hypercorn's.

`connection.Connection` comes before Hypercorn's own protocol. It reads a request's head with the two regular
expressions of h11, and answers in one task and, if the application does not wait in between, in one write. All else is
handed over to Hypercorn, and the connection stays there: HTTP/2, WebSocket and h2c upgrades, HTTP/1.0, chunked uploads,
Expect, CONNECT, every head that breaks a rule. Clients and applications see no difference: tests/runtime/http1 sends
the same bytes to both, compares, and lists the two exceptions.
"""
