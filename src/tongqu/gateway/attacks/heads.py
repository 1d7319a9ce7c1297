"""Hostile requests as bytes: smuggling, oversize, forged headers and tokens, nested and exploding bodies."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hostile:
    """One request. `family` groups it; it is refused by any status of `refused`, or by closing the connection."""

    family: str
    name: str
    request: bytes
    refused: frozenset[int] = frozenset(range(400, 500)) | {501, 505}


def hostile(host: str, path: str) -> Iterator[Hostile]:
    """All of them, against a path of the gateway that can be read. Each closes its connection."""
    lines = f"Host: {host}\r\nConnection: close\r\n"
    get = f"GET {path} HTTP/1.1\r\n{lines}"
    post = f"POST {path} HTTP/1.1\r\n{lines}Content-Type: application/json\r\n"
    for name, request in (
        ("CL.TE", post + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
        (
            "TE.CL",
            post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n",
        ),
        ("two lengths", post + "Content-Length: 0\r\nContent-Length: 5\r\n\r\nabcde"),
        ("a list of lengths", post + "Content-Length: 5, 5\r\n\r\nabcde"),
        ("a signed length", post + "Content-Length: +5\r\n\r\nabcde"),
        ("a negative length", post + "Content-Length: -1\r\n\r\n"),
        ("chunked twice", post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        ("an odd transfer encoding", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("space before the colon", post + "Content-Length : 5\r\n\r\nabcde"),
        ("a folded header", get + "X-A: b\r\n c\r\n\r\n"),
        ("two hosts", f"GET {path} HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"),
        ("no host", f"GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n"),
    ):
        yield Hostile("smuggling", name, request.encode())
    for name, request in (
        ("a long target", f"GET {path}?a={'a' * 20_000} HTTP/1.1\r\n{lines}\r\n"),
        ("a thousand parameters", f"GET {path}?{'&'.join(['a=1'] * 1000)} HTTP/1.1\r\n{lines}\r\n"),
        ("a long header", get + f"X-A: {'a' * 100_000}\r\n\r\n"),
        ("a thousand headers", get + "".join(f"X-{n}: a\r\n" for n in range(1000)) + "\r\n"),
        ("a body of a terabyte", post + "Content-Length: 1099511627776\r\n\r\n"),
    ):
        yield Hostile("oversize", name, request.encode())
    for name, request in (
        ("TRACE", f"TRACE {path} HTTP/1.1\r\n{lines}\r\n"),
        ("CONNECT", f"CONNECT evil.example:443 HTTP/1.1\r\n{lines}\r\n"),
        ("a method in a header", get + "X-HTTP-Method-Override: DELETE\r\n\r\n"),
        ("a path in a header", get + "X-Original-URL: /manage/\r\n\r\n"),
        ("an encoded slash", f"GET {path}%2f..%2f..%2fmanage HTTP/1.1\r\n{lines}\r\n"),
        ("a null byte", f"GET {path}%00 HTTP/1.1\r\n{lines}\r\n"),
        ("a line break in the path", f"GET {path}%0d%0aX-A:b HTTP/1.1\r\n{lines}\r\n"),
        ("up to the files", f"GET /docs/../../../etc/passwd HTTP/1.1\r\n{lines}\r\n"),
    ):
        yield Hostile("paths and methods", name, request.encode())
    for name, token in tokens():
        yield Hostile(
            "tokens", name, f"{get}Authorization: Bearer {token}\r\n\r\n".encode(), frozenset({400, 401, 403, 429})
        )
    for name, kind, body in bodies():
        head = f"POST {path} HTTP/1.1\r\n{lines}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        yield Hostile("bodies", name, head.encode() + body)


def tokens() -> Iterator[tuple[str, str]]:
    """Bearer tokens that must never be good."""
    claims = {"sub": "client:admin", "iss": "x", "aud": "x", "exp": 4102444800, "roles": ["admin"]}
    for name, header in (
        ("alg none", {"alg": "none", "typ": "at+jwt"}), ("alg None", {"alg": "None", "typ": "at+jwt"}),
        ("alg HS256", {"alg": "HS256", "typ": "at+jwt"}), ("kid as a path", {"alg": "ES256", "kid": "../../dev/null"}),
        ("kid as SQL", {"alg": "ES256", "kid": "x' UNION SELECT 'k"}), ("a jku", {"alg": "RS256", "jku": "http://127.0.0.1/k"}),
        ("an own key", {"alg": "ES256", "jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}),
    ):  # fmt: skip
        yield name, f"{_coded(header)}.{_coded(claims)}."
        yield f"{name}, signed", f"{_coded(header)}.{_coded(claims)}.{'A' * 86}"
    yield "no token", "null"
    yield "half a token", "eyJhbGciOiJFUzI1NiJ9"
    yield "a long token", "a" * 8000


def bodies() -> Iterator[tuple[str, str, bytes]]:
    """Bodies that take more than they seem."""
    yield "deep JSON", "application/json", b"[" * 100_000 + b"]" * 100_000
    yield "half JSON", "application/json", b'{"a":'
    yield "a number of a megabyte", "application/json", b'{"a":' + b"9" * (1 << 20) + b"}"
    entities = "".join(f'<!ENTITY l{n} "&l{n - 1};&l{n - 1};&l{n - 1};&l{n - 1};">' for n in range(1, 12))
    laughs = f'<!DOCTYPE x [<!ENTITY l0 "lol">{entities}]><x>&l11;</x>'
    yield "billion laughs", "application/xml", laughs.encode()
    yield "an external entity", "application/xml", b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'


def _coded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
