"""The event stream format, in whatever pieces it comes; examples of the HTML standard."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.connectors.sse.events import Sent, events
from tongqu.core.errors import AnswerError

EXAMPLES = [
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Sent(b"YHOO\n+2\n10", "", "message")]),
    (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [
            Sent(b"first event", "1", "message"),
            Sent(b"second event", "", "message"),
            Sent(b" third event", "", "message"),
        ],
    ),
    (b"data\n\ndata\ndata\n\ndata:", [Sent(b"", "", "message"), Sent(b"\n", "", "message")]),
    (b"data:test\n\ndata: test\n\n", [Sent(b"test", "", "message")] * 2),
    (b"\xef\xbb\xbfevent: add\r\ndata: 1\r\n\r\n", [Sent(b"1", "", "add")]),
    (b"id: 1\ndata: a\r\rid: x\0y\rdata: b\r\r\n", [Sent(b"a", "1", "message"), Sent(b"b", "1", "message")]),
    (b"retry: 1500\nretry: soon\n\n", [Sent(b"", "", "", 1.5)]),
]


@pytest.mark.parametrize(("stream", "wanted"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples(stream: bytes, wanted: list[Sent]) -> None:
    assert list(events([stream], "", 1000)) == wanted
    assert list(events([stream[n : n + 1] for n in range(len(stream))], "", 1000)) == wanted


def test_an_id_from_before_the_pause_goes_on() -> None:
    assert [one.id for one in events([b"data: a\n\nid: 8\ndata: b\n\n"], "7", 1000)] == ["7", "8"]


def test_what_is_too_large_is_refused() -> None:
    for stream in (b"data: " + b"x" * 2000, b"data: " + b"x" * 2000 + b"\n\n", b"data: xxxxxxxxxx\n" * 100):
        with pytest.raises(AnswerError):
            list(events([stream[n : n + 100] for n in range(0, len(stream), 100)], "", 1000))


@settings(max_examples=60)
@given(
    st.lists(st.text("ab\n", max_size=6), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
)
def test_pieces_and_line_ends_make_no_difference(texts: list[str], end: str, cuts: list[int]) -> None:
    stream = "".join(
        "".join(f"data: {line}{end}" for line in text.split("\n")) + end for text in texts
    ).encode() + b": the end\n"  # fmt: skip
    pieces, at, turn = [], 0, 0
    while at < len(stream):
        pieces.append(stream[at : at + cuts[turn % len(cuts)]])
        at, turn = at + cuts[turn % len(cuts)], turn + 1
    assert [one.data.decode() for one in events(pieces, "", 1000)] == texts
