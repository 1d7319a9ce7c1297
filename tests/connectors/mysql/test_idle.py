"""A process that sleeps in a transaction does not hold up its successor for ever."""

from __future__ import annotations

from contextlib import closing
from threading import Event

import pyarrow as pa
import pytest

from tongqu.connectors.mysql.settings import from_url
from tongqu.connectors.mysql.sink import MysqlSink
from tongqu.core.data import Checkpoint, Counts, Dataset, Split, Write, WriteMode
from tongqu.core.errors import ConnectError

IDLE = """
SELECT count(*) FROM information_schema.innodb_trx t
JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID()
"""
ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64())})


def test_the_server_ends_a_transaction_of_ours_in_which_nothing_is_said(mysql_url: str) -> None:
    settings = from_url(mysql_url).model_copy(update={"idle_seconds": 1})
    asleep, successor = MysqlSink(settings), MysqlSink(settings)
    split = Split("0", "t")
    write = Write(
        stream="t", dataset=Dataset("t", ROWS.schema), mode=WriteMode.APPEND, sync="s", run="r", incremental=True
    )
    asleep.start("s", "r", False)
    asleep.open(write)
    asleep.begin(write, [split])
    session = asleep.session(write, split)
    session.write(ROWS)

    with closing(MysqlSink(settings)) as looking:
        assert any(looking.control().rows(IDLE) == [(0,)] or Event().wait(0.2) for _ in range(300))

    successor.start("s", "r", False)
    assert successor.open(write).checkpoints["0"].position is None
    with pytest.raises(ConnectError):
        session.commit(Checkpoint(split, {"at": 1}, Counts(read=3, inserted=3)))
    session.close()
    asleep.close()
    successor.close()
