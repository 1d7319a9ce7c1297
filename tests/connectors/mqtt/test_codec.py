"""Packets come back as they were, and whatever else comes is told as no MQTT."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.connectors.mqtt import codec
from tongqu.connectors.mqtt.codec import Properties, Publish
from tongqu.core.errors import AnswerError

MOST = 1 << 20


@settings(max_examples=40)
@given(st.text(max_size=20), st.binary(max_size=300), st.integers(0, 2), st.booleans())
def test_a_message_comes_back(topic: str, body: bytes, qos: int, retain: bool) -> None:
    topic = topic.replace("\0", "")
    properties = Properties({codec.CONTENT_TYPE: "text/plain"}, (("a", "1"), ("a", "2")))
    sent = Publish(topic, body, qos, retain, 7 if qos else 0, properties)
    buffer = bytearray(codec.published(sent) + b"\xd0")
    found = codec.taken(buffer, MOST)
    assert found is not None
    assert (found[0], codec.message(found[1], found[2]), bytes(buffer)) == (codec.PUBLISH, sent, b"\xd0")


@settings(max_examples=60)
@given(st.integers(0, 15), st.binary(max_size=40))
def test_what_is_no_message_is_told(flags: int, body: bytes) -> None:
    try:
        codec.message(flags, body)
    except AnswerError as error:
        assert "no MQTT 5" in error.message


def test_a_packet_is_taken_when_it_is_whole() -> None:
    whole = codec.answer(codec.PUBACK, 300)
    assert [codec.taken(bytearray(whole[:n]), MOST) for n in range(len(whole))] == [None] * len(whole)
    assert codec.taken(bytearray(whole), MOST) == (codec.PUBACK, 0, b"\x01\x2c")


@pytest.mark.parametrize("told", [b"\x30\xff\xff\xff\xff\x01", b"\x30\xff\xff\xff\x7f"])
def test_a_length_that_is_too_large_is_refused_before_it_comes(told: bytes) -> None:
    with pytest.raises(AnswerError):
        codec.taken(bytearray(told), MOST)
