"""Growing files are followed line by line, across rotations and restarts."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Timer
from typing import cast

import pytest

from tongqu.connectors.file import connector
from tongqu.core.data import Batch, Position
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError
from tongqu.core.log import Follow, Log

DEADLINE = 90.0


def add(file: Path, *ids: int) -> None:
    with file.open("a") as open_file:
        for one in ids:
            open_file.write(
                f"{one},v{one}\n" if file.suffix == ".csv" else json.dumps({"id": one, "v": f"v{one}"}) + "\n"
            )


@pytest.fixture(params=["csv", "jsonl"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with one row."""
    made = tmp_path / "logs" / f"app.{request.param}"
    made.parent.mkdir()
    made.write_text("id,v\n" if request.param == "csv" else "")
    add(made, 1)
    return made


@contextmanager
def followed(path: Path) -> Iterator[Log]:
    assert connector.source is not None
    source = connector.source(connector.from_url(f"file:{path}?tail=true&watch_seconds=0.2"))
    source.lodge(path.parent.parent / "lodge")
    with closing(source):
        (dataset,) = source.datasets()
        with closing(source.log("tongqu_a", [dataset])) as log:
            yield log


def taken(log: Log, after: Position, rows: int) -> tuple[list[int], Position]:
    stop, found, position = Event(), [], after
    late = Timer(DEADLINE, stop.set)
    late.start()
    reading = cast("Generator[Batch]", log.read(Follow(after, stop=stop)))
    with closing(reading):
        for batch in reading:
            found += [row["id"] for row in batch.rows.to_pylist()]
            position = batch.position or position
            if len(found) >= rows:
                break
    late.cancel()
    return found, position


def test_lines_come_as_they_are_added(file: Path) -> None:
    with followed(file) as log:
        found, position = taken(log, log.begin(), 1)
        add(file, 2, 3)
        more, position = taken(log, position, 2)
        assert found + more == [1, 2, 3]
        assert log.lag(position).bytes == 0
        assert log.reached(position, log.head())


def test_a_line_counts_when_its_end_is_there(file: Path) -> None:
    with followed(file) as log:
        _, position = taken(log, log.begin(), 1)
        whole = file.read_bytes()
        add(file, 22)
        line = file.read_bytes()[len(whole) :]
        file.write_bytes(whole + line[:2])
        assert [batch for batch in log.read(Follow(position, until=log.head())) if batch.rows.num_rows] == []
        with file.open("ab") as open_file:
            open_file.write(line[2:])
        assert taken(log, position, 1)[0] == [22]


def test_a_file_that_was_renamed_is_read_to_its_end(file: Path) -> None:
    with followed(file) as log:
        _, position = taken(log, log.begin(), 1)
        add(file, 2)
        file.rename(file.with_name("app.log.1"))
        file.write_text("id,v\n" if file.suffix == ".csv" else "")
        add(file, 3)
    with followed(file) as log:  # another process, after the rotation
        assert taken(log, position, 2)[0] == [2, 3]


def test_a_file_that_was_begun_again_is_read_from_its_beginning(file: Path) -> None:
    with followed(file) as log:
        add(file, 2)
        _, position = taken(log, log.begin(), 2)
        file.write_text("id,v\n" if file.suffix == ".csv" else "")  # the same file, emptied
        add(file, 9)
        assert taken(log, position, 1)[0] == [9]


def test_what_has_no_lines_that_could_be_followed(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.json").write_text('[{"id": 1},\n {"id": 2}]\n')
    with followed(tmp_path / "logs" / "a.json") as log, pytest.raises(InvalidPlanError, match="line by line"):
        taken(log, log.begin(), 1)
    with pytest.raises(InvalidSettingsError, match="tail"):
        connector.from_url(f"file:{tmp_path}/*.csv?tail=true&marker=x")
