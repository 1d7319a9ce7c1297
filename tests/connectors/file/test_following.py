"""Files that arrive are followed: each is read once, when it is whole, in the order of their times."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Timer
from typing import cast

import pytest

from tongqu.connectors.file import connector
from tongqu.connectors.file.watching import Watching, root_of
from tongqu.core.data import Batch, Position
from tongqu.core.errors import LostPositionError
from tongqu.core.log import Follow, Log
from tongqu.testing.command_line import query, start

DEADLINE = 90.0


def put(folder: Path, name: str, *ids: int, more: str = "", age: float = 0.0) -> Path:
    """A whole file of orders, with its mark; `age` seconds old."""
    columns = "id,v" + (f",{more}" if more else "")
    file = folder / name
    part = folder / f"{name}.part"
    part.write_text(f"{columns}\n" + "".join(f"{one},v{one}{',x' if more else ''}\n" for one in ids))
    at = time.time() - age
    os.utime(part, (at, at))
    part.rename(file)
    (folder / f"{name}.done").touch()
    return file


@contextmanager
def followed(folder: Path, marker: str = "{name}.done", **more: str) -> Iterator[Log]:
    assert connector.source is not None
    asked = "&".join(f"{name}={value}" for name, value in {"marker": marker, "watch_seconds": "0.2", **more}.items())
    source = connector.source(connector.from_url(f"file:{folder}/*.csv?{asked}"))
    source.lodge(folder.parent / "lodge")
    with closing(source):
        (dataset,) = source.datasets()
        with closing(source.log("tongqu_a", [dataset])) as log:
            yield log


def taken(log: Log, after: Position, rows: int, batch_rows: int = 65_536) -> tuple[list[int], Position]:
    """The ids of so many rows, and the last position behind them."""
    stop, found, position = Event(), [], after
    late = Timer(DEADLINE, stop.set)
    late.start()
    reading = cast("Generator[Batch]", log.read(Follow(after, batch_rows=batch_rows, stop=stop)))
    with closing(reading):
        for batch in reading:
            found += [row["id"] for row in batch.rows.to_pylist()]
            position = batch.position or position
            if len(found) >= rows and not batch.rows.num_rows:
                break
    late.cancel()
    return found, position


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    put(made, "b.csv", 1, 2, age=20)
    put(made, "a.csv", 3, age=10)
    return made


def test_files_come_once_in_the_order_of_their_times(folder: Path) -> None:
    with followed(folder) as log:
        found, position = taken(log, log.begin(), 3)
        assert found == [1, 2, 3]
        put(folder, "0.csv", 4)
        found, position = taken(log, position, 1)
        assert found == [4]
        assert log.reached(position, log.head())
        assert log.lag(position).bytes == 0
        assert list(log.read(Follow(position, until=log.head()))) == []


def test_a_file_without_its_mark_waits(folder: Path) -> None:
    (folder / "c.csv").write_text("id,v\n7,v")
    with followed(folder) as log:
        found, position = taken(log, log.begin(), 3)
        assert found == [1, 2, 3]
        (folder / "c.csv").write_text("id,v\n7,v7\n")
        (folder / "c.csv.done").touch()
        assert taken(log, position, 1)[0] == [7]


def test_without_a_rule_a_file_that_grows_waits_until_it_is_still(folder: Path) -> None:
    with followed(folder, marker="") as log:
        stop, found, grows = Event(), [], 0
        late = Timer(DEADLINE, stop.set)
        late.start()
        for batch in log.read(Follow(log.begin(), stop=stop)):
            found += [row["id"] for row in batch.rows.to_pylist()]
            if grows < 3:  # before each look: never the same twice
                grows += 1
                with (folder / "b.csv").open("a") as file:
                    file.write(f"{10 + grows},v\n")
            if len(found) == 6:
                break
        late.cancel()
    assert sorted(found) == [1, 2, 3, 11, 12, 13]


def test_a_reader_goes_on_inside_a_file(folder: Path) -> None:
    put(folder, "big.csv", *range(100, 400))
    with followed(folder) as log:
        everything, _ = taken(log, log.begin(), 303, 50)
        places = [(batch.position, batch.rows.num_rows) for batch in log.read(Follow(log.begin(), log.head(), 50))]
    assert everything == [1, 2, 3, *range(100, 400)]
    read = 0
    for position, rows in places:
        read += rows
        if position is None or read == 303:
            continue
        with followed(folder) as log:  # another process, later
            assert taken(log, position, 303 - read, 50)[0] == everything[read:]


def test_a_half_read_file_that_changed_is_told(folder: Path) -> None:
    put(folder, "big.csv", *range(100, 400))
    with followed(folder) as log:
        inside = [b.position for b in log.read(Follow(log.begin(), log.head(), 50)) if b.position and b.rows.num_rows]
        put(folder, "big.csv", 1)
        with pytest.raises(LostPositionError, match="changed"):
            taken(log, inside[-1], 1)


def test_a_new_column_is_told_before_its_rows(folder: Path) -> None:
    with followed(folder) as log:
        _, position = taken(log, log.begin(), 3)
        put(folder, "wide.csv", 9, more="note")
        batches = list(log.read(Follow(position, until=log.head())))
    assert [batch.kind for batch in batches if batch.kind != "heartbeat"] == ["schema", "rows"]
    assert [row for batch in batches for row in batch.rows.to_pylist()] == [{"id": 9, "v": "v9", "note": "x"}]


def test_finished_files_are_put_away_when_they_are_durable(folder: Path) -> None:
    with followed(folder, after="move", archive="old") as log:
        _, position = taken(log, log.begin(), 3)
        assert (folder / "a.csv").exists()
        log.acknowledge(position)
        put(folder, "c.csv", 5)
        assert taken(log, position, 1)[0] == [5]
    assert sorted(path.name for path in (folder / "old").iterdir()) == ["a.csv", "b.csv"]


def test_watching_wakes_at_a_change_and_in_time(folder: Path) -> None:
    stop = Event()
    with closing(Watching(folder, 3600, stop)) as watching:
        deadline = time.monotonic() + DEADLINE
        count = 0
        while not watching.wait() and time.monotonic() < deadline:
            count += 1
            put(folder, f"n{count}.csv", 1)
        assert time.monotonic() < deadline
        watching.soon(0)
        assert watching.wait()
    with closing(Watching(None, 0.01, stop)) as watching:
        assert any(watching.wait() for _ in range(100))


@pytest.mark.parametrize(
    ("path", "root"), [("{}/*.csv", "{}"), ("{}/**/x?.csv", "{}"), ("{}/a.csv", "{}"), ("{}", "{}")]
)
def test_where_to_watch(folder: Path, path: str, root: str) -> None:
    assert root_of(path.format(folder)) == Path(root.format(folder))


def test_a_sync_follows_a_folder_until_a_signal(folder: Path, tmp_path: Path) -> None:
    url = f"file:{folder}/*.csv?marker=%7Bname%7D.done&watch_seconds=0.2"
    arguments = ["sync", url, "sqlite:lake.db", "--mode", "stream", "--json", "--project", str(tmp_path)]
    lake, wanted = tmp_path / "lake.db", [1, 2, 3]
    for number in (10, 11):
        with start(tmp_path, *arguments) as process:
            late = Timer(DEADLINE, process.kill)
            late.start()
            put(folder, f"{number}.csv", number)
            wanted = [*wanted, number]
            pause, deadline = Event(), time.monotonic() + DEADLINE
            while arrived(lake) != wanted and time.monotonic() < deadline:
                pause.wait(0.05)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate()
            late.cancel()
        assert (process.returncode, json.loads(out)["status"]) == (0, "stopped"), err
        assert arrived(lake) == wanted


def arrived(lake: Path) -> list[int]:
    if not lake.exists() or not query(lake, "SELECT 1 FROM sqlite_master WHERE name = 'in'"):
        return []
    return [row[0] for row in query(lake, 'SELECT id FROM "in" ORDER BY id')]
