"""STOMP's frames: whole ones are taken as they come, and what is none is told."""

from __future__ import annotations

from typing import Any

import pytest

from tongqu.connectors.stomp.frames import Frame, decode, encoded
from tongqu.connectors.stomp.settings import from_url

ODD = {"destination": "/queue/a:b", "told": "line\nend\r\\ 北", "content-length": "5"}


def test_a_frame_comes_back_however_it_is_cut() -> None:
    data = b"\n" + encoded("MESSAGE", ODD, b"a\0\nb\0") + b"\n" + encoded("RECEIPT", {"receipt-id": "1"})
    for cut in range(len(data)):
        buffer = bytearray(data[:cut])
        found = [] if (one := decode(buffer)) is None else [one]
        buffer += data[cut:]
        while (one := decode(buffer)) is not None:
            found.append(one)
        assert found == [Frame("MESSAGE", ODD, b"a\0\nb\0"), Frame("RECEIPT", {"receipt-id": "1"})]


def test_of_headers_that_come_twice_the_first_holds() -> None:
    assert decode(bytearray(b"MESSAGE\r\nid:1\r\nid:2\r\n\r\nx\0")) == Frame("MESSAGE", {"id": "1"}, b"x")


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad\nno colon\n\n\0", b"MESSAGE\ncontent-length:1\n\nabc\0"])
def test_what_is_no_frame_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"colon|longer"):
        decode(bytearray(data))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("stomp://h", {"host": "h", "port": 61613, "virtual_host": "", "prefix": "/queue/", "tls": None}),
        ("stomp://me:p%40ss@h:1/lab?prefetch=5", {"user": "me", "port": 1, "virtual_host": "lab", "prefetch": 5}),
        ("stomps://h", {"port": 61614}),
    ],
)
def test_a_url_says_where_and_how(url: str, told: dict[str, Any]) -> None:
    settings = from_url(url)
    assert {name: getattr(settings, name) for name in told} == told


def test_a_url_may_name_a_queue() -> None:
    settings = from_url("stomp://h#queue=/queue/plant/orders&fields=id:int64,at:timestamptz&key=id&bad=reject")
    (said,) = settings.queues.values()
    assert list(settings.queues) == ["orders"]
    assert (said.queue, said.fields, said.key) == (
        "/queue/plant/orders", {"id": "int64", "at": "timestamptz"}, ("id",),
    )  # fmt: skip
