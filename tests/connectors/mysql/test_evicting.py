"""Whose sessions are ended when a lock cannot be had: those of a predecessor that sleeps, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from time import monotonic
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from tongqu.connectors.mysql.db import MysqlDb
from tongqu.connectors.mysql.evicting import Mark, evict
from tongqu.connectors.mysql.settings import MysqlSettings, from_url
from tongqu.connectors.mysql.sink import MysqlSink
from tongqu.core.connector import Session
from tongqu.core.data import Checkpoint, Counts, Dataset, Opened, Split, Write, WriteMode
from tongqu.core.errors import BusyError, ConnectError, FencedError

ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64())})
SPLIT = Split("0", "t")
WRITE = Write(stream="t", dataset=Dataset("t", ROWS.schema), mode=WriteMode.APPEND, sync="s", run="r", incremental=True)
Sql = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def settings(mysql_url: str, sql: Sql) -> Iterator[MysqlSettings]:
    """A login with no right but that to its database, which waits for locks for a second."""
    name = f"u{urlsplit(mysql_url).path[3:]}"
    sql(f"CREATE USER {name}@'%' IDENTIFIED BY 'pw'", f"GRANT ALL ON {urlsplit(mysql_url).path[1:]}.* TO {name}@'%'")
    yield from_url(f"{mysql_url}?user={name}&password=pw&lock_seconds=1")
    sql(f"DROP USER {name}@'%'")


def asleep(sink: MysqlSink) -> Session:
    """A session that has written rows and says nothing more."""
    sink.start("s", "r", False)
    sink.open(WRITE)
    sink.begin(WRITE, [SPLIT])
    session = sink.session(WRITE, SPLIT)
    session.write(ROWS)
    sink.control().begin()
    sink.ledger(sink.control()).splits("s", "t")  # these are locked: whoever opens the stream waits for them
    return session


def opened(sink: MysqlSink) -> Opened:
    """Opens the stream as soon as it can be."""
    until = monotonic() + 60
    while monotonic() < until:
        with suppress(BusyError, ConnectError):
            return sink.open(WRITE)
    pytest.fail("the lock could not be had")


def test_a_predecessor_that_sleeps_is_ended_without_any_privilege(settings: MysqlSettings) -> None:
    with closing(MysqlSink(settings)) as predecessor, closing(MysqlSink(settings)) as successor:
        session = asleep(predecessor)
        successor.start("s", "r", False)

        assert opened(successor).checkpoints["0"].position is None

        with pytest.raises(ConnectError):
            session.commit(Checkpoint(SPLIT, {"at": 1}, Counts(read=3, inserted=3)))
        session.close()
        with pytest.raises(FencedError):
            predecessor.reopen(WRITE)


def test_others_are_waited_for_and_left_alone(settings: MysqlSettings) -> None:
    with closing(MysqlSink(settings)) as sink, closing(MysqlDb(settings)) as other:
        sink.start("s", "r", False)
        sink.open(WRITE)
        other.begin()
        other.rows("SELECT * FROM _tongqu_checkpoint FOR UPDATE")

        with pytest.raises(BusyError, match="waited too long for a lock"):
            sink.open(WRITE)

        assert other.rows("SELECT 1") == [(1,)]


def test_a_process_that_wakes_up_and_one_that_waits_for_itself_end_nobody(settings: MysqlSettings) -> None:
    """The one comes too late: the sync's row names a later attempt."""
    with closing(MysqlSink(settings)) as late, closing(MysqlSink(settings)) as now:
        late.start("s", "r", False)
        session = asleep(now)

        at_once = settings.model_copy(update={"lock_seconds": 0})
        assert evict(at_once, Mark("s", "r", 1)) == 0
        assert evict(at_once, Mark("s", "r", 2)) == 0  # nor does an attempt end sessions of its own

        now.control().rollback()
        session.commit(Checkpoint(SPLIT, {"at": 1}, Counts(read=3, inserted=3)))
        session.close()
