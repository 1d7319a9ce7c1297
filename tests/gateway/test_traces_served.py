"""One trace from a caller through queries, writes, intake and webhooks, as a collector of OpenTelemetry sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tongqu.testing.command_line import inside, make
from tongqu.testing.services.gateway import Gateway
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

PROJECT = """
project: plant
connections: {db: {type: sqlite, path: lots.db}}
audit: {traces: {base_url: "%(url)s"}}
apis:
  lots:
    source: {connection: db, dataset: lots, key: [id]}
    access: {public: true, roles: [erp], write_roles: [anonymous]}
    write: {insert: true, ingest: true}
    webhooks:
      erp: {url: "%(url)s/hook", as: erp, secret: "${secret:erp_hook}"}
"""
READS, WRITES, INGESTS = ("1" * 32, "2" * 32, "3" * 32)


def parent(trace: str) -> list[tuple[str, str]]:
    return [("traceparent", f"00-{trace}-{'a' * 16}-01")]


def spans(bodies: list[bytes]) -> dict[tuple[str, str], Any]:
    """All spans by trace and name."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found: dict[tuple[str, str], Any] = {}
    for body in bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                found |= {(span.trace_id.hex(), span.name): span for span in scope.spans}
    return found


def test_a_trace_goes_from_the_caller_to_the_query_the_change_and_the_webhook(tmp_path: Path) -> None:
    hooks: list[Asked] = []
    collected: list[bytes] = []

    def hook(asked: Asked, out: Out) -> None:
        hooks.append(asked)
        out.answer(204)

    def collect(asked: Asked, out: Out) -> None:
        collected.append(asked.body)
        out.answer(200)

    make(tmp_path / "lots.db", "lots", "id INTEGER PRIMARY KEY, weight REAL", [(1, 1.0)])
    with HttpPeer({"/hook": hook, "/v1/traces": collect}) as peer:
        (tmp_path / "tongqu.yaml").write_text(PROJECT % {"url": peer.url}, encoding="utf-8")
        assert inside(tmp_path, "secret", "init").code == 0
        assert inside(tmp_path, "webhook", "rotate", "erp").code == 0
        assert inside(tmp_path, "client", "add", "erp", "--role", "erp", "--key", "api-key").code == 0
        with Gateway(tmp_path) as gateway:
            read = gateway.ask("/api/v1/lots?weight=eq.1", headers=parent(READS))
            wrote = gateway.ask("/api/v1/lots", "POST", {"id": 2, "weight": 2}, headers=parent(WRITES))
            kept = gateway.ask("/ingest/lots", "POST", {"id": 3, "weight": 3}, headers=parent(INGESTS))
            assert (read.status, wrote.status, kept.status) == (200, 201, 202)
            gateway.until(lambda _: len(hooks) == 2)
            assert gateway.stop() == 0
    found = spans(collected)

    # the span that an answer names is the one that was exported, below the caller's
    for trace, answer, name in ((READS, read, "GET lots"), (WRITES, wrote, "POST lots"), (INGESTS, kept, "POST lots")):
        call = found[trace, name]
        assert answer.headers["traceparent"] == f"00-{trace}-{call.span_id.hex()}-01"
        assert call.parent_span_id.hex() == "a" * 16

    # queries and changes are below the call, that which was taken in too
    assert found[READS, "query"].parent_span_id == found[READS, "GET lots"].span_id
    for trace in (WRITES, INGESTS):
        assert found[trace, "transact"].parent_span_id == found[trace, "POST lots"].span_id
        delivery = found[trace, "webhook"]
        assert delivery.parent_span_id == found[trace, "POST lots"].span_id
        assert f"00-{trace}-{delivery.span_id.hex()}-01" in [asked.headers["traceparent"] for asked in hooks]
    assert "weight" not in "".join(str(span) for span in found.values())
