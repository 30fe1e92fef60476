"""The cases: valid and malformed heads, bodies, pipelines, cuts at every byte, smuggling pairs, mutations.

Each is what a client sends. What a server should answer is not written down: plain Hypercorn says it. Two kinds are not
among them, since the fast path does better there (test_same.py). The smuggling pairs
are those of RFC 9112, 11.2, and of the corpora of portswigger/http-request-smuggler and regilero's HTTP suites.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.runtime.http1.application import ANSWERS, HEADERS
from tests.runtime.http1.both import Case

MUTATIONS = 1400
STATUSES = (99, 100, 101, 103, 199, 200, 201, 204, 205, 206, 301, 304, 400, 404, 500, 599, 600, 999, 1000)


def request(
    target: str = "/echo", method: str = "GET", *headers: str, body: bytes = b"", host: str | None = "a"
) -> bytes:
    """Return a request; one with a body says its length."""
    lines = [f"{method} {target} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def _answers() -> Iterator[Case]:
    targets = [f"/{name}" for name in ANSWERS if name not in ("status", "emptystatus", "headers")]
    targets += [f"/{kind}/{status}" for kind in ("status", "emptystatus") for status in STATUSES]
    targets += [f"/headers/{name}" for name in HEADERS]
    for target in targets:
        for method in ("GET", "HEAD", "POST", "OPTIONS", "DELETE"):
            for data in (b"hello", b"") if method == "POST" else (b"",):
                yield Case(f"answer {method} {target} {data!r}", (request(target, method, body=data),))
        yield Case(f"answer closing {target}", (request(target, "GET", "Connection: close"),))
        yield Case(f"answer piped {target}", (request(target) + request("/echo?next"),))


HEADS: dict[str, bytes] = {
    "http 1.0": b"GET /echo HTTP/1.0\r\nHost: a\r\n\r\n",
    "http 1.0 keep": b"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "http 0.9": b"GET /echo\r\n\r\n",
    "http 2.0": b"GET /echo HTTP/2.0\r\nHost: a\r\n\r\n",
    "http 1.2": b"GET /echo HTTP/1.2\r\nHost: a\r\n\r\n",
    "preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    "bare lf": b"GET /echo HTTP/1.1\nHost: a\n\n",
    "mixed lf": b"GET /echo HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
    "lf in the end": b"GET /echo HTTP/1.1\r\nHost: a\r\n\n",
    "bare cr": b"GET /echo HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "empty line first": b"\r\n" + request(),
    "two empty lines first": b"\r\n\r\n" + request(),
    "lf first": b"\n" + request(),
    "space first": b" " + request(),
    "tls hello": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    "nul first": b"\0" + request(),
    "no host": request(host=None),
    "two hosts": request("/echo", "GET", "Host: b"),
    "two same hosts": request("/echo", "GET", "Host: a"),
    "empty host": request(host=""),
    "odd host": request(host="a b"),
    "no version": b"GET /echo \r\nHost: a\r\n\r\n",
    "two spaces": b"GET  /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab": b"GET\t/echo HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in the target": b"GET /echo ing HTTP/1.1\r\nHost: a\r\n\r\n",
    "space after the version": b"GET /echo HTTP/1.1 \r\nHost: a\r\n\r\n",
    "lower version": b"GET /echo http/1.1\r\nHost: a\r\n\r\n",
    "long version": b"GET /echo HTTP/1.10\r\nHost: a\r\n\r\n",
    "odd method": b"G@T /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    "token method": b"M-SEARCH~ /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    "lower method": b"get /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    "lower head": b"head /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    "no method": b" /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    "connect": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "connect echo": b"CONNECT /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute": b"GET http://a/echo HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "escapes": request("/echo/%C3%A9%2F%zz%?a=%20&b=?c"),
    "bad utf": request("/echo/%ff%fe"),
    "raw utf": "GET /echo/é HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "fragment": request("/echo#part"),
    "quotes": request('/echo?"<>^`{|}'),
    "long target": request("/echo?" + "x" * 8000),
    "too long target": request("/echo?" + "x" * 20000),
    "endless target": b"GET /echo?" + b"x" * 20000,
    "many headers": request("/echo", "GET", *(f"X-{number}: {number}" for number in range(200))),
    "too many headers": request("/echo", "GET", *(f"X-{number}: {'y' * 90}" for number in range(300))),
    "folded": b"GET /echo HTTP/1.1\r\nHost: a\r\nX-Long: one\r\n two\r\n\tthree\r\n\r\n",
    "folded first": b"GET /echo HTTP/1.1\r\n Host: a\r\n\r\n",
    "folded length": b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 5\r\n\r\nhello",
    "space before the colon": request("/echo", "GET", "X-Name : b"),
    "no colon": request("/echo", "GET", "X-Name"),
    "no name": request("/echo", "GET", ": value"),
    "empty value": request("/echo", "GET", "X-Empty:", "X-Spaces:   \t "),
    "spaced value": request("/echo", "GET", "X-Spaced: \t a  b\tc \t"),
    "latin value": request("/echo", "GET", "X-Latin: Grüße"),
    "nul value": request("/echo", "GET", "X-Nul: a\0b"),
    "control value": request("/echo", "GET", "X-Control: a\x01b\x7f"),
    "form feed": request("/echo", "GET", "X-Feed: a\x0cb"),
    "case": b"GET /echo HTTP/1.1\r\nHOST: a\r\nuSER-aGENT: Me\r\nReferer: http://b/\r\n\r\n",
    "cookies": request("/echo", "GET", "Cookie: a=1", "Cookie: b=2"),
    "underscore": request("/echo", "GET", "X_Under: 1", "Content_Length: 5"),
    "connection close": request("/echo", "GET", "Connection: close"),
    "connection Close": request("/echo", "GET", "Connection: CLOSE"),
    "connection list": request("/echo", "GET", "Connection: x, close ,y"),
    "connection keep": request("/echo", "GET", "Connection: keep-alive"),
    "connection both": request("/echo", "GET", "Connection: keep-alive", "Connection: close"),
    "connection empty": request("/echo", "GET", "Connection: ,"),
    "connection closed": request("/echo", "GET", "Connection: closed"),
    "h2c upgrade": request(
        "/echo", "GET", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"
    ),
    "h2c upgrade with a body": request("/echo", "POST", "Connection: Upgrade", "Upgrade: h2c", body=b"hello"),
    "h2c without connection": request("/echo", "GET", "Upgrade: h2c"),
    "unknown upgrade": request("/echo", "GET", "Connection: Upgrade", "Upgrade: foo/2"),
    "settings alone": request("/echo", "GET", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    "expect": request("/echo", "POST", "Expect: 100-continue", body=b"hello"),
    "expect without a body": request("/echo", "GET", "Expect: 100-continue"),
    "expect something": request("/echo", "POST", "Expect: 200-ok", body=b"hello"),
    "expect and answer early": request("/early", "POST", "Expect: 100-continue", body=b"hello"),
    "websocket of an unknown version": request(
        "/echo", "GET", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 1"
    ),
    "websocket by post": request("/echo", "POST", "Connection: Upgrade", "Upgrade: websocket"),
}


def _length(*values: str, body: bytes = b"hello") -> bytes:
    return request("/echo", "POST", *(f"Content-Length: {value}" for value in values)) + body


def _chunked(body: bytes, *headers: str, value: str = "chunked") -> bytes:
    return request("/echo", "POST", f"Transfer-Encoding: {value}", *headers) + body


BODIES: dict[str, bytes] = {
    "length": _length("5"),
    "length 0": _length("0", body=b""),
    "length 00": _length("005"),
    "length twice": _length("5", "5"),
    "length differs": _length("5", "6"),
    "length list": _length("5, 5"),
    "length list differs": _length("5, 6"),
    "length signed": _length("+5"),
    "length negative": _length("-5"),
    "length hex": _length("0x5"),
    "length float": _length("5.0"),
    "length empty": _length(""),
    "length word": _length("five"),
    "length spaced": _length("5 5"),
    "length underscored": _length("1_0", body=b"hellohello"),
    "length superscript": _length("\xb2", body=b"he"),
    "length of 18": _length("0" * 17 + "5"),
    "length of 19": _length("0" * 18 + "5"),
    "length of 20": _length("0" * 19 + "5"),
    "length of 21": _length("0" * 20 + "5"),
    "length of 400": _length("9" * 400),
    "length too much": _length("500"),
    "length too little": _length("3"),
    "length of a get": request("/echo", "GET", body=b"hello"),
    "length of a head": request("/echo", "HEAD", body=b"hello"),
    "early": request("/early", "POST", body=b"hello"),
    "raises and incomplete": request("/raises", "POST", "Content-Length: 50") + b"hello",
    "large": request("/echo", "POST", body=b"z" * 300_000),
    "large and early": request("/early", "POST", body=b"z" * 300_000),
    "chunked": _chunked(b"5\r\nhello\r\n0\r\n\r\n"),
    "chunked upper": _chunked(b"5\r\nhello\r\n0\r\n\r\n", value="Chunked"),
    "chunked in pieces": _chunked(b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n"),
    "chunked hex": _chunked(b"A\r\nhellohello\r\n0\r\n\r\n"),
    "chunked zeros": _chunked(b"0005\r\nhello\r\n000\r\n\r\n"),
    "chunked extension": _chunked(b"5;a=b;c\r\nhello\r\n0;d\r\n\r\n"),
    "chunked trailers": _chunked(b"5\r\nhello\r\n0\r\nX-Trailer: a\r\n\r\n", "Trailer: X-Trailer"),
    "chunked bad trailers": _chunked(b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n"),
    "chunked spaced size": _chunked(b"5 \r\nhello\r\n0\r\n\r\n"),
    "chunked bad size": _chunked(b"x\r\nhello\r\n0\r\n\r\n"),
    "chunked signed size": _chunked(b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunked 0x": _chunked(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunked huge": _chunked(b"fffffffffffffffff\r\nhello"),
    "chunked bare lf": _chunked(b"5\nhello\n0\n\n"),
    "chunked no crlf": _chunked(b"5\r\nhello0\r\n\r\n"),
    "chunked incomplete": _chunked(b"5\r\nhel"),
    "chunked list": _chunked(b"5\r\nhello\r\n0\r\n\r\n", value="gzip, chunked"),
    "identity": _chunked(b"hello", value="identity"),
    "gzip": _chunked(b"hello", value="gzip"),
    "chunked twice": _chunked(b"5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    "cl.te": _chunked(b"0\r\n\r\nG", "Content-Length: 6"),
    "te.cl": _chunked(b"5c\r\nGPOST / HTTP/1.1\r\nHost: a\r\n\r\n0\r\n\r\n", "Content-Length: 4"),
    "te.te": _chunked(b"0\r\n\r\n", "Transfer-Encoding: x"),
    "te tab": _chunked(b"0\r\n\r\n", value="\tchunked"),
    "te vertical tab": _chunked(b"0\r\n\r\n", value="\x0bchunked"),
    "te quoted": _chunked(b"0\r\n\r\n", value='"chunked"'),
    "te xchunked": _chunked(b"0\r\n\r\n", value="xchunked"),
    "te name space": request("/echo", "POST", "Transfer-Encoding : chunked", "Content-Length: 5") + b"0\r\n\r\n",
    "te folded": request("/echo", "POST", "Transfer-Encoding:\r\n chunked", "Content-Length: 5") + b"0\r\n\r\n",
    "te nul": request("/echo", "POST", "Transfer-Encoding: chunked\0", "Content-Length: 5") + b"0\r\n\r\n",
    "te underscore": request("/echo", "POST", "Transfer_Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n",
    "cl cr": b"POST /echo HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 5\r\n\r\nhello",
    "cl lf": b"POST /echo HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 5\r\n\r\nhello",
    "cl.0": request("/early", "POST", "Content-Length: 40") + b"GET /echo?smuggled HTTP/1.1\r\nHost: b\r\n\r\n",
}
PLAIN = {"get": request(), "post": request("/echo", "POST", body=b"hello"), "disconnect": request("/disconnect")}


def _single() -> Iterator[Case]:
    for name, data in {**HEADS, **BODIES}.items():
        for ends in (False, True):
            yield Case(f"{name} {ends}", (data,), ends)
        yield Case(f"{name} after another", (PLAIN["get"], data))
        piped = Case(f"{name} piped", (PLAIN["post"] + data + PLAIN["get"],))
        if not piped.closes:
            yield piped


def _cuts() -> Iterator[Case]:
    cut = {**PLAIN, "two": PLAIN["post"] + PLAIN["get"], "chunked": BODIES["chunked trailers"], "lf": HEADS["bare lf"]}
    for name, data in cut.items():
        for position in range(1, len(data)):
            yield Case(f"{name} cut at {position}", (data[:position], data[position:]))
            yield Case(f"{name} ended at {position}", (data[:position],), True)
    for name, data in {**PLAIN, "two": cut["two"]}.items():
        yield Case(f"{name} byte by byte", tuple(data[at : at + 1] for at in range(len(data))))


def _pipelines() -> Iterator[Case]:
    parts = {**PLAIN, "chunks": request("/chunks"), "slowly": request("/slowly")}
    parts |= {
        "early": BODIES["early"],
        "chunked": BODIES["chunked"],
        "1.0": HEADS["http 1.0"],
        "raises": request("/raises"),
    }
    for first, one in parts.items():
        for second, two in parts.items():
            for ends in (False, True):
                yield Case(f"pipeline {first}, {second} {ends}", (one + two,), ends)
    yield Case("pipeline of 50", (PLAIN["get"] * 50,))


def _mutations() -> Iterator[Case]:
    """Yield heads and bodies with bytes changed, put in, taken out and doubled; the same ones every time."""
    chance = random.Random(9112)
    sources = [*HEADS.values(), *BODIES.values(), *PLAIN.values()]
    sources = [data for data in sources if len(data) < 2000 and b"close" not in data.lower() and b"/early" not in data]
    interesting = [
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b"\0",
        b":",
        b",",
        b";",
        b"0",
        b"\xff",
        b"HTTP/1.1",
        b"Host: b\r\n",
    ]
    for number in range(MUTATIONS):
        data = bytearray(chance.choice(sources))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data) + 1)
            what = chance.randrange(4)
            if what == 0:
                data[at:at] = chance.choice(interesting)
            elif what == 1:
                del data[at : at + chance.randint(1, 4)]
            elif what == 2:
                data[at : at + 1] = bytes([chance.randrange(256)])
            else:
                data[at:at] = data[at : at + chance.randint(1, 20)]
        yield Case(f"mutation {number}", (bytes(data),), chance.random() < 0.3)


CASES = [*_answers(), *_single(), *_cuts(), *_pipelines(), *_mutations()]
