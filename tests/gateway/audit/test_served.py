"""The audit of a served project: every answered call is in the trail, also after the server was killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tongqu.store.audit.reading import Wanted, newest
from tongqu.store.audit.trail import place_of
from tongqu.store.audit.verify import verify
from tongqu.store.home import Home
from tongqu.testing.command_line import make
from tongqu.testing.services.gateway import Gateway
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

PROJECT = """
project: plant
connections: {db: {type: sqlite, path: lots.db}}
apis:
  lots: {source: {connection: db, dataset: lots}, access: {roles: [anonymous]}}
audit: {sinks: {copy: {type: file, path: "%s"}}, traces: {base_url: "%s"}}
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_every_answered_call_is_in_the_trail_also_after_a_kill(tmp_path: Path) -> None:
    copy = tmp_path / "copy.log"
    make(tmp_path / "lots.db", "lots", "id INTEGER PRIMARY KEY, name TEXT", [(1, "secret-name"), (2, "b")])
    spans: list[bytes] = []

    def collect(asked: Asked, out: Out) -> None:
        spans.append(asked.body)
        out.answer(200)

    collector = HttpPeer({"/v1/traces": collect})
    (tmp_path / "tongqu.yaml").write_text(PROJECT % (copy, collector.url), encoding="utf-8")
    headers = [("traceparent", f"00-{TRACE}-b7ad6b7169203331-01")]
    with Gateway(tmp_path) as gateway:
        home = Home(gateway.home)
        answers = [gateway.ask("/api/v1/lots?name=eq.secret-name", headers=headers) for _ in range(20)]
        assert {answer.status for answer in answers} == {200}
        assert gateway.ask("/api/v1/nothing").status in (401, 404)

        def committed() -> list[dict[str, object]]:
            return newest(place_of(home, make=False), Wanted(kind="call"), 99)

        gateway.until(lambda _: len(committed()) == 20)
        gateway.stop(signal.SIGKILL)
    with Gateway(tmp_path, "--workers", "2") as gateway:
        for _ in range(10):
            assert gateway.ask("/api/v1/lots").status == 200
        found = gateway.until(lambda answer: b"tongqu_processes 2" in answer.body, "/metrics")
        families = {family.name: family for family in text_string_to_metric_families(found.body.decode())}
        calls = [s.value for s in families["tongqu_calls"].samples if s.labels["status"] == "2xx"]
        assert calls == [30, 0]  # what the killed one counted, and no other API
        assert gateway.stop() == 0
    collector.close()
    seen = committed()
    assert len(seen) == 30
    assert [call["trace"] for call in seen].count(TRACE) == 20
    assert {(call["who"], call["api"], call["outcome"]) for call in seen} == {("anonymous", "lots", 200)}
    verdict = verify(place_of(home, make=False))
    assert verdict.ok, verdict
    assert [gap["seq"] for gap in verdict.gaps] != []
    assert "secret-name" not in copy.read_text(encoding="utf-8")
    copied = [json.loads(line.split(" ", 5)[5]) for line in copy.read_text(encoding="utf-8").splitlines()]
    assert b"GET lots" in b"".join(spans)
    assert sum(record["kind"] == "call" for record in copied) == 30
