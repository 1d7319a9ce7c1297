"""Whatever transactions do, however the redo is cut into windows and wherever a reader dies: the target is right."""

from __future__ import annotations

import sys
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tongqu.connectors.oracle import connector
from tongqu.connectors.oracle.settings import from_url
from tongqu.core.data import Batch, Position
from tongqu.core.log import OP, Follow
from tongqu.testing.dbapi import PlayedError
from tongqu.testing.mined_redo import Transaction
from tongqu.testing.mined_server import MinedDriver, MinedServer

COLUMNS = [("id", "NUMBER(18,0)"), ("v", "VARCHAR2(20 CHAR)")]
FOLLOWING = "tongqu.connectors.oracle.log.reading"
KEYS = st.integers(1, 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(1, 2)),
        st.tuples(st.sampled_from(["insert", "update", "delete", "move"]), st.integers(0, 3), KEYS, KEYS),
        st.tuples(st.sampled_from(["savepoint", "back", "commit", "commit", "rollback"]), st.integers(0, 3)),
        st.tuples(st.sampled_from(["switch", "wait", "flush"]), st.integers(1, 2)),
        st.tuples(st.just("read"), st.integers(1, 9)),
    ),
    min_size=5,
    max_size=60,
)


class Copy:
    """A target that takes batches whole with their position, or not at all."""

    def __init__(self, position: Position, rows: dict[tuple[str, int], Any]):
        self.position, self.rows = position, rows

    def take(self, batches: list[Batch]) -> None:
        """Every change must fit: nothing comes twice, nothing is missing."""
        for batch in batches:
            for row in batch.rows.to_pylist() if batch.kind == "rows" else []:
                key = (batch.dataset, row["id"])
                assert (key in self.rows) == (row[OP] != "c"), (row, "does not fit")
                if row[OP] == "d":
                    assert self.rows.pop(key) == row["v"]
                else:
                    self.rows[key] = row["v"]
        if batches:
            assert batches[-1].position is not None
            self.position = batches[-1].position


def follow(copy: Copy, settle: float, most: int | None) -> None:
    """A reader, which dies after so many batches, or comes to the end."""
    assert connector.source is not None
    source = connector.source(from_url(f"oracle://etl:x@127.0.0.1:1521/PLANT?settle_seconds={settle}"))
    log = source.log("sync", source.datasets(["items", "lines"]))
    stop = Event()
    held: list[Batch] = []
    try:
        until = log.head() if most is None else None
        for number, batch in enumerate(log.read(Follow(copy.position, until=until, batch_rows=3, stop=stop)), 1):
            held.append(batch)
            if batch.position is not None:
                copy.take(held)
                held = []
            if number == most:
                break
    finally:
        log.close()
        source.close()


def play(server: MinedServer, open_: list[Transaction], marks: dict[int, int], step: tuple[Any, ...]) -> None:
    """One step of somebody; what cannot be done is not."""
    what, *more = step
    if what == "begin":
        if len(open_) < 4:
            open_.append(server.begin(more[0]))
    elif what == "switch":
        server.switch(more[0])
    elif what == "wait":
        server.waiting.add(more[0])
    elif what == "flush":
        server.flush(more[0])
    elif open_:
        one = open_[more[0] % len(open_)]
        if what == "savepoint":
            marks[id(one)] = one.savepoint()
        elif what == "back":
            one.rollback_to(min(marks.get(id(one), 0), one.savepoint()))
        elif what in ("commit", "rollback"):
            open_.remove(one)
            (one.commit if what == "commit" else one.rollback)()
        else:
            _change(server, one, what, *more[1:])


def _change(server: MinedServer, one: Transaction, what: str, key: int, other: int) -> None:
    held = server.held["items" if (key + other) % 3 else "lines"]
    try:
        if what == "insert" and key not in held.present:
            one.insert(held.name, {"id": key, "v": f"{server.scn}'"})
        elif what == "update" and key in held.present:
            one.update(held.name, key, v=f"u{server.scn}")
        elif what == "delete" and key in held.present:
            one.delete(held.name, key)
        elif what == "move" and key in held.present and other not in held.present:
            one.update(held.name, key, id=other)
    except PlayedError:
        return  # another transaction has locked it


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, STEPS, st.integers(1, 40), st.sampled_from([0, 300, 1 << 20]))
def test_the_target_is_what_was_committed(
    before: list[tuple[Any, ...]], steps: list[tuple[Any, ...]], window: int, memory: int
) -> None:
    server = MinedServer(threads=2)
    for name in ("items", "lines"):
        server.create(name, COLUMNS, [{"id": 1, "v": "one"}, {"id": 2, "v": "two"}])
    open_: list[Transaction] = []
    marks: dict[int, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "oracledb", MinedDriver(server))
        sizes = {"_STEP": window, "_LEAST": 1, "_SHORT": -1.0, "_LONG": 1e9, "MOST": memory}
        times = {"_POLL": 0.0, "_SOON": 0.0, "_SAY": -1.0, "_PATIENCE": 0.0}
        for name, value in {**sizes, **times}.items():
            patch.setattr(f"{FOLLOWING}.{name}", value)
        for step in before:
            if step[0] != "read":
                play(server, open_, marks, step)
        copy = Copy(*_begun(server))
        for step in steps:
            if step[0] == "read":
                follow(copy, 3_600.0, step[1])
            else:
                play(server, open_, marks, step)
        for one in list(open_):
            one.commit()
        for thread in (1, 2):
            server.flush(thread)
        follow(copy, 0.0, None)
    committed = {
        (held.name, key): row["v"] for held in server.held.values() for key, row in held.committed.items()
    }  # fmt: skip
    assert copy.rows == committed


def _begun(server: MinedServer) -> tuple[Position, dict[tuple[str, int], Any]]:
    """Where a log begins, and the rows as of then."""
    assert connector.source is not None
    source = connector.source(from_url("oracle://etl:x@127.0.0.1:1521/PLANT"))
    log = source.log("sync", source.datasets(["items", "lines"]))
    try:
        position = log.begin()
    finally:
        log.close()
        source.close()
    rows = {(held.name, key): row["v"] for held in server.held.values() for key, row in held.committed.items()}
    return position, rows
