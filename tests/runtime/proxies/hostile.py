"""What proxies and those who lie send, and what becomes of it. The peer is 127.0.0.1; 10.0.0.0/8 is trusted too."""

from __future__ import annotations

from typing import Any, NamedTuple

TRUSTED = "127.0.0.1,10.0.0.0/8,2001:db8:1::/48"
CLIENT = "192.0.2.7"


class Case(NamedTuple):
    """`headers` as they are sent, and what of the scope is not as without them."""

    name: str
    headers: list[tuple[str, str]]
    changes: dict[str, Any]


def x(what: str, *values: str) -> list[tuple[str, str]]:
    return [(f"X-Forwarded-{what}", value) for value in values]


def forwarded(*values: str) -> list[tuple[str, str]]:
    return [("Forwarded", value) for value in values]


def client(host: str, port: int = 0) -> dict[str, Any]:
    return {"client": [host, port]}


HTTPS = {"scheme": "https"}
PUBLIC = {"server": ["example.com", 80], "host": "example.com"}
PUBLIC_81 = {"server": ["example.com", 81], "host": "example.com:81"}
PUBLIC_443 = {**HTTPS, "server": ["example.com", 443], "host": "example.com"}
PREFIXED = {"root_path": "/api", "path": "/api/x%20y", "raw_path": "/api/x%2520y"}

