"""Records go into topics durably, and come out of any position, in order, or not at all with the reason."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.errors import LostPositionError, NotFoundError, ReadError, SchemaError, WriteError
from tongqu.kit.queue.queue import Keep, Queue
from tongqu.kit.queue.tables import QueueFile, reading
from tongqu.testing.services.small_disk import SmallDisk

FIELDS: list[pa.Field[Any]] = [pa.field("id", pa.int64()), pa.field("v", pa.string())]
SCHEMA = pa.schema(FIELDS)
SECONDS = 60


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "t.queue")


@pytest.fixture
def queue(path: str) -> Iterator[Queue]:
    made = Queue(path)
    made.declare("orders", SCHEMA)
    yield made
    made.close()


def rows(*ids: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(ids), pa.array([f"v{n}" for n in ids])], schema=SCHEMA)


def append(queue: Queue, *ids: int, topic: str = "orders") -> int:
    return queue.append(topic, rows(*ids)).result(SECONDS)


def ids(queue: Queue, after: int = 0, topic: str = "orders") -> list[int]:
    found = queue.read([topic], queue.position(after), waits=False)
    return [value.as_py() for one in found if one is not None for value in one.rows.column("id")]


def test_a_queue_that_is_being_made_is_not_there_yet(path: str) -> None:
    """Its file comes first and its tables a moment later: whoever reads meanwhile tries again, and does not give up."""
    Path(path).touch()
    with pytest.raises(NotFoundError, match="there is no queue"):
        reading(QueueFile(path))


def test_records_come_out_in_order_from_any_position(queue: Queue) -> None:
    assert [append(queue, 1, 2), append(queue, 3), append(queue, 4, 5, 6)] == [2, 3, 6]
    assert ids(queue) == [1, 2, 3, 4, 5, 6]
    assert [ids(queue, after) for after in range(7)] == [list(range(after + 1, 7)) for after in range(7)]


def test_positions_grow_over_all_topics(queue: Queue) -> None:
    queue.declare("plants", SCHEMA)
    assert append(queue, 1) == 1
    assert append(queue, 7, topic="plants") == 2
    assert append(queue, 2) == 3
    found = queue.read(["orders", "plants"], queue.position(0), waits=False)
    assert [(one.topic, one.last) for one in found if one] == [("orders", 1), ("plants", 2), ("orders", 3)]
    assert ids(queue, after=1) == [2]


def test_appends_of_many_threads_are_all_there_once(queue: Queue) -> None:
    def work(thread: int) -> None:
        waiting = [queue.append("orders", rows(thread * 1000 + n)) for n in range(50)]
        ends = [one.result(SECONDS) for one in waiting]
        assert ends == sorted(ends)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = ids(queue)
    assert sorted(found) == sorted(t * 1000 + n for t in range(8) for n in range(50))
    for thread_number in range(8):
        own = [n for n in found if n // 1000 == thread_number]
        assert own == sorted(own)


def test_a_piece_of_work_that_fails_undoes_nobody_elses(queue: Queue) -> None:
    wrong = pa.RecordBatch.from_pydict({"other": [1]})
    waiting = [queue.append("orders", rows(1)), queue.append("orders", wrong), queue.append("orders", rows(2))]
    assert waiting[0].result(SECONDS) == 1
    with pytest.raises(SchemaError):
        waiting[1].result(SECONDS)
    assert waiting[2].result(SECONDS) == 2
    assert ids(queue) == [1, 2]


def test_a_reader_waits_for_what_is_appended(queue: Queue) -> None:
    stop = threading.Event()
    reading = queue.read(["orders"], queue.position(0), stop=stop, beat=0.01)
    assert next(reading) is None
    append(queue, 5)
    found = next(one for one in reading if one is not None)
    assert found.rows.column("id").to_pylist() == [5]
    stop.set()
    assert list(reading) == []


def test_another_process_appends_and_is_seen(queue: Queue, path: str) -> None:
    code = (
        "import sys, pyarrow as pa; from tongqu.kit.queue.queue import Queue; q = Queue(sys.argv[1]);"
        "s = pa.schema([('id', pa.int64()), ('v', pa.string())]);"
        "[q.append('orders', pa.RecordBatch.from_arrays([pa.array([n]), pa.array(['x'])], schema=s)).result()"
        " for n in range(100, 120)]; q.close()"
    )
    stop = threading.Event()
    reading = queue.read(["orders"], queue.position(0), stop=stop)
    other = subprocess.Popen([sys.executable, "-c", code, path])
    for n in range(20):
        append(queue, n)
    seen: list[int] = []
    deadline = time.monotonic() + SECONDS
    while len(seen) < 40 and time.monotonic() < deadline:
        one = next(reading)
        seen += [value.as_py() for value in one.rows.column("id")] if one is not None else []
    assert other.wait(SECONDS) == 0
    stop.set()
    assert list(reading) == []
    assert [n for n in seen if n < 100] == list(range(20))
    assert [n for n in seen if n >= 100] == list(range(100, 120))


def test_a_big_append_is_cut_into_blocks_and_stays_one_transaction(queue: Queue) -> None:
    many = pa.RecordBatch.from_arrays([pa.array(range(150_000)), pa.nulls(150_000, pa.string())], schema=SCHEMA)
    queue.append("orders", many).result(SECONDS)
    found = [one for one in queue.read(["orders"], queue.position(0), waits=False) if one]
    assert [one.ends for one in found] == [False, False, True]
    assert sum(one.rows.num_rows for one in found) == 150_000


# ---- retention


def test_retention_keeps_what_a_registered_reader_has_not_read(queue: Queue) -> None:
    for n in range(1, 6):
        append(queue, n)
    queue.do(lambda turn: turn.register("orders", "slow", 2)).result(SECONDS)
    assert queue.trim("orders", Keep(), to=5) == 2
    assert ids(queue, after=2) == [3, 4, 5]
    queue.do(lambda turn: turn.confirm("slow", ["orders"], 4)).result(SECONDS)
    assert queue.trim("orders", Keep(), to=5) == 2
    assert queue.trim("orders", Keep(unread=True), to=5) == 1
    with pytest.raises(LostPositionError, match="dropped by retention"):
        ids(queue, after=4)


def test_retention_by_size_and_by_age(queue: Queue) -> None:
    for n in range(1, 11):
        queue.append("orders", rows(n), at=float(n)).result(SECONDS)
    size = queue.look(lambda db: int(db.rows("SELECT bytes FROM entry LIMIT 1")[0][0]))
    assert queue.trim("orders", Keep(bytes=3 * size)) == 7
    assert ids(queue, after=7) == [8, 9, 10]
    assert queue.trim("orders", Keep(seconds=3600)) == 3
    assert append(queue, 11) == 11
    assert ids(queue, after=10) == [11]


def test_a_queue_keeps_to_its_limits_by_itself(path: str) -> None:
    limited = Queue(path, Keep(bytes=4 << 20))
    limited.declare("orders", SCHEMA)
    block = pa.RecordBatch.from_arrays([pa.array(range(1000)), pa.array(["x" * 1000] * 1000)], schema=SCHEMA)
    for _ in range(60):
        limited.append("orders", block).result(SECONDS)
    (topic,) = limited.topics()
    assert topic.trimmed > 0
    limited.close()
    assert Path(path).stat().st_size < 40 << 20


# ---- what breaks


def test_a_flipped_bit_in_the_middle_is_told_and_never_passed_over(queue: Queue, path: str) -> None:
    for n in range(1, 4):
        append(queue, n)
    with sqlite3.connect(path) as raw:
        (body,) = raw.execute("SELECT body FROM block WHERE id = 2").fetchone()
        raw.execute("UPDATE block SET body = ? WHERE id = 2", (body[:-9] + bytes([body[-9] ^ 1]) + body[-8:],))
    raw.close()
    reading = queue.read(["orders"], queue.position(0), waits=False)
    first = next(reading)
    assert first is not None and first.last == 1
    with pytest.raises(ReadError, match="records 2 to 2"):
        next(reading)


@pytest.mark.parametrize("what", ["DELETE FROM block WHERE id = 2", "DELETE FROM entry WHERE last = 2"])
def test_missing_records_are_told(queue: Queue, path: str, what: str) -> None:
    for n in range(1, 4):
        append(queue, n)
    with sqlite3.connect(path) as raw:
        raw.execute(what)
    raw.close()
    with pytest.raises(ReadError, match="missing"):
        ids(queue)


def _killed(path: str, appends: int) -> None:
    """Another process appends single records, and is killed while it holds the file."""
    code = (
        "import os, signal, sys, pyarrow as pa; from tongqu.kit.queue.queue import Queue; q = Queue(sys.argv[1]);"
        "s = pa.schema([('id', pa.int64()), ('v', pa.string())]); q.declare('orders', s);"
        "[q.append('orders', pa.RecordBatch.from_arrays([pa.array([n]), pa.array(['x'])], schema=s)).result()"
        " for n in range(1, int(sys.argv[2]) + 1)]; os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, path, str(appends)], timeout=SECONDS, check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_was_confirmed_is_there_after_a_kill(path: str) -> None:
    _killed(path, 20)
    again = Queue(path)
    assert append(again, 21) == 21
    assert ids(again) == list(range(1, 22))
    assert again.cuts() == []
    again.close()


@pytest.mark.parametrize("damage", ["torn", "flipped"])
def test_a_damaged_tail_is_cut_and_told(path: str, damage: str) -> None:
    _killed(path, 20)
    wal = Path(f"{path}-wal")
    raw = bytearray(wal.read_bytes())
    if damage == "torn":
        del raw[-3000:]
    else:
        raw[-3000] ^= 4
    wal.write_bytes(raw)
    again = Queue(path)
    assert append(again, 100) == 20, "the last record was in the damaged tail"
    assert ids(again) == [*range(1, 20), 100]
    (cut,) = again.cuts()
    assert (cut["after"], cut["generation"]) == (19, 2)
    before: dict[str, Any] = {**again.position(20), "generation": 1}
    with pytest.raises(LostPositionError, match="damaged"):
        list(again.read(["orders"], before, waits=False))
    assert [one.last for one in again.read(["orders"], {**before, "after": 19}, waits=False) if one] == [20]
    again.close()


def test_a_position_of_another_queue_is_refused(queue: Queue, tmp_path: Path) -> None:
    other = Queue(str(tmp_path / "other.queue"))
    other.declare("orders", SCHEMA)
    append(other, 1)
    position = other.position(1)
    other.close()
    with pytest.raises(LostPositionError, match="another one"):
        list(queue.read(["orders"], position, waits=False))
    with pytest.raises(LostPositionError, match="older copy"):
        list(queue.read(["orders"], {**queue.position(0), "after": 9}, waits=False))


def test_a_full_disk_stops_appends_cleanly_and_they_go_on_when_there_is_room(path: str) -> None:
    small = Queue(path, Keep(file_bytes=1 << 20))
    small.declare("orders", SCHEMA)
    block = pa.RecordBatch.from_arrays([pa.array(range(100)), pa.array(["x" * 1000] * 100)], schema=SCHEMA)
    done = 0
    with pytest.raises(WriteError, match="full"):
        while True:
            done = small.append("orders", block).result(SECONDS)
    assert done > 0
    assert small.head() == done, "what was refused is not there, what was confirmed is"
    assert small.trim("orders", Keep(), to=done // 2) > 0
    assert small.append("orders", block).result(SECONDS) == done + 100
    small.close()


CRASHES = """
import os, sys, pyarrow as pa
from tongqu.kit.queue.queue import Queue
q = Queue(sys.argv[1])
s = pa.schema([("id", pa.int64()), ("v", pa.string())])
q.declare("orders", s)
for n in range(1, 11):
    q.append("orders", pa.RecordBatch.from_arrays([pa.array([n]), pa.array(["x"])], schema=s)).result()
    print(n, flush=True)
