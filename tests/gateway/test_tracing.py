"""One trace id from the caller onwards, and spans that a collector reads."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import pytest

from tongqu.core.policy import Actor
from tongqu.gateway.exchange import Notes, Reply, Request
from tongqu.gateway.publication import Publication
from tongqu.gateway.tracing import Trace, Tracing, carried
from tongqu.kit.http.settings import HttpSettings
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

ID, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def hexes() -> Callable[[int], str]:
    return lambda size: "ab" * size


@pytest.mark.parametrize("flags", ["00", "01", "03"])
def test_the_callers_trace_goes_on(flags: str) -> None:
    trace = Trace.of(f"00-{ID}-{SPAN}-{flags}")
    assert trace == Trace(ID, SPAN, flags != "00")
    assert trace.below(hexes()).header == f"00-{ID}-{'ab' * 8}-{'00' if flags == '00' else '01'}"
    assert Trace.of(f"cc-{ID}-{SPAN}-01-what-the-future-will-be") == Trace(ID, SPAN)


@pytest.mark.parametrize(
    "header",
    ["", "x", f"00-{ID}-{SPAN}", f"ff-{ID}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{ID}-{'0' * 16}-01",
     f"00-{ID.upper()}-{SPAN}-01", f"00-{ID}-{SPAN}-01-more", f"00-{ID}-{SPAN}-01\r\n", f"00-{ID}-{SPAN}-0g"],
)  # fmt: skip
def test_a_header_that_is_none_begins_a_trace(header: str) -> None:
    assert Trace.of(header, hexes()) == Trace("ab" * 16, "ab" * 8)


def test_a_trace_is_handed_on_in_headers() -> None:
    assert carried(Trace(ID, SPAN), {"Traceparent": "old", "tracestate": "a=b", "x": "y"}) == {
        "x": "y", "traceparent": f"00-{ID}-{SPAN}-01"
    }  # fmt: skip


async def no_body(limit: int) -> bytes:
    del limit
    return b""


def test_spans_reach_a_collector_under_the_callers_trace() -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    came = Event()

    def collect(asked: Asked, out: Out) -> None:
        out.answer(200)
        came.set()

    request = Request(
        "GET", "/api/v1/lots", "a=eq.SECRET", {"traceparent": f"00-{ID}-{SPAN}-01"}, "10.0.0.1", "0123456789abcdef", ID,
        0.0, no_body, Publication("1"), actor=Actor("client:mes"), notes=Notes("lots", "v1", rows=2),
    )  # fmt: skip
    with HttpPeer({"/v1/traces": collect}) as peer:
        tracing = Tracing(HttpSettings(base_url=peer.url))
        with tracing.span("query", Trace(ID, SPAN), system="postgresql") as below:
            assert below.id == ID
            assert below.span != SPAN
        tracing.saw(request, Reply(504), 0.25)
        tracing.close()
        assert came.is_set()
        read = ExportTraceServiceRequest.FromString(peer.calls[0].body)
    query, call = read.resource_spans[0].scope_spans[0].spans
    assert {query.trace_id.hex(), call.trace_id.hex()} == {ID}
    assert {query.parent_span_id.hex(), call.parent_span_id.hex()} == {SPAN}
    assert (query.name, call.name) == ("query", "GET lots")
    assert 240e6 < call.end_time_unix_nano - call.start_time_unix_nano < 260e6
    assert "SECRET" not in str(read)
    assert call.status.code == 2