CASES = [
    # ---- X-Forwarded-For
    Case("an address", x("For", CLIENT), client(CLIENT)),
    Case("an address with a port", x("For", f"{CLIENT}:4711"), client(CLIENT, 4711)),
    Case("IPv6", x("For", "2001:db8::7"), client("2001:db8::7")),
    Case("IPv6 in brackets", x("For", "[2001:db8::7]"), client("2001:db8::7")),
    Case("IPv6 with a port", x("For", "[2001:db8::7]:4711"), client("2001:db8::7", 4711)),
    Case("IPv6 in another spelling", x("For", "2001:DB8:0:0::7"), client("2001:db8::7")),
    Case("IPv4 inside of IPv6", x("For", f"::ffff:{CLIENT}"), client(CLIENT)),
    Case("a trusted one inside of IPv6", x("For", f"{CLIENT}, ::ffff:10.1.2.3"), client(CLIENT)),
    Case("what the client has made up", x("For", "6.6.6.6, 192.0.2.7"), client(CLIENT)),
    Case("made up as a trusted one", x("For", "10.6.6.6, 192.0.2.7"), client(CLIENT)),
    Case("two proxies", x("For", "6.6.6.6, 192.0.2.7, 10.0.0.1"), client(CLIENT)),
    Case("two proxies with ports", x("For", "192.0.2.7:1, 10.0.0.1:2,[2001:db8:1::1]:3"), client(CLIENT, 1)),
    Case("only proxies", x("For", "10.0.0.2, 10.0.0.1"), client("10.0.0.2")),
    Case("two headers", x("For", "6.6.6.6", "192.0.2.7, 10.0.0.1"), client(CLIENT)),
    Case("two headers, the last empty", x("For", CLIENT, ""), client(CLIENT)),
    Case("spaces and commas", x("For", " , 6.6.6.6 ,, 192.0.2.7 ,"), client(CLIENT)),
    Case("unknown", x("For", "6.6.6.6, unknown"), {}),
    Case("unknown behind a proxy", x("For", "6.6.6.6, unknown, 10.0.0.1"), client("10.0.0.1")),
    Case("no address", x("For", "localhost"), {}),
    Case("too large", x("For", "999.1.1.1"), {}),
    Case("octal", x("For", "010.0.0.1"), {}),
    Case("a short form", x("For", "127.1"), {}),
    Case("a number", x("For", "2130706433"), {}),
    Case("a network", x("For", "192.0.2.0/24"), {}),
    Case("a zone", x("For", "fe80::1%eth0"), {}),
    Case("markup", x("For", "<script>alert(1)</script>"), {}),
    Case("a quote", x("For", f'"{CLIENT}"'), {}),
    Case("a port that is none", x("For", f"{CLIENT}:99999"), client(CLIENT)),
    Case("digits of another script", x("For", "١٩٢.0.2.7"), {}),
    Case("a thousand made up", x("For", ", ".join(["6.6.6.6"] * 1000) + f", {CLIENT}"), client(CLIENT)),
    Case("with underscores", [("X_Forwarded_For", CLIENT)], {}),
    Case("in capitals", [("X-FORWARDED-FOR", CLIENT)], client(CLIENT)),
    # ---- X-Forwarded-Proto
    Case("https", x("Proto", "https"), HTTPS),
    Case("capitals", x("Proto", "HTTPS"), HTTPS),
    Case("wss for a request", x("Proto", "wss"), HTTPS),
    Case("http", x("Proto", "http"), {}),
    Case("another scheme", x("Proto", "javascript"), {}),
    Case("several schemes", x("Proto", "http, https"), HTTPS),
    Case("several schemes, made up", x("Proto", "https, http"), {}),
    Case("several headers of schemes", x("Proto", "http", "https"), HTTPS),
    # ---- X-Forwarded-Host and -Port
    Case("a host", x("Host", "example.com"), PUBLIC),
    Case("a host with a port", x("Host", "example.com:81"), PUBLIC_81),
    Case("a host over TLS", x("Host", "example.com") + x("Proto", "https"), PUBLIC_443),
    Case("an IPv6 host", x("Host", "[2001:db8::1]:81"), {"server": ["2001:db8::1", 81], "host": "[2001:db8::1]:81"}),
    Case("several hosts", x("Host", "evil.test, example.com"), PUBLIC),
    Case("a host and a port", x("Host", "example.com:1") + x("Port", "81"), PUBLIC_81),
    Case("a port", x("Port", "81"), {"server": ["inside", 81], "host": "inside:81"}),
    Case("the port of TLS", x("Port", "443") + x("Proto", "https"), {**HTTPS, "server": ["inside", 443]}),
    Case("a host with a path", x("Host", "example.com/path"), {}),
    Case("a host with a user", x("Host", "user@example.com"), {}),
    Case("a host with markup", x("Host", '"><script>'), {}),
    Case("a host that is too long", x("Host", "a" * 254), {}),
    Case("a host whose port is none", x("Host", "example.com:99999"), PUBLIC),
    Case("port 0", x("Port", "0"), {}),
    Case("no port", x("Port", "80a"), {}),
    Case("a negative port", x("Port", "-1"), {}),
    # ---- X-Forwarded-Prefix
    Case("a prefix", x("Prefix", "/api"), PREFIXED),
    Case("a prefix with a slash", x("Prefix", "/api/"), PREFIXED),
    Case("several prefixes", x("Prefix", "/evil, /api"), PREFIXED),
    Case("an empty prefix", x("Prefix", "/"), {}),
    Case("another host", x("Prefix", "//evil.test"), {}),
    Case("another host, by backslash", x("Prefix", "/\\evil.test"), {}),
    Case("no path", x("Prefix", "api"), {}),
    Case("a way up", x("Prefix", "/api/.."), {}),
    Case("a link", x("Prefix", "https://evil.test"), {}),
    Case("a query", x("Prefix", "/api?a=1"), {}),
    Case("an escape", x("Prefix", "/%0d%0aevil"), {}),
    Case("markup in a prefix", x("Prefix", "/';alert(1)"), {}),
    # ---- Forwarded
    Case("for", forwarded("for=192.0.2.7"), client(CLIENT)),
    Case("capitals in Forwarded", forwarded("For=192.0.2.7;PROTO=HTTPS"), {**client(CLIENT), **HTTPS}),
    Case("for IPv6", forwarded('for="[2001:db8::7]:4711"'), client("2001:db8::7", 4711)),
    Case("for IPv6 without quotes", forwarded("for=[2001:db8::7]:4711"), client("2001:db8::7", 4711)),
    Case("a hidden port", forwarded('for="192.0.2.7:_port"'), client(CLIENT)),
    Case(
        "everything",
        forwarded("for=192.0.2.7;host=example.com;proto=https;by=10.0.0.1"),
        {**client(CLIENT), **PUBLIC_443},
    ),
    Case("a quoted host", forwarded('for=192.0.2.7;host="example.com:81"'), {**client(CLIENT), **PUBLIC_81}),
    Case("an escaped host", forwarded('host="ex\\ample.com"'), PUBLIC),
    Case("Forwarded, made up", forwarded("for=6.6.6.6;proto=https, for=192.0.2.7"), client(CLIENT)),
    Case("Forwarded in two headers", forwarded("for=6.6.6.6;proto=https", "for=192.0.2.7"), client(CLIENT)),
    Case(
        "the one who has seen the client",
        forwarded("for=6.6.6.6, for=192.0.2.7;proto=https, for=10.0.0.1;proto=http"),
        {**client(CLIENT), **HTTPS},
    ),
    Case("hidden", forwarded("for=6.6.6.6, for=_hidden;proto=https"), HTTPS),
    Case("without for", forwarded("for=6.6.6.6, proto=https"), HTTPS),
    Case("a quote that stays open", forwarded('for="6.6.6.6, for=192.0.2.7'), client(CLIENT)),
    Case(
        "a quote that is closed by the proxy's",
        forwarded('for=6.6.6.6;x=", for="[2001:db8::7]";host="example.com"'),
        {**client("2001:db8::7"), **PUBLIC},
    ),
    Case(
        "commas and semicolons in quotes", forwarded('for=6.6.6.6, for=192.0.2.7;x="a, for=6.6.6.6;b"'), client(CLIENT)
    ),
    Case("an escaped quote", forwarded('for=192.0.2.7;x="\\", for=6.6.6.6;y=\\""'), client(CLIENT)),
    Case("empty elements", forwarded(" , for=192.0.2.7;; ,"), client(CLIENT)),
    Case("nothing but commas", forwarded("," * 4000), {}),
    Case("nothing but quotes", forwarded('",' * 2000), {}),
    Case("malformed", forwarded("for=192.0.2.7 proto=https"), {}),
    Case("for said twice", forwarded("for=192.0.2.7;for=6.6.6.6"), {}),
    Case("no pair", forwarded("192.0.2.7"), {}),
    # ---- both
    Case("X-Forwarded-For wins", x("For", CLIENT) + forwarded("for=6.6.6.6;proto=https"), client(CLIENT)),
    Case("X-Forwarded-Proto wins", x("Proto", "http") + forwarded("for=6.6.6.6;proto=https"), {}),
]