"""


@pytest.mark.parametrize("point", ["before_append:4", "after_append:4"])
def test_killed_at_a_crash_point_nothing_confirmed_is_lost(path: str, point: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASHES, path], env=os.environ | {"TONGQU_CRASH_AT": point}, capture_output=True,
        text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    told = [int(line) for line in done.stdout.split()]
    assert told == [1, 2], "the first commit declares the topic"
    again = Queue(path)
    assert ids(again) == ([1, 2] if point.startswith("before") else [1, 2, 3])
    again.close()


FILLS = """
import sys, pyarrow as pa
from tongqu.core.errors import WriteError
from tongqu.kit.queue.queue import Queue
queue = Queue(sys.argv[1])
schema = pa.schema([("id", pa.int64()), ("v", pa.string())])
queue.declare("orders", schema)
rows = pa.RecordBatch.from_arrays([pa.array(range(100)), pa.array(["x" * 1000] * 100)], schema=schema)
done, found = 0, queue.head()
try:
    for _ in range(int(sys.argv[2])):
        done = queue.append("orders", rows).result()
except WriteError as error:
    print(found, done, error.hint)
else:
    read = sum(one.rows.num_rows for one in queue.read(["orders"], queue.position(0), waits=False))
    print(found, done, read)
queue.close()
"""


def test_a_disk_that_really_fills_up_costs_nothing_that_was_confirmed() -> None:
    with SmallDisk(8) as disk:
        disk.fill(3)

        def run(times: int) -> list[str]:
            command = disk.inside(sys.executable, "-c", FILLS, disk.mounted / "t.queue", str(times))
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
            return done.stdout.split(maxsplit=2)

        _, confirmed, hint = run(1000)
        assert "disk is full" in hint
        assert int(confirmed) >= 100
        disk.make_room()
        assert run(1) == [confirmed, str(int(confirmed) + 100), f"{int(confirmed) + 100}\n"]


def test_work_that_was_given_up_leaves_others_alone(queue: Queue) -> None:
    held = threading.Event()
    first = queue.do(lambda turn: held.wait(SECONDS))
    given_up = queue.append("orders", rows(1))
    assert given_up.cancel()
    other = queue.append("orders", rows(2))
    held.set()
    assert first.result(SECONDS)
    assert other.result(SECONDS) == 1
    assert append(queue, 3) == 2
    assert ids(queue) == [2, 3]
