"""API10, unsafe consumption of APIs: whatever a peer answers, it ends as a typed error and no wrong row is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.owasp.house import House

from tongqu.testing.command_line import inside
from tongqu.testing.services.certificates import Authority
from tongqu.testing.services.evil_http import EvilHttp
from tongqu.testing.services.http_peer import HttpPeer

PROJECT = """
project: evil
connections:
  lake: {{type: sqlite, path: lake.db}}
  peer:
    type: rest
    base_url: "{url}"
    limits: {{answer_bytes: 1048576, stream_bytes: 4194304}}
    timeouts: {{read_seconds: 0.5, call_seconds: 1.5}}
    retry: {{attempts: 1}}
    datasets: {{rows: {{path: "/{path}"}}}}
"""
EVIL = [
    "huge", "huge-length", "huge-error", "deep", "bomb", "slow", "slow-head", "endless-head", "silent", "short",
    "cut-chunk", "two-lengths", "not-http", "bad-gzip", "cut-gzip", "html", "html-as-json", "image", "xml-bomb",
    "to-loopback", "to-file", "around",
]  # fmt: skip


@pytest.fixture(scope="module")
def canary() -> Iterator[HttpPeer]:
    """Something inside that must stay silent."""
    with HttpPeer() as peer:
        yield peer
    assert peer.connections == 0


@pytest.fixture(scope="module")
def evil(canary: HttpPeer) -> Iterator[EvilHttp]:
    """The peer."""
    with EvilHttp(canary=f"{canary.url}/inside") as peer:
        yield peer


@pytest.mark.parametrize("path", EVIL)
def test_an_evil_answer_is_an_error_with_a_name(evil: EvilHttp, tmp_path: Path, path: str) -> None:
    (tmp_path / "tongqu.yaml").write_text(PROJECT.format(url=evil.url, path=path))
    done = inside(tmp_path, "sync", "peer", "lake", "--table", "rows", "--json")
    assert done.code == 1, done.out
    problem = done.document["problems"][0]
    assert problem["code"].startswith(("connector.", "access.egress")), problem
    assert "Traceback" not in done.err
    assert written(tmp_path / "lake.db") == 0


def test_the_same_peer_is_read_when_it_does_nothing_wrong(evil: EvilHttp, tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text(PROJECT.format(url=evil.url, path="good"))
    done = inside(tmp_path, "sync", "peer", "lake", "--table", "rows", "--json")
    assert done.code == 0, done.out
    assert written(tmp_path / "lake.db") == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    with HttpPeer(tls=Authority(tmp_path).server()) as peer:
        done = inside(tmp_path, "sync", f"{peer.url}/rows", "sqlite:lake.db", "--json")
        assert done.code == 1
        assert "certificate" in done.document["problems"][0]["code"] + done.document["problems"][0]["message"]
        assert peer.calls == []


def test_what_a_source_holds_is_shown_as_text_and_never_as_markup(house: House) -> None:
    lot = "<script>alert(1)</script>]]>&x;\"'\u2028=1+1"
    with psycopg.connect(house.shop) as connection:
        connection.execute("INSERT INTO items (id, plant, lot) VALUES (90, 'A', %s)", [lot])
    try:
        for accept in ("application/json", "text/csv", "application/xml"):
            answer = house.ask("alpha", "/api/v1/items?id=eq.90", accept=accept)
            assert answer.status == 200
            assert answer.headers["content-type"].startswith(accept)
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert b"<script>" not in house.ask("alpha", "/api/v1/items?id=eq.90", accept="application/xml").body
        assert house.ask("alpha", "/api/v1/items?id=eq.90&select=lot").json == [{"lot": lot}]
    finally:
        house.ask("alpha", "/api/v1/items/90", "DELETE")


def written(path: Path) -> int:
    """Rows of all tables that are not ours."""
    if not path.exists():
        return 0
    database = sqlite3.connect(path)
    try:
        names = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '_tongqu%'"
        ).fetchall()
        return sum(database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in names)
    finally:
        database.close()
