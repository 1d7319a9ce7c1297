"""A sink that sends calls: refused rows, groups that are undone, what the peer cannot do, and the fence."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.data import Checkpoint, Counts, Dataset, Deletes, Split, Write, WriteMode
from tongqu.core.errors import AuthError, ConnectError, FencedError, InvalidPlanError, WriteError
from tongqu.kit.remote.calls import Which
from tongqu.kit.remote.effect import Effects, Op, Outcome
from tongqu.kit.remote.manner import Manner
from tongqu.kit.remote.sink import RemoteSink
from tongqu.kit.remote.writer import Keyed
from tongqu.testing.conformance.resuming import Interrupted, breaking
from tongqu.testing.pour import pour
from tongqu.testing.remote_peer import Peer, PeerSink


def orders(*rows: tuple[int, str, str]) -> pa.Table:
    ids, groups, values = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table({"id": pa.array(ids, pa.int64()), "g": pa.array(groups, pa.string()),
                     "v": pa.array(values, pa.string())})  # fmt: skip


def asked(mode: WriteMode = WriteMode.UPSERT, run: str = "run 1", **more: Any) -> Write:
    return Write("orders", Dataset("orders", orders().schema, ("id",)), mode, "sync", run, ("id",), **more)


def done(counts: Counts) -> dict[str, int]:
    names = ("inserted", "updated", "deleted", "unchanged", "merged", "quarantined")
    return {name: getattr(counts, name) for name in names if getattr(counts, name)}


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    return Peer(tmp_path / "peer.db")


def put(peer: Peer, rows: pa.Table, write: Write, manner: Manner | None = None) -> Counts:
    with closing(PeerSink(peer, manner)) as sink:
        counts = pour(sink, write, [rows])
    assert counts.quarantined == len([row for row in PeerSink(peer).quarantined() if row["run"] == write.run])
    return counts


def test_a_refused_row_goes_to_quarantine_with_the_peers_words(peer: Peer) -> None:
    counts = put(peer, orders((1, "a", "x"), (2, "a", "bad"), (3, "a", "y")), asked())
    assert done(counts) == {"inserted": 2, "quarantined": 1}
    (row,) = PeerSink(peer).quarantined()
    assert (row["code"], row["field"], row["value"]) == ("call.refused", "v", "bad")
    assert row["message"] == "v must not be 'bad'"
    assert row["original"] == '{"id": 2, "g": "a", "v": "bad"}'


def test_rows_that_the_peer_has_are_not_sent_again(peer: Peer) -> None:
    put(peer, orders((1, "a", "x"), (2, "a", "y")), asked())
    before = peer.calls
    counts = put(peer, orders((1, "a", "x"), (2, "a", "z"), (3, "a", "n")), asked(run="run 2"))
    assert done(counts) == {"inserted": 1, "updated": 1, "unchanged": 1}
    assert peer.calls - before == 2


def test_an_old_content_that_comes_back_is_sent(peer: Peer) -> None:
    for number, value in enumerate("xyx"):
        put(peer, orders((1, "a", value)), asked(run=f"run {number}"))
    assert [body for _, _, body in peer.effects()] == [f'{{"id": 1, "g": "a", "v": "{value}"}}' for value in "xyx"]


def test_equal_rows_of_one_run_are_effects_of_their_own(peer: Peer) -> None:
    same = orders((1, "a", "x"), (1, "a", "x"))
    write = Write("orders", Dataset("orders", same.schema), WriteMode.APPEND, "sync", "run 1")
    with closing(PeerSink(peer)) as sink, pytest.raises(Interrupted):
        pour(sink, write, breaking([same, same], 1))
    with closing(PeerSink(peer)) as sink:
        counts = pour(sink, write, [same, same])
    assert (counts.inserted, len(peer.effects())) == (4, 4)


def test_every_row_is_sent_where_nothing_is_skipped(peer: Peer) -> None:
    for run in ("run 1", "run 2"):
        put(peer, orders((1, "a", "x")), asked(run=run), Manner(skip_unchanged=False))
    assert len(peer.effects()) == 2


def test_a_whole_call_that_is_refused_is_halved_down_to_the_bad_row(peer: Peer) -> None:
    class Picky(Peer):
        def call(self, target: str, key: tuple[str, ...], effects: Effects) -> list[Outcome]:
            outcomes = super().call(target, key, effects) if "bad" not in effects.rows["v"].to_pylist() else []
            return outcomes or [Outcome(Result.FAILED, status=400, detail="one of them is bad")] * len(effects)

    from tongqu.kit.remote.effect import Result

    picky = Picky(peer.path)
    picky.batch = 8
    rows = orders(*((n, "a", "bad" if n == 5 else f"v{n}") for n in range(8)))
    assert done(put(picky, rows, asked())) == {"inserted": 7, "quarantined": 1}


def test_a_half_failed_group_is_undone_and_quarantined_whole(peer: Peer) -> None:
    rows = orders((1, "a", "x"), (2, "a", "bad"), (3, "a", "z"), (4, "b", "x"), (5, "b", "y"))
    counts = put(peer, rows, asked(WriteMode.APPEND), Manner(group="g", pause_seconds=0))
    assert done(counts) == {"inserted": 2, "quarantined": 3}
    left = peer.table("orders")
    assert left is not None
    assert set(left["id"].to_pylist()) == {4, 5}
    kept = {row["original"][7]: row["code"] for row in PeerSink(peer).quarantined()}
    assert kept == {"1": "call.undone", "2": "call.refused", "3": "call.undone"}
    states = {call["key"]: (call["outcome"], call["undo"]) for call in PeerSink(peer).calls(Which())}
    assert states['{"id": 1}'] == ("ok", "done")


def test_a_call_that_fails_by_half_is_undone(peer: Peer) -> None:
    peer.batch = 2
    rows = orders((1, "a", "x"), (2, "a", "bad"), (3, "a", "z"), (4, "b", "x"))
    counts = put(peer, rows, asked(WriteMode.APPEND), Manner(whole_calls=True, pause_seconds=0))
    assert done(counts) == {"inserted": 2, "quarantined": 2}
    kept = {row["original"][7]: row["message"] for row in PeerSink(peer).quarantined()}
    assert kept["1"].endswith("was refused: v must not be 'bad'")


def test_looking_is_tried_again(tmp_path: Path) -> None:
    both = frozenset({Op.CREATE, Op.UPDATE})
    peer = Peer(tmp_path / "peer.db", keyed=Keyed.NO, looks=True, ops=both, drop=0.3)
    rows = orders(*((n, "a", f"v{n}") for n in range(30)))
    assert done(put(peer, rows, asked(), Manner(pause_seconds=0, attempts=20))) == {"inserted": 30}
    assert len(peer.effects()) == 30


def test_what_cannot_be_undone_is_told(peer: Peer) -> None:
    peer.can_undo = False
    rows = orders((1, "a", "x"), (2, "a", "bad"))
    counts = put(peer, rows, asked(WriteMode.APPEND), Manner(group="g", pause_seconds=0))
    assert done(counts) == {"quarantined": 2}
    messages = {row["code"]: row["message"] for row in PeerSink(peer).quarantined()}
    assert messages["call.not_undone"].endswith("it could not be undone: too late to undo")


def test_a_peer_that_drops_calls_is_asked_again(peer: Peer) -> None:
    peer.drop = peer.lose = 0.3
    rows = orders(*((n, "a", f"v{n}") for n in range(40)))
    counts = put(peer, rows, asked(WriteMode.APPEND), Manner(pause_seconds=0, attempts=20))
    assert done(counts) == {"inserted": 40}
    assert len(peer.effects()) == 40


def test_a_peer_that_never_answers_fails_the_chunk_and_the_next_run_goes_on(peer: Peer) -> None:
    peer.drop = 1.0
    with pytest.raises(ConnectError, match="in 5 attempts"):
        put(peer, orders((1, "a", "x")), asked())
    peer.drop = 0.0
    assert done(put(peer, orders((1, "a", "x")), asked())) == {"inserted": 1}


def test_a_refused_login_stops_the_run_and_leaves_the_rest_planned(peer: Peer) -> None:
    class Closed(Peer):
        def call(self, target: str, key: tuple[str, ...], effects: Effects) -> list[Outcome]:
            raise AuthError("the peer refused the token", hint="give another")

    closed = Closed(peer.path)
    with pytest.raises(AuthError):
        put(closed, orders((1, "a", "x"), (2, "a", "y")), asked())
    assert {call["outcome"] for call in PeerSink(closed).calls(Which())} == {"planned"}
    assert done(put(peer, orders((1, "a", "x"), (2, "a", "y")), asked())) == {"inserted": 2}


def test_creates_and_updates_are_told_apart_by_reading_back(tmp_path: Path) -> None:
    peer = Peer(tmp_path / "peer.db", keyed=Keyed.NO, looks=True, ops=frozenset({Op.CREATE, Op.UPDATE}))
    put(peer, orders((1, "a", "x")), asked(), Manner(skip_unchanged=False))
    counts = put(peer, orders((1, "a", "y"), (2, "a", "z")), asked(run="run 2"), Manner(skip_unchanged=False))
    assert done(counts) == {"inserted": 1, "updated": 1}
    assert [op for op, _, _ in peer.effects()] == ["create", "update", "create"] or [
        op for op, _, _ in peer.effects()
    ] == ["create", "create", "update"]


def test_a_row_that_goes_in_again_never_covers_a_newer_one(peer: Peer) -> None:
    put(peer, orders((1, "2024-05-02", "new"), (2, "2024-05-01", "old")), asked(cursor="g", incremental=True))
    mended = orders((1, "2024-05-01", "mended"), (2, "2024-05-02", "mended"))
    again = asked(run="replay", cursor="g", incremental=True, replay=True)
    counts = put(peer, mended, dataclasses.replace(again, sync="replay"))
    assert done(counts) == {"updated": 1, "quarantined": 1}
    assert [row["code"] for row in PeerSink(peer).quarantined()] == ["data.superseded"]


def test_rows_that_stay_away_are_deleted(peer: Peer) -> None:
    put(peer, orders((1, "a", "x"), (2, "a", "y"), (3, "a", "z")), asked(deletes=Deletes.HARD))
    counts = put(peer, orders((2, "a", "y"), (4, "a", "bad")), asked(run="run 2", deletes=Deletes.HARD))
    assert done(counts) == {"deleted": 2, "unchanged": 1, "quarantined": 1}


def test_deletes_that_were_cut_off_go_on(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = orders(*((n, "a", f"v{n}") for n in range(6)))
    put(peer, rows, asked(deletes=Deletes.HARD))
    left = [2]

    def die(point: str) -> None:
        left[0] -= point == "after_call"
        if point == "after_call" and left[0] == 0:
            raise Interrupted

    monkeypatch.setattr("tongqu.kit.remote.sending.crash_point", die)
    with pytest.raises(Interrupted):
        put(peer, rows.slice(0, 1), asked(run="run 2", deletes=Deletes.HARD), Manner(concurrency=1))
    counts = put(peer, rows.slice(0, 1), asked(run="run 2", deletes=Deletes.HARD))
    assert done(counts) == {"deleted": 5, "unchanged": 1}
    assert [op for op, _, _ in peer.effects()].count("delete") == 5


def test_what_the_peer_cannot_do_is_refused_before_a_call(tmp_path: Path) -> None:
    peer = Peer(tmp_path / "peer.db", ops=frozenset({Op.CREATE}))
    with pytest.raises(InvalidPlanError) as caught:
        put(peer, orders((1, "a", "x")), asked())
    assert caught.value.hint == "valid write modes: append"
    assert peer.calls == 0


def test_without_a_folder_nothing_is_sent(peer: Peer) -> None:
    class Homeless(PeerSink):
        def lodge(self, folder: Path) -> None:
            del folder

    sink: RemoteSink = Homeless(peer)
    with pytest.raises(InvalidPlanError, match="no folder for its ledger"):
        pour(sink, asked(), [orders((1, "a", "x"))])


def test_an_overtaken_process_makes_no_further_call(peer: Peer) -> None:
    split = Split("0", "orders")
    with closing(PeerSink(peer)) as slow, closing(PeerSink(peer)) as fast:
        slow.start("sync", "run 1", False)
        slow.open(asked())
        slow.begin(asked(), [split])
        with closing(slow.session(asked(), split)) as session:
            session.write(orders((1, "a", "x")))
            fast.start("sync", "run 1", False)
            fast.open(asked())
            with pytest.raises(FencedError):
                session.write(orders((2, "a", "y")))
            with pytest.raises(FencedError):
                session.commit(Checkpoint(split, {"n": 1}, Counts(), done=True))
    assert peer.calls == 1


def test_the_ledger_is_bounded_and_keeps_what_is_unknown(peer: Peer) -> None:
    rows = orders(*((n, "a", f"v{n}") for n in range(30)))
    put(peer, rows, asked(WriteMode.APPEND), Manner(keep_calls=10))
    assert len(PeerSink(peer).calls(Which(limit=100))) == 10


def remove(peer: Peer, ids: list[int], run: str) -> int:
    """Take rows out in a run of their own; how many went."""
    split, write = Split("0", "orders"), asked(run=run, incremental=True)
    with closing(PeerSink(peer)) as sink:
        sink.start("sync", run, False)
        sink.open(write)
        sink.begin(write, [split])
        with closing(sink.session(write, split)) as session:
            gone = session.remove(orders(*((n, "a", "x") for n in ids)).select(["id"]))
            session.commit(Checkpoint(split, {"n": 1}, Counts(), done=True))
        sink.finish(write, Counts(), None)
        sink.end("sync", run, [write])
    return gone


def test_what_the_peer_has_from_others_is_not_taken_out(peer: Peer, tmp_path: Path) -> None:
    """A row that a filter leaves out was mostly never sent: no call is made for it, whoever else has made it."""
    put(peer, orders((1, "a", "x"), (2, "a", "y")), asked())
    key, theirs = ("id",), orders((3, "a", "theirs"))
    peer.call("orders", key, Effects(Op.UPSERT, theirs, ["other"], ['{"id": 3}'], [""]))
    before = peer.calls
    assert remove(peer, [2, 3, 4], "run 2") == 1
    assert peer.calls - before == 1
    left = peer.table("orders")
    assert left is not None
    assert set(left["id"].to_pylist()) == {1, 3}


def test_a_removal_that_was_cut_off_is_counted_by_the_next_attempt(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    put(peer, orders((1, "a", "x"), (2, "a", "y")), asked())

    def die(point: str) -> None:
        if point == "in_commit":
            raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("tongqu.kit.remote.session.crash_point", die)
        remove(peer, [2], "run 2")
    assert remove(peer, [2], "run 2") == 1
    assert [op for op, _, _ in peer.effects()].count("delete") == 1


def test_an_overtaken_process_notes_the_answers_of_the_calls_that_it_has_made(peer: Peer) -> None:
    """Else nobody would know whether they had their effect."""
    split = Split("0", "orders")
    with closing(PeerSink(peer, Manner(concurrency=1))) as slow, closing(PeerSink(peer)) as fast:
        taken: list[bool] = []

        class Slow(Peer):
            def call(self, target: str, key: tuple[str, ...], effects: Effects) -> list[Outcome]:
                outcomes = super().call(target, key, effects)
                if not taken:
                    taken.append(True)
                    fast.start("sync", "run 1", False)
                    fast.open(asked())
                return outcomes

        slow.peer = Slow(peer.path)
        slow.start("sync", "run 1", False)
        slow.open(asked())
        slow.begin(asked(), [split])
        with closing(slow.session(asked(), split)) as session, pytest.raises(FencedError):
            session.write(orders((1, "a", "x"), (2, "a", "y")))
    calls = {call["key"]: call["outcome"] for call in PeerSink(peer).calls(Which())}
    assert calls == {'{"id": 1}': "ok", '{"id": 2}': "planned"}


def test_a_peer_that_lists_other_keys_than_it_was_given_loses_nothing(peer: Peer) -> None:
    """It writes keys its own way, so every row looks as if it had stayed away."""
    words = pa.table({"id": ["a", "b"], "v": ["x", "y"]})
    write = Write("orders", Dataset("orders", words.schema, ("id",)), WriteMode.REPLACE, "sync", "run 1", ("id",))

    class Shouting(Peer):
        def table(self, target: str) -> pa.Table | None:
            found = super().table(target)
            return (
                None
                if found is None
                else found.set_column(0, "id", [[str(v).upper() for v in found["id"].to_pylist()]])
            )

    shouting = Shouting(peer.path)
    with pytest.raises(WriteError, match="none of those it has just accepted"):
        put(shouting, words, write)
    assert [op for op, _, _ in peer.effects()] == ["upsert", "upsert"]


def test_a_group_that_does_not_come_at_once_is_told(peer: Peer) -> None:
    """What was sent is counted, so it stands; nothing more of the group is sent, and quarantine says how it is."""
    split, write = Split("0", "orders"), asked(WriteMode.APPEND)
    with closing(PeerSink(peer, Manner(group="g", pause_seconds=0))) as sink:
        sink.start("sync", "run 1", False)
        sink.open(write)
        sink.begin(write, [split])
        refused = []
        with closing(sink.session(write, split)) as session:
            for rows in ([(1, "a", "x"), (2, "b", "y")], [(3, "b", "bad"), (4, "c", "y")], [(5, "b", "z")]):
                refused += session.write(orders(*rows)).refused
            session.commit(Checkpoint(split, {"n": 1}, Counts(), done=True))
    left = peer.table("orders")
    assert left is not None
    assert left["id"].to_pylist() == [1, 2, 4]
    stands = "; 1 rows of its group came before these, and stand"
    assert [(row.code, row.message) for row in refused] == [
        ("call.refused", f"v must not be 'bad'{stands}"),
        ("call.undone", f"another row of g b was refused: v must not be 'bad'{stands}"),
    ]
