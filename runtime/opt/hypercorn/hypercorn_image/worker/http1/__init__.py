"""HTTP/1.1 without h11, for asyncio and uvloop: the plain requests. Everything else is Hypercorn's.

`connection.Http1` stands before Hypercorn's own protocol on every connection. It reads a request's head with two
regular expressions, those of h11. It answers in one task and, where the application does not wait in between, in one
write. What is not plain goes to Hypercorn with the bytes as they came, and the connection stays there: HTTP/2,
WebSocket and h2c upgrades, HTTP/1.0, chunked uploads, Expect, CONNECT, every head that breaks a rule.

A client and an application see no difference: tests/runtime/http1 sends the same bytes to both, compares, and lists
the two exceptions. Read in the Hypercorns of `upstream.HTTP1_VERSIONS`: protocol/h11.py, protocol/http_stream.py,
asyncio/tcp_server.py and asyncio/task_group.py; and in h11 0.14 to 0.16: _connection.py, _headers.py and _writers.py.
"""
