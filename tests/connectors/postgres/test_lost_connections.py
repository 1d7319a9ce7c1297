"""A server that comes back finds a sink that trusts none of the connections it had."""

from __future__ import annotations

from threading import Event

import pyarrow as pa
import pytest

from tongqu.connectors.postgres.settings import from_url
from tongqu.connectors.postgres.sink import PostgresSink
from tongqu.core.data import Checkpoint, Counts, Dataset, Split, Write, WriteMode
from tongqu.core.errors import ConnectError
from tongqu.testing.psql import execute, rows

ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64())})


def test_connections_that_were_put_by_are_not_tried_one_after_the_other(pg_url: str) -> None:
    """Four sessions gave theirs back when the server went down: the next session must not get a dead one, or each of
    them would use up one of the retries."""
    sink = PostgresSink(from_url(pg_url))
    splits = [Split(str(number), "t") for number in range(4)]
    write = Write(
        stream="t", dataset=Dataset("t", ROWS.schema), mode=WriteMode.APPEND, sync="s", run="r", incremental=True
    )
    sink.start("s", "r", False)
    sink.open(write)
    sink.begin(write, splits)
    sessions = [sink.session(write, split) for split in splits]
    for split, session in zip(splits, sessions, strict=True):
        session.write(ROWS)
        session.commit(Checkpoint(split, {"at": 1}, Counts(read=3, inserted=3)))
    for session in sessions:
        session.close()
    execute(pg_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND pid <> pg_backend_pid()")  # fmt: skip

    checkpoint = sink.reopen(write).checkpoints["0"]
    session = sink.session(write, splits[0])
    session.write(ROWS)
    session.commit(Checkpoint(splits[0], {"at": 2}, Counts(read=6, inserted=6), done=True))

    assert checkpoint.position == {"at": 1}
    assert rows(pg_url, "SELECT count(*) FROM t") == [(15,)]
    session.close()
    sink.close()


def test_a_process_that_sleeps_in_a_transaction_holds_up_its_successor_for_idle_seconds_at_most(pg_url: str) -> None:
    settings = from_url(pg_url).model_copy(update={"idle_seconds": 1})
    asleep, successor = PostgresSink(settings), PostgresSink(settings)
    split = Split("0", "t")
    write = Write(
        stream="t", dataset=Dataset("t", ROWS.schema), mode=WriteMode.APPEND, sync="s", run="r", incremental=True
    )
    asleep.start("s", "r", False)
    asleep.open(write)
    asleep.begin(write, [split])
    session = asleep.session(write, split)
    session.write(ROWS)
    idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
    assert any(rows(pg_url, idle) == [(0,)] or Event().wait(0.1) for _ in range(600))

    successor.start("s", "r", False)
    assert successor.open(write).checkpoints["0"].position is None
    with pytest.raises(ConnectError):
        session.commit(Checkpoint(split, {"at": 1}, Counts(read=3, inserted=3)))
    assert rows(pg_url, "SELECT count(*) FROM t") == [(0,)]
    session.close()
    asleep.close()
    successor.close()
