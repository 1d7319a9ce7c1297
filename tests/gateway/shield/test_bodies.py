"""JSON, XML and compressed bodies beyond limits are refused, and never expanded."""

from __future__ import annotations

import gzip
import zlib

import pytest

from tongqu.gateway.problems import Problem
from tongqu.gateway.settings import SizesEntry
from tongqu.gateway.shield.bodies import json_body, unpacked, xml_body

SIZES = SizesEntry(depth=3, items=10, string_bytes=64, inflated=20)
LAUGHS = (
    b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;">]><lolz>&lol2;</lolz>"""
)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"a":{"b":{"c":{}}}}', "body.too_large"),
        (b"[" * 2000 + b"]" * 2000, "body.malformed"),
        (b"[" * 900 + b"]" * 900, "body.too_large"),
        (b"[1,2,3,4,5,6,7,8,9,10,11]", "body.too_large"),
        (b'["' + b"a" * 65 + b'"]', "body.too_large"),
        (b'{"' + b"a" * 65 + b'":1}', "body.too_large"),
        ('["' + "张" * 22 + '"]', "body.too_large"),
        (b"[NaN]", "body.malformed"),
        (b"[1] [2]", "body.malformed"),
        (b'["\\ud800"]', "body.malformed"),
        (b"\xff", "body.malformed"),
        (b"", "body.malformed"),
    ],
)
def test_json(body: bytes | str, code: str) -> None:
    with pytest.raises(Problem) as refused:
        json_body(body.encode() if isinstance(body, str) else body, SIZES)
    assert refused.value.code == code


def test_json_within_limits() -> None:
    assert json_body(b'{"lots":["L1",{"n":1}]}', SIZES) == {"lots": ["L1", {"n": 1}]}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (LAUGHS, "body.malformed"),
        (b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>', "body.malformed"),
        (LAUGHS.decode().replace('<?xml version="1.0"?>', "").encode("utf-16"), "body.malformed"),
        (b'<?xml version="1.0" encoding="UTF-7"?><r/>', "body.malformed"),
        (b"<a><b><c><d/></c></b></a>", "body.too_large"),
        (b"<a>" + b"<b/>" * 11 + b"</a>", "body.too_large"),
        (b"<a x='" + b"y" * 65 + b"'/>", "body.too_large"),
        (b"<a>", "body.malformed"),
    ],
)
def test_xml(body: bytes, code: str) -> None:
    with pytest.raises(Problem) as refused:
        xml_body(body, SIZES)
    assert refused.value.code == code


def test_xml_within_limits() -> None:
    assert xml_body("<批><lot>L1</lot><!-- x --></批>".encode(), SIZES)[0].text == "L1"


def test_a_compressed_body_is_only_inflated_as_far_as_it_may() -> None:
    assert unpacked(gzip.compress(b"x" * 5000), "gzip", 1 << 20, SIZES) == b"x" * 5000
    assert unpacked(zlib.compress(b"abc"), "deflate", 1 << 20, SIZES) == b"abc"
    assert unpacked(b"abc", "", 1 << 20, SIZES) == b"abc"
    for body, encoding, code in [
        (gzip.compress(b"0" * (8 << 20)), "gzip", "body.too_large"),
        (gzip.compress(b"x" * 5000)[:-3], "gzip", "body.malformed"),
        (gzip.compress(b"a") + gzip.compress(b"b"), "gzip", "body.malformed"),
        (b"no", "gzip", "body.malformed"),
        (b"x", "gzip, gzip", "media.unknown"),
        (b"x", "br", "media.unknown"),
    ]:
        with pytest.raises(Problem) as refused:
            unpacked(body, encoding, 1 << 20, SIZES)
        assert refused.value.code == code
