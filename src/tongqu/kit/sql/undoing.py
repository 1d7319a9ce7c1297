"""Undoes the last replace of a table in any SQL sink: looks whether it may, exchanges the generations, commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tongqu.kit.db import Db
from tongqu.kit.faults import crash_point
from tongqu.kit.ledger import CHECKPOINT
from tongqu.kit.sql.landing import previous_name
from tongqu.kit.undoing import nothing_kept, refuse_while_written

if TYPE_CHECKING:
    from tongqu.kit.sql.sink import SqlSink


def undo(sink: SqlSink, db: Db, dataset: str) -> int:
    """See Sink.undo; in one transaction of `db`, which has none open."""
    db.begin()
    try:
        if not sink.has_table(db, previous_name(dataset)):
            raise nothing_kept(dataset)
        if sink.has_table(db, CHECKPOINT):
            refuse_while_written(dataset, sink.ledger(db).writer(dataset))
        rows = sink.put_back(db, dataset)
        crash_point("in_undo")
    except BaseException:
        db.rollback()
        raise
    db.commit()
    return rows
