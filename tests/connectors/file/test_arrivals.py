"""Only new files: what is known travels in the position, and what is read goes away once its rows are visible."""

from __future__ import annotations

import os
import sqlite3
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tongqu.connectors.file import connector, layout
from tongqu.connectors.file.arrivals import Known
from tongqu.core.connector import Source
from tongqu.core.data import Dataset, Mode, Position, Read, Split
from tongqu.core.errors import InvalidSettingsError, LostPositionError, NotFoundError
from tongqu.core.select import Column, Select
from tongqu.kit.places.place import Entry, Place
from tongqu.testing.command_line import inside, tongqu


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`in` with two files of orders."""
    for number in (1, 2):
        _csv(tmp_path / "in" / f"{number}.csv", number)
    return tmp_path


def _csv(path: Path, *ids: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("id,v\n" + "".join(f"{one},v{one}\n" for one in ids))


def _source(folder: Path, **settings: str) -> Source:
    asked = "&".join(f"{name}={value}" for name, value in settings.items())
    assert connector.source is not None
    made = connector.source(connector.from_url(f"file:{folder}/in/*.csv?{asked}"))
    made.lodge(folder / "lodging")
    return made


def _run(folder: Path, known: Position | None, **settings: str) -> tuple[list[int], Position | None]:
    """One incremental run; the ids it read, and the position it leaves."""
    source = _source(folder, **settings)
    try:
        (dataset,) = source.datasets()
        position = source.horizon(dataset, "", known)
        ids = [] if position is None else _ids(source, dataset, known, position)
        source.finished(dataset, position or known)
        return ids, position or known
    finally:
        source.close()


def _ids(source: Source, dataset: Dataset, after: Position | None, until: Position) -> list[Any]:
    split = Split("0", dataset.name, {"after": after, "until": until})
    batches = source.read(Read(dataset, split, mode=Mode.INCREMENTAL))
    return [row["id"] for batch in batches for row in batch.rows.to_pylist()]


def test_files_are_read_once(folder: Path) -> None:
    ids, position = _run(folder, None)
    assert ids == [1, 2]
    assert _run(folder, position) == ([], position)
    _csv(folder / "in" / "0.csv", 7)  # before the others by name: it is new all the same
    ids, position = _run(folder, position)
    assert ids == [7]
    assert _run(folder, position)[0] == []


def test_a_changed_file(folder: Path) -> None:
    _, position = _run(folder, None)
    _csv(folder / "in" / "2.csv", 2, 3)
    assert _run(folder, position, changed="ignore")[0] == []
    with pytest.raises(LostPositionError, match="changed since it was read"):
        _run(folder, position, changed="error")
    assert _run(folder, position)[0] == [2, 3]


def test_what_is_known_is_small_and_forgets_what_is_gone(folder: Path) -> None:
    _, position = _run(folder, None)
    assert position is not None
    assert len(position["seen"]) == 44, "16 bytes a file, as base64"
    (folder / "in" / "1.csv").unlink()
    _csv(folder / "in" / "3.csv", 3)
    _, position = _run(folder, position)
    assert position is not None
    assert len(Known.of(position)) == position["files"] == 2


def test_only_new_files_are_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    real = layout._look_at

    def noted(one: Any, *rest: Any) -> Any:
        looks.append(one.label)
        return real(one, *rest)

    def looked(ids: list[int], known: Position | None) -> tuple[list[str], Position | None]:
        looks.clear()
        read, position = _run(folder, known)
        assert read == ids
        return list(looks), position

    monkeypatch.setattr(layout, "_look_at", noted)
    found, position = looked([1, 2], None)
    assert found == ["1.csv", "2.csv"]
    assert looked([], position)[0] == []
    (folder / "in" / "3.csv").write_text("id,v,more\n3,v3,x\n")
    found, position = looked([3], position)
    assert found == ["3.csv"]
    _csv(folder / "in" / "4.csv", 4)
    found, position = looked([4], position)
    assert found == ["4.csv"]
    (folder / "in" / "4.csv").write_text("id,v\n4,v4\n5,v5\n")  # it has changed: so may have the columns
    assert looked([4, 5], position)[0] == ["1.csv", "2.csv", "3.csv", "4.csv"]
    assert looked([1, 2, 3, 4, 5], None)[0] == ["1.csv", "2.csv", "3.csv", "4.csv"], "the position was lost"


def test_a_full_read_after_incremental_ones_is_of_all_files(folder: Path) -> None:
    _run(folder, None)
    _csv(folder / "in" / "3.csv", 3)
    source = _source(folder)
    (dataset,) = source.datasets()
    assert source.formats == ("csv",)
    splits = source.splits(dataset, 1)
    assert [row["id"] for b in source.read(Read(dataset, splits[0])) for row in b.rows.to_pylist()] == [1, 2, 3]
    source.close()


def test_a_type_that_does_not_go_with_what_is_remembered_is_found(folder: Path) -> None:
    _, position = _run(folder, None)
    (folder / "in" / "3.csv").write_text("id,v\nA-7,v\n")
    source = _source(folder)
    (dataset,) = source.datasets()
    assert str(dataset.schema.field("id").type) == "string"
    until = source.horizon(dataset, "", position)
    assert until is not None
    assert _ids(source, dataset, position, until) == ["A-7"]
    source.close()


def test_a_file_that_changes_between_two_attempts_stops_the_run(folder: Path) -> None:
    source = _source(folder)
    (dataset,) = source.datasets()
    until = source.horizon(dataset, "", None)
    assert until is not None
    _csv(folder / "in" / "2.csv", 8, 9)
    with pytest.raises(LostPositionError):
        _ids(_source(folder), dataset, None, until)


def test_only_files_with_a_marker_are_taken(folder: Path) -> None:
    with pytest.raises(NotFoundError, match="complete"):
        _run(folder, None, marker="{name}.done")
    (folder / "in" / "2.csv.done").touch()
    assert _run(folder, None, marker="{name}.done")[0] == [2]
    (folder / "in" / "1.ok").touch()
    assert _run(folder, None, marker="{stem}.ok")[0] == [1]
    (folder / "in" / "_SUCCESS").touch()
    assert _run(folder, None, marker="_SUCCESS")[0] == [1, 2]


def test_only_files_of_some_age_are_taken(folder: Path) -> None:
    before = time.time() - 100
    os.utime(folder / "in" / "1.csv", (before, before))
    assert _run(folder, None, min_age_seconds="60")[0] == [1]


def test_only_files_that_stand_still_are_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Meanwhile:
        def wait(self, seconds: float) -> None:
            assert seconds == 5
            with (folder / "in" / "2.csv").open("a") as file:
                file.write("9,more\n")

    monkeypatch.setattr("tongqu.connectors.file.source.Event", Meanwhile)
    assert _run(folder, None, stable_seconds="5")[0] == [1]


def test_read_files_are_moved(folder: Path) -> None:
    (folder / "in" / "1.csv.done").touch()
    settings = {"after": "move", "archive": "old", "marker": "{name}.done"}
    _, position = _run(folder, None, **settings)
    assert sorted(p.name for p in (folder / "in").iterdir()) == ["2.csv", "old"]
    assert [p.name for p in (folder / "in" / "old").iterdir()] == ["1.csv"]
    _csv(folder / "in" / "1.csv", 4, 5)  # the same name comes again
    (folder / "in" / "1.csv.done").touch()
    ids, position = _run(folder, position, **settings)
    assert ids == [4, 5]
    assert sorted(p.name for p in (folder / "in" / "old").iterdir()) == ["1.1.csv", "1.csv"]
    assert _run(folder, position, **settings)[0] == [], "nothing is there, and that is no error"


@pytest.mark.parametrize(("archive", "place"), [("../done/x", "done/x"), ("(absolute)", None)])
def test_where_files_go(folder: Path, archive: str, place: str | None) -> None:
    if place is None:
        archive, place = f"{folder}/abs", "abs"
    _run(folder, None, after="move", archive=archive)
    assert sorted(p.name for p in (folder / place).iterdir()) == ["1.csv", "2.csv"]


def test_read_files_are_deleted_and_changed_ones_stay(folder: Path) -> None:
    source = _source(folder, after="delete")
    (dataset,) = source.datasets()
    position = source.horizon(dataset, "", None)
    _csv(folder / "in" / "2.csv", 2, 3)  # a newer one under the same name, which nobody has read
    source.finished(dataset, position)
    assert [p.name for p in (folder / "in").iterdir()] == ["2.csv"]
    assert _run(folder, position, after="delete")[0] == [2, 3]
    assert list((folder / "in").iterdir()) == []


def test_an_archive_goes_when_all_that_is_in_it_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "day.zip", "w") as made:
        made.writestr("orders.csv", "id\n1\n")
        made.writestr("lines.csv", "id\n2\n")
    assert connector.source is not None
    source = connector.source(connector.from_url(f"file:{tmp_path}/day.zip?after=delete"))
    lines, orders = sorted(source.datasets(), key=lambda one: one.name)
    until = {one.name: source.horizon(one, "", None) for one in (lines, orders)}
    source.finished(orders, until["orders"])
    assert (tmp_path / "day.zip").exists()
    source.finished(lines, until["lines"])
    assert not (tmp_path / "day.zip").exists()
    source.close()


def test_moving_needs_a_folder() -> None:
    for settings in ("after=move", "archive=x", "after=delete&archive=x"):
        with pytest.raises(InvalidSettingsError, match="go together"):
            connector.from_url(f"file:x/*.csv?{settings}")


def test_the_command_line_needs_no_cursor(folder: Path) -> None:
    sync = ("sync", "file:in/*.csv", "sqlite:t.db", "--mode", "incremental", "--json")
    assert inside(folder, *sync).document["streams"][0]["written"] == 2
    assert inside(folder, *sync).document["streams"][0]["written"] == 0
    refused = inside(
        folder, "sync", "file:in/*.csv", "sqlite:t.db", "--mode", "incremental", "--cursor", "id", "--json"
    )
    assert refused.code != 0


@pytest.mark.crash
@pytest.mark.parametrize("point", ["before_commit", "after_commit", "in_finish", "after_swap", "after_finish"])
def test_killed_anywhere_each_file_is_read_once_and_then_moved(folder: Path, point: str) -> None:
    sync = ("sync", "file:in/*.csv?after=move&archive=done", "sqlite:t.db", "--mode", "incremental", "--json")
    assert tongqu(folder, *sync, TONGQU_CRASH_AT=point).code == -9
    assert inside(folder, *sync).code == 0
    assert inside(folder, *sync).code == 0
    with sqlite3.connect(folder / "t.db") as database:
        assert sorted(database.execute('SELECT id FROM "in"')) == [(1,), (2,)]
    database.close()
    assert sorted(p.name for p in (folder / "in").iterdir()) == ["done"]
    assert sorted(p.name for p in (folder / "in" / "done").iterdir()) == ["1.csv", "2.csv"]


def test_an_archived_file_is_never_written_over(folder: Path) -> None:
    settings = {"after": "move", "archive": "old"}
    _, position = _run(folder, None, **settings)
    _csv(folder / "in" / "1.csv", 4)  # the name of another one, and as many bytes
    assert _run(folder, position, **settings)[0] == [4]
    assert sorted(p.read_text() for p in (folder / "in" / "old").iterdir()) == [
        "id,v\n1,v1\n", "id,v\n2,v2\n", "id,v\n4,v4\n",
    ]  # fmt: skip


@pytest.mark.parametrize(("path", "archive"), [("in/", "old"), ("**/*.csv", "old"), ("**/*.csv", "../done/x")])
def test_archived_files_are_not_read_again(folder: Path, path: str, archive: str) -> None:
    assert connector.source is not None
    url = f"file:{folder}/{path}?after=move&archive={archive}"
    for ids in ([1, 2], [7]):
        source = connector.source(connector.from_url(url))
        datasets = source.datasets()
        found = []
        for dataset in datasets:
            until = source.horizon(dataset, "", None)
            assert until is not None
            found += _ids(source, dataset, None, until)
            source.finished(dataset, until)
        source.close()
        assert sorted(found) == ids
        _csv(folder / "in" / "9.csv", 7)


@pytest.mark.parametrize("raw", [False, True])
def test_a_file_that_is_written_over_while_it_is_read_stops_the_run(folder: Path, raw: bool) -> None:
    path = folder / "in" / "2.csv"
    path.write_text("id,v\n" + "7,a\n" * 500_000)
    source = _source(folder)
    (dataset,) = source.datasets()
    read = Read(dataset, Split("0", dataset.name, {"until": source.horizon(dataset, "", None)}), mode=Mode.INCREMENTAL)

    def arriving() -> Iterator[object]:
        if not raw:
            yield from source.read(read)
            return
        select = Select(tuple(Column(name) for name in dataset.columns))
        for piece in source.copy_out(read, select, "csv"):
            yield from piece.chunks

    arrived = arriving()
    next(arrived)
    with path.open("r+") as file:
        file.write("id,v\n" + "7,b\n" * 500_000)
    with pytest.raises(LostPositionError):
        list(arrived)
    source.close()


class _Silent(Place):
    """A place that tells nothing of a file but its bytes, as programs behind HTTP often do."""

    content = b"id,v\n1,v1\n"

    def look(self, path: str) -> Entry:
        return Entry(path)

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        yield self.content[offset:]

    def close(self) -> None:
        """Nothing is open."""

    entries = stages = put = rename = delete = make_folder = delete_folder = None  # type: ignore[assignment]  # not asked


def test_a_file_of_which_nothing_is_told_may_be_new_every_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tongqu.kit.places.opening.open_place", lambda *_: _Silent("http://x"))
    assert connector.source is not None

    def run(known: Position | None, **settings: str) -> tuple[list[int], Position | None]:
        asked = "&".join(f"{name}={value}" for name, value in settings.items())
        source = connector.source(connector.from_url(f"http://x/list.csv#{asked}"))  # type: ignore[misc]  # it is there
        source.lodge(folder / "lodging")
        (dataset,) = source.datasets()
        until = source.horizon(dataset, "", known)
        return [] if until is None else _ids(source, dataset, known, until), until or known

    ids, position = run(None)
    assert ids == [1]
    monkeypatch.setattr(_Silent, "content", b"id,v\n1,v1\n2,v2\n")
    assert run(position)[0] == [1, 2]
    assert run(position, changed="ignore")[0] == []
