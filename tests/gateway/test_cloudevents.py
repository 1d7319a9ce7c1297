"""Changes as CloudEvents 1.0, in a body and in headers."""

from __future__ import annotations

import json
from decimal import Decimal

from tongqu.gateway.cloudevents import CloudEvent

DATA = {
    "api": "/api/v1/lots",
    "op": "update",
    "key": {"lot": "甲 1"},
    "row": {"lot": "甲 1", "weight": Decimal("1.50")},
}
EVENT = CloudEvent.of(
    "msg_1", "/api/v1/lots", DATA, "2026-11-22T08:00:00.000Z", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
)


def test_an_event_whole_in_its_body() -> None:
    told = json.loads(EVENT.structured(), parse_float=Decimal)
    assert {name: told[name] for name in ("specversion", "id", "source", "type", "time", "subject")} == {
        "specversion": "1.0", "id": "msg_1", "source": "/api/v1/lots", "type": "io.tongqu.lots.update",
        "time": "2026-11-22T08:00:00.000Z", "subject": '{"lot":"甲 1"}',
    }  # fmt: skip
    assert (told["datacontenttype"], told["data"]) == ("application/json", DATA)


def test_an_event_whose_context_stands_in_headers() -> None:
    headers, body = EVENT.binary()
    assert headers["Content-Type"] == "application/json" and headers["ce-type"] == "io.tongqu.lots.update"
    assert headers["ce-subject"] == "{%22lot%22:%22%E7%94%B2%201%22}"  # as the HTTP binding escapes
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    assert json.loads(body, parse_float=Decimal) == DATA


def test_what_it_does_not_have_is_left_out() -> None:
    event = CloudEvent.of("1", "/api/v1/lots", {"op": "touched"})
    assert set(event.attributes()) == {"specversion", "id", "source", "type"}
