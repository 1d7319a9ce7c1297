"""`tongqu calls`: what was sent is listed, taken back and sent again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tongqu.core import registry
from tongqu.testing.command_line import Done, inside, make
from tongqu.testing.remote_peer import Peer


@pytest.fixture(autouse=True)
def foreign(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The made-up peer as somebody else's connector."""
    point = EntryPoint("peer", "tongqu.testing.remote_peer:connector", "tongqu.connectors")
    monkeypatch.setattr(registry, "_foreign", lambda: {"peer": point})
    caches = (registry.names, registry.connector)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    make(tmp_path / "a.db", "orders", "id INTEGER PRIMARY KEY, v TEXT", [(1, "x"), (2, "bad"), (3, "z")])
    return Peer(tmp_path / "peer.db")


def sync(folder: Path, how: str = "") -> Done:
    target = f"peer:{folder}/peer.db{how}"
    return inside(folder, "sync", "sqlite:a.db", target, "--table", "orders", "--write", "append", "--json")


def calls(folder: Path, *arguments: str) -> Done:
    return inside(folder, "calls", *arguments, "--json")


def test_calls_are_listed_with_their_outcome(tmp_path: Path, peer: Peer) -> None:
    assert sync(tmp_path).code == 3
    found = calls(tmp_path, "list").document["calls"]
    assert sorted((call["key"], call["outcome"]) for call in found) == [
        ('{"id": 1}', "ok"),
        ('{"id": 2}', "failed"),
        ('{"id": 3}', "ok"),
    ]
    failed = calls(tmp_path, "list", f"peer:{peer.path}", "--outcome", "failed").document["calls"]
    assert [(call["status"], call["detail"]) for call in failed] == [(422, "v must not be 'bad'")]
    (shown,) = calls(tmp_path, "show", failed[0]["id"]).document["calls"]
    assert json.loads(shown["row"]) == {"id": 2, "v": "bad"}
    assert "422" in inside(tmp_path, "calls", "list").out


def test_calls_of_a_run_are_taken_back(tmp_path: Path, peer: Peer) -> None:
    run = sync(tmp_path).document["run"]
    done = calls(tmp_path, "undo", "--run", run)
    assert (done.code, done.document["done"], done.document["not_done"]) == (0, 2, 0)
    left = peer.table("orders")
    assert left is not None
    assert left.num_rows == 0
    again = calls(tmp_path, "undo", "--run", run)
    assert (again.code, {call["message"] for call in again.document["calls"]}) == (3, {"it is undone"})


def test_unknown_calls_are_made_again_and_their_quarantined_rows_settled(tmp_path: Path, peer: Peer) -> None:
    assert sync(tmp_path, "?keyed=no&lose=1").code == 3
    unknown = calls(tmp_path, "list", "--outcome", "unknown").document["calls"]
    assert len(unknown) == 3, "nobody knows what became of the refused one either"
    first = next(call["id"] for call in unknown if call["key"] == '{"id": 1}')
    done = calls(tmp_path, "retry", f"peer:{peer.path}?keyed=no", "--id", first)
    assert (done.code, done.document["done"]) == (0, 1)
    rows = inside(tmp_path, "quarantine", "list", "--state", "all", "--json").document["rows"]
    assert sorted((json.loads(row["original"])["id"], row["state"]) for row in rows) == [
        (1, "replayed"),
        (2, "new"),
        (3, "new"),
    ]
    again = calls(tmp_path, "retry", f"peer:{peer.path}?keyed=no", "--id", first)
    assert (again.code, again.document["calls"][0]["message"]) == (3, "its outcome is ok")


def test_nothing_is_sent_when_no_call_is_named(tmp_path: Path, peer: Peer) -> None:
    done = calls(tmp_path, "retry", f"peer:{peer.path}")
    assert (done.code, done.document["problems"][0]["path"]) == (2, "--id")
    assert peer.calls == 0


def test_a_sink_with_transactions_has_no_calls(tmp_path: Path, peer: Peer) -> None:
    del peer
    done = calls(tmp_path, "list", "sqlite:a.db")
    assert (done.code, done.document["problems"][0]["code"]) == (2, "config.invalid_plan")


def test_an_unknown_id_is_not_found(tmp_path: Path, peer: Peer) -> None:
    done = calls(tmp_path, "show", "nowhere", "--in", f"peer:{peer.path}")
    assert (done.code, done.document["problems"][0]["code"]) == (1, "connector.not_found")
