"""Topics are written exactly once, read to the end, followed as logs, and say what is gone."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from threading import Event

import pyarrow as pa
import pytest

from tongqu.connectors.queue import connector
from tongqu.connectors.queue.settings import from_url
from tongqu.connectors.queue.source import QueueSource
from tongqu.core.data import Checkpoint, Counts, Deletes, Split, WriteMode
from tongqu.core.errors import InvalidPlanError, LostPositionError
from tongqu.core.log import AT, OP, UNCHANGED, Follow, Log
from tongqu.kit.queue.queue import Keep, Queue
from tongqu.testing.conformance.place import Place, items, pairs
from tongqu.testing.crashing import crash, run
from tongqu.testing.pour import table


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(connector, f"queue:{tmp_path}/t.queue")


def opened(place: Place) -> QueueSource:
    return QueueSource(from_url(place.url))


def log(source: QueueSource, name: str = "reader") -> Log:
    return source.log(name, source.datasets(["items"]))


def told(source: QueueSource, after: int = 0) -> list[tuple[str, object, str | None]]:
    """Kind or operation, id and text of everything in the log."""
    following = log(source)
    begun = {**following.begin(), "after": after}
    found: list[tuple[str, object, str | None]] = []
    for batch in following.read(Follow(begun, until=following.head())):
        if batch.kind != "rows":
            found.append((batch.kind, None, None))
        for row in batch.rows.to_pylist():
            found.append((row[OP], row["id"], row["v"]))
    return found


# ---- exactly once


@pytest.mark.crash
@pytest.mark.parametrize(
    ("point", "mode"),
    [
        ("mid_write:2", WriteMode.APPEND), ("in_commit:3", WriteMode.REPLACE), ("before_append:6", WriteMode.UPSERT),
        ("before_append:6", WriteMode.APPEND), ("after_append:6", WriteMode.APPEND), ("after_swap", WriteMode.REPLACE),
    ],
)  # fmt: skip
def test_a_killed_run_is_completed_by_the_next(tmp_path: Path, mode: WriteMode, point: str) -> None:
    url = f"queue:{tmp_path}/t.queue"
    died = crash(url, mode, point)
    assert died.returncode == -signal.SIGKILL, died.stderr
    counts = run(url, mode)
    source = QueueSource(from_url(url))
    rows = [(row["id"], row["v"]) for row in table(source, "t").to_pylist()]
    source.close()
    fifth = "2-5" if mode is WriteMode.UPSERT else "1-5"
    assert sorted(rows) == [
        (1, "0-1"), (2, "0-2"), (3, "0-3"), (4, "1-4"), (5, fifth), (6, "1-6"), (7, "2-7"), (8, "2-8"),
    ]  # fmt: skip
    assert counts.inserted == (9 if mode is WriteMode.UPSERT else 8)


# ---- changes


def test_written_removed_amended_and_emptied_rows_are_told_in_order(place: Place) -> None:
    write = place.ask(items([]), WriteMode.UPSERT, incremental=True, deletes=Deletes.HARD)
    split = Split("0", "items")
    with place.sink() as sink:
        sink.start(write.sync, write.run, False)
        sink.open(write)
        sink.begin(write, [split])
        session = sink.session(write, split)
        session.write(items([1, 2]))
        assert session.remove(items([1]).select(["id"])) == 1
        assert session.amend(items([2]).select(["id"])) == 1
        session.commit(Checkpoint(split, {"n": 1}, Counts()))
        session.clear()
        session.write(items([3]))
        session.commit(Checkpoint(split, {"n": 2}, Counts()))
        session.close()
    source = opened(place)
    assert told(source) == [
        ("r", 1, "v1"), ("r", 2, "v2"), ("d", 1, None), ("u", 2, None), ("truncate", None, None), ("r", 3, "v3"),
    ]  # fmt: skip
    source.close()


def test_changes_that_are_appended_keep_what_they_tell(place: Place) -> None:
    instant = pa.array([1_700_000_000_000_000] * 2, pa.timestamp("us", "UTC"))
    rows = items([1, 2]).append_column(OP, pa.array(["c", "d"])).append_column(AT, instant)
    rows = rows.append_column(UNCHANGED, pa.array([["v"], None], pa.list_(pa.string())))
    place.put([rows], place.ask(rows, WriteMode.APPEND))
    source = opened(place)
    (dataset,) = source.datasets(["items"])
    assert dataset.schema.names == ["id", "v"]
    following = log(source)
    assert following.changes
    (batch,) = following.read(Follow(following.begin(), until=following.head()))
    assert pa.Table.from_batches([batch.rows]).equals(rows.select(["id", "v", OP, AT, UNCHANGED]))
    assert batch.position == following.head()
    source.close()


def test_messages_and_changes_do_not_mix(place: Place) -> None:
    place.put([items([1])], place.ask(items([]), WriteMode.APPEND))
    with pytest.raises(InvalidPlanError, match="holds messages"):
        place.change(items([2]), run="run 2")


def test_a_full_read_gives_the_rows_that_the_changes_come_to(place: Place) -> None:
    place.change(items(range(6)), run="run 1")
    place.change(items([2], "new{}"), run="run 2")
    assert place.rows() == sorted([*pairs([0, 1, 3, 4, 5]), (2, "new2")], key=repr)


def test_a_new_column_is_told_where_it_comes(place: Place) -> None:
    place.put([items([1])], place.ask(items([]), WriteMode.APPEND))
    source = opened(place)
    following = log(source)
    begun = following.begin()
    wider = items([2]).append_column("more", pa.array([7]))
    place.put([wider], place.ask(wider, WriteMode.APPEND, run="run 2"))
    found = list(following.read(Follow(begun, until=following.head())))
    assert [batch.kind for batch in found] == ["rows", "schema", "rows"]
    assert found[2].rows.to_pylist() == [{"id": 2, "v": "v2", "more": 7}]
    source.close()


# ---- readers


def test_readers_keep_what_they_have_not_confirmed(place: Place, tmp_path: Path) -> None:
    for n in range(1, 5):
        place.put([items([n])], place.ask(items([]), WriteMode.APPEND, run=f"run {n}"))
    source = opened(place)
    quick, slow = log(source, "quick"), log(source, "slow")
    begun = slow.begin()
    quick.begin()
    batches = list(quick.read(Follow(begun, until=quick.head())))
    quick.acknowledge(quick.head())
    positions = [batch.position for batch in batches]
    assert positions[-1] == quick.head()
    slow.acknowledge(positions[1] or {})
    source._queue.do(lambda turn: turn.last).result()  # acknowledging waits for nothing; what comes behind it does
    with_queue = Queue(f"{tmp_path}/t.queue")
    assert with_queue.trim("items", Keep(), to=4) == 2
    assert slow.lag(positions[1] or {}).rows == 2
    assert [b.rows.num_rows for b in slow.read(Follow(positions[1] or {}, until=slow.head()))] == [1, 1]
    slow.forget()
    assert with_queue.trim("items", Keep(), to=4) == 2
    with pytest.raises(LostPositionError, match="dropped by retention"):
        list(slow.read(Follow(positions[1] or {}, until=slow.head())))
    with_queue.close()
    source.close()


def test_changes_whose_beginning_is_gone_are_not_begun_with(place: Place, tmp_path: Path) -> None:
    for n in range(1, 4):
        place.change(items([n]), run=f"run {n}")
    with_queue = Queue(f"{tmp_path}/t.queue")
    with_queue.trim("items", Keep(), to=2)
    with_queue.close()
    source = opened(place)
    with pytest.raises(LostPositionError, match="first changes"):
        log(source).begin()
    source.close()
    settings = from_url(place.url)
    for start, after in (("oldest", 2), ("newest", 3)):
        other = QueueSource(settings.model_copy(update={"start": start}))
        assert log(other, f"reader_{start}").begin()["after"] == after
        other.close()


def test_an_idle_log_beats_and_ends_when_asked(place: Place) -> None:
    place.put([items([1])], place.ask(items([]), WriteMode.APPEND))
    source = opened(place)
    following = log(source)
    stop = Event()
    reading = following.read(replace(Follow(following.head()), stop=stop))
    assert next(reading).kind == "heartbeat"
    stop.set()
    assert list(reading) == []
    source.close()


def test_a_reader_that_is_asked_to_reads_again(place: Place, tmp_path: Path) -> None:
    for n in range(1, 4):
        place.put([items([n])], place.ask(items([]), WriteMode.APPEND, run=f"run {n}"))
    source = opened(place)
    following = log(source)
    begun = following.begin()
    following.acknowledge(following.head())
    with_queue = Queue(f"{tmp_path}/t.queue")
    assert with_queue.do(lambda turn: turn.replay("reader", "items", 1)).result()
    with_queue.close()
    again = log(source)
    following.acknowledge({**following.head(), "round": 0})  # of the round before: changes nothing
    batches = list(again.read(Follow({**again.head(), "round": 0}, until=again.head())))
    assert [batch.rows.column("id").to_pylist() for batch in batches] == [[2], [3]]
    assert not again.reached({**again.head(), "round": 0}, batches[0].position or begun)
    assert list(log(source).read(Follow(batches[1].position or begun, until=again.head()))) == []
    source.close()
