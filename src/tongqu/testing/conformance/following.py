"""Holds every connector that has a log to the promises of `core.log`: one line each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from threading import Event
from time import monotonic
from typing import Any

import pytest

from tongqu.core import registry
from tongqu.core.connector import Can
from tongqu.core.data import Batch, Position, WriteMode
from tongqu.core.errors import LostPositionError
from tongqu.core.log import OP, UNCHANGED, Follow, Log
from tongqu.testing.conformance.place import Place, items

NAME = "tongqu_promises"
SECONDS = 120
"""A check that takes longer fails."""
_STOP = 5.0
_FIRST, _CHUNKS, _EACH = 3, 4, 3


class LogChecks:
    """The promises of a log; `place` is an empty one."""

    lost: Callable[[Position], Position]
    sql: Callable[[str, str], None] | None
    changes: bool

    def test_rows_come_in_order_and_it_goes_on_after_any_position(self, place: Place) -> None:
        with self._followed(place) as (log, after):
            for number in range(_CHUNKS):
                self._add(place, number)
            found = list(log.read(Follow(after, until=log.head())))
            everything = self._ids(found)
            assert everything[-_CHUNKS * _EACH :] == [n for chunk in range(_CHUNKS) for n in _chunk(chunk)]
            for number, batch in enumerate(found):
                if batch.position is not None:
                    rest = self._ids(found[number + 1 :])
                    assert self._ids(log.read(Follow(batch.position, until=log.head()))) == rest

    def test_a_reader_that_vanished_has_lost_nothing(self, place: Place) -> None:
        with self._followed(place) as (log, after):
            for number in range(_CHUNKS):
                self._add(place, number)
            whole = self._ids(log.read(Follow(after, until=log.head())))
        read: list[Batch] = []
        with self._opened(place) as log:
            for batch in log.read(Follow(after, batch_rows=2)):
                read.append(batch)
                if batch.position is not None and self._ids(read):
                    break
            durable = read[-1].position
            assert durable is not None
            log.acknowledge(durable)
        seen = self._ids(read)
        with self._opened(place) as log:
            assert seen + self._ids(log.read(Follow(durable, until=log.head()))) == whole

    def test_it_ends_at_until(self, place: Place) -> None:
        with self._followed(place) as (log, after):
            self._add(place, 0)
            until = log.head()
            self._add(place, 1)
            found = list(log.read(Follow(after, until=until)))
            ids, last = self._ids(found), [batch.position for batch in found if batch.position is not None][-1]
            assert set(_chunk(0)) <= set(ids)
            assert log.reached(last, until)
            assert log.reached(log.head(), until)
            rest = self._ids(log.read(Follow(last, until=log.head())))
            assert (ids + rest)[-2 * _EACH :] == [*_chunk(0), *_chunk(1)]

    def test_an_idle_log_gives_signs_of_life_and_stops_in_time(self, place: Place) -> None:
        stop = Event()
        with self._followed(place) as (log, after):
            beats, asked = 0, 0.0
            for batch in log.read(Follow(after, stop=stop)):
                beats += batch.kind == "heartbeat"
                if beats == 2 and not stop.is_set():
                    asked = monotonic()
                    stop.set()
            assert beats >= 2
            assert monotonic() - asked < _STOP * 6  # what it is held to is 5 s; the machine may be slow

    def test_a_position_that_it_does_not_have_is_lost(self, place: Place) -> None:
        with self._followed(place) as (log, after):
            self._add(place, 0)
            at = [b.position for b in log.read(Follow(after, until=log.head())) if b.position is not None][-1]
            with pytest.raises(LostPositionError) as told:
                list(log.read(Follow(type(self).lost(at), until=log.head())))
            assert told.value.hint

    def test_a_changed_key_is_a_delete_and_a_new_row(self, place: Place) -> None:
        with self._followed(place) as (log, after):
            self._run(place, "UPDATE items SET id = 99 WHERE id = 1")
            found = self._rows(log.read(Follow(after, until=log.head())))
            assert [(row[OP], row["id"]) for row in found] == [("d", 1), ("c", 99)]
            assert "v" not in (found[-1].get(UNCHANGED) or [])

    def test_an_emptied_table_is_told(self, place: Place) -> None:
        with self._followed(place) as (log, after):
            self._run(place, "TRUNCATE TABLE items")
            self._add(place, 0)
            found = list(log.read(Follow(after, until=log.head())))
            kinds = [batch.kind for batch in found if batch.kind != "heartbeat"]
            assert kinds[0] == "truncate" or {row[OP] for row in self._rows(found[:1])} == {"d"}
            assert self._ids(found)[-_EACH:] == [*_chunk(0)]

    def test_a_new_column_is_told_before_its_rows(self, place: Place) -> None:
        with self._followed(place) as (log, after):
            self._add(place, 0)
            self._run(place, "ALTER TABLE items ADD COLUMN w integer")
            self._run(place, "INSERT INTO items (id, v, w) VALUES (98, 'new', 7)")
            found = [b for b in log.read(Follow(after, until=log.head())) if b.kind != "heartbeat"]
            place_of = [batch.kind for batch in found].index("schema")
            assert found[place_of].rows.schema.names == ["id", "v", "w"]
            assert self._ids(found[:place_of]) == [*_chunk(0)]
            assert [(row["id"], row["w"]) for row in self._rows(found[place_of:])] == [(98, 7)]

    # ---- what they are made of

    @contextmanager
    def _opened(self, place: Place) -> Iterator[Log]:
        with place.source() as source:
            log = source.log(NAME, [place.dataset(source)])
            try:
                yield log
            finally:
                log.close()

    @contextmanager
    def _followed(self, place: Place) -> Iterator[tuple[Log, Position]]:
        """A log that begins behind three rows, and forgets afterwards what it kept."""
        place.fill(items(range(1, _FIRST + 1)))
        with self._opened(place) as log:
            yield log, log.begin()

    def _add(self, place: Place, number: int) -> None:
        rows = items(_chunk(number))
        if self.changes:
            place.change(rows, run=f"chunk {number}")
        else:
            place.put([rows], place.ask(rows, WriteMode.APPEND, run=f"chunk {number}"))

    def _run(self, place: Place, statement: str) -> None:
        assert type(self).sql is not None
        type(self).sql(place.url, statement)  # type: ignore[misc]  # looked at just now

    def _rows(self, batches: Iterable[Batch]) -> list[dict[str, Any]]:
        return [row for batch in batches if batch.kind == "rows" for row in batch.rows.to_pylist()]

    def _ids(self, batches: Iterable[Batch]) -> list[int]:
        return [row["id"] for row in self._rows(batches) if row.get(OP) != "d"]


class HandedChecks(LogChecks):
    """The promises of the log of a queue that hands each message out once: the broker keeps what is not acknowledged.
    What is handed out again may come in another order."""

    def test_rows_come_in_order_and_it_goes_on_after_any_position(self, place: Place) -> None:
        with self._followed(place) as (log, after):
            for number in range(_CHUNKS):
                self._add(place, number)
            assert self._ids(self._some(log, after, len(_ALL))) == _ALL

    def test_a_reader_that_vanished_has_lost_nothing(self, place: Place) -> None:
        with self._followed(place) as (log, after):
            for number in range(_CHUNKS):
                self._add(place, number)
            assert self._ids(self._some(log, after, len(_ALL))) == _ALL
        with self._opened(place) as log:
            read = self._some(log, log.begin(), 1)
            durable = read[-1].position
            assert durable is not None
            log.acknowledge(durable)
        seen = self._ids(read)
        assert len(seen) < len(_ALL)
        with self._opened(place) as log:
            assert sorted(seen + self._ids(self._some(log, durable, len(_ALL) - len(seen)))) == _ALL

    def test_it_ends_at_until(self, place: Place) -> None:
        with self._followed(place) as (log, after):
            self._add(place, 0)
            until = log.head()
            found = list(log.read(Follow(after, until=until)))
            assert self._ids(found) == _ALL[: _FIRST + _EACH]
            last = [batch.position for batch in found if batch.position is not None][-1]
            assert log.reached(last, until)
            assert not log.reached(after, until)

    def _some(self, log: Log, after: Position, rows: int) -> list[Batch]:
        """What comes until there are so many rows and a position."""
        asked = Follow(after, batch_rows=2)
        found: list[Batch] = []
        with closing(iter(log.read(asked))) as reading:  # type: ignore[type-var]  # a generator
            for batch in reading:
                found.append(batch)
                if len(self._ids(found)) >= rows and batch.position is not None:
                    asked.stop.set()
                    break
        return found


_BY_SQL = (
    LogChecks.test_a_changed_key_is_a_delete_and_a_new_row,
    LogChecks.test_an_emptied_table_is_told,
    LogChecks.test_a_new_column_is_told_before_its_rows,
)


def _chunk(number: int) -> range:
    first = 10 + number * _EACH
    return range(first, first + _EACH)


_ALL = [*range(1, _FIRST + 1), *(number for chunk in range(_CHUNKS) for number in _chunk(chunk))]


def following(
    connector: str,
    place: Callable[[pytest.FixtureRequest], str],
    *,
    lost: Callable[[Position], Position] | None = None,
    sql: Callable[[str, str], None] | None = None,
    settings: Mapping[str, Any] | None = None,
    without: Sequence[str] = (),
) -> type:
    """The test class of a connector's log. `place` returns the URL of an empty place, new for each check; `lost` makes
    of a position one that the log does not have; None: it is of a queue that hands each message out once, and its
    broker knows no position. `settings` are more than the URL's. `sql` runs a statement at a URL, where the log is of
    tables: then changes of keys, schemas and emptied tables are checked too. `without` names checks that cannot
    hold."""
    found = registry.connector(connector)
    assert (Can.CDC if sql is not None else Can.STREAM) in found.can
    body: dict[str, Any] = {
        "__doc__": f"The promises that the log of {found.name} keeps.",
        "lost": staticmethod(lost) if lost is not None else None,
        "sql": staticmethod(sql) if sql is not None else None,
        "changes": sql is not None,
    }

    @pytest.fixture(name="place")
    def made(self: Any, request: pytest.FixtureRequest) -> Place:
        own = request.getfixturevalue("tmp_path")
        return Place(found, place(request), own.with_name(f"{own.name}-lodging"), settings or {})

    body["place"] = made
    hidden = {*without, *(check.__name__ for check in _BY_SQL if sql is None)}
    if lost is None:
        hidden.add(LogChecks.test_a_position_that_it_does_not_have_is_lost.__name__)
    for name, _ in inspect.getmembers(LogChecks, inspect.isfunction):
        if name in hidden:
            body[name] = None
    return pytest.mark.timeout(SECONDS)(
        type(f"Test{found.name.title()}Log", (LogChecks if lost else HandedChecks,), body)
    )
