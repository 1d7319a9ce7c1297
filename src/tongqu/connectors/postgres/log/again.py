"""Reads one table again while its changes are followed: in chunks by key, each put between two transactions.

After DBLog (arXiv 2010.12597), without writing marks: a chunk is read while the log stands between two transactions,
and goes in at once. What the log brings after it is as old as the chunk's snapshot or newer, and ends at or behind it.
What the log brought before must have been seen by the snapshot: a transaction is in the log before others can see it,
so a chunk whose snapshot does not see a transaction that was already brought is thrown away and read again.

State is the last key, the greatest key and the table, kept as the comment of the publication (O(1)); it is written
when everything up to the end of the log as it was after the chunk is durable.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.connectors.postgres import arrow_read
from tongqu.connectors.postgres.db import PgDb
from tongqu.connectors.postgres.log import publication
from tongqu.connectors.postgres.ranges import Bound, Ordering
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.core.data import Batch, Dataset
from tongqu.core.errors import NotFoundError
from tongqu.core.log import AT, OP

CHUNK_ROWS = 8192
SNAPSHOT = "SELECT txid_current_snapshot()::text"
_XIDS = 1 << 32
_AGAIN, _WANTED = "again", "wanted"


@dataclass
class Table:
    """One table on its way: everything up to `last` came; `end` was its greatest key when it began."""

    name: str
    last: Bound | None = None
    end: Bound | None = None


class Again:
    """The tables that are being read again. All but `want` is called by the thread that reads the log."""

    def __init__(
        self, settings: PostgresSettings, db: Callable[[], PgDb], name: str, lock: AbstractContextManager[Any]
    ):
        self._settings = settings
        self._db = db
        self._name = name
        self._lock = lock
        self.end = 0
        """The log behind which all chunks that were given stand."""
        self._wanted: deque[str] = deque()
        self._tables: list[Table] = []
        self._marks: deque[tuple[int, str]] = deque()

    def want(self, dataset: str) -> None:
        """Begin with this table when its turn comes; that it is wanted is durable when this returns."""
        with self._lock:
            self._wanted.append(dataset)
            self._noted(_WANTED, sorted(set(self._wanted)))

    def _noted(self, what: str, value: Sequence[Any]) -> None:
        with self._lock:
            publication.noted(self._db(), self._name, what, value)

    @property
    def pending(self) -> bool:
        """Whether there is a chunk to be read."""
        return bool(self._wanted or self._tables)

    def load(self) -> None:
        """Go on where an earlier process was known to be."""
        with self._lock:
            note = publication.note(self._db(), self._name)
            self._tables = [Table(**table) for table in note.get(_AGAIN, ())]
            self._wanted = deque(note.get(_WANTED, ()))
        self._marks.clear()

    def durable(self, lsn: int) -> None:
        """Everything up to `lsn` is durable: keep the newest state that lies before it."""
        note: str | None = None
        while self._marks and self._marks[0][0] <= lsn:
            note = self._marks.popleft()[1]
        if note is not None:
            self._noted(_AGAIN, json.loads(note))

    def _note(self) -> str:
        return json.dumps([vars(table) for table in self._tables])

    def chunk(
        self,
        orderings: dict[str, tuple[Dataset, Ordering]],
        xids: Sequence[np.ndarray[Any, Any]],
        head: Callable[[], int],
    ) -> Iterator[Batch]:
        """The next chunk's rows, without position; nothing if its snapshot is too old, then it is asked for again."""
        while self._wanted:
            self._begin(self._wanted.popleft(), orderings)
        self._tables = [table for table in self._tables if table.name in orderings]  # others were lost meanwhile
        if not self._tables:
            return
        table = self._tables[0]
        dataset, ordering = orderings[table.name]
        reader = arrow_read.ArrowReader(self._settings, None)
        try:
            if unseen(str(reader.rows(SNAPSHOT)[0][0]), xids):
                return
            counted = reader.rows(ordering.probe(table.last, table.end, CHUNK_ROWS)) if table.end else []
            bound = [str(value) for value in counted[0]] if counted else table.end
            if table.end is not None:
                condition = ordering.condition(table.last, bound)
                columns = dataset.columns
                query = f"SELECT {arrow_read.select_list(dataset, columns)} FROM {ordering.table} WHERE {condition}"
                bad = 0
                for batch in reader.batches(query, dataset.schema):
                    rows, count = arrow_read.take_bad(batch)
                    bad += count
                    yield Batch(dataset.name, _as_read(rows), None, ends_transaction=False)
                if bad:
                    refused = arrow_read.bad_rows(reader, dataset, columns, condition, ordering.table)
                    yield Batch(
                        dataset.name,
                        _as_read(pa.RecordBatch.from_pylist([], schema=dataset.schema)),
                        None,
                        ends_transaction=False,
                        bad=tuple(refused),
                    )
        except NotFoundError:
            return  # it was altered since, and the log will come to that: read then
        finally:
            reader.close()
        table.last = bound
        if bound == table.end:
            self._tables.pop(0)
        self.end = head()
        self._marks.append((self.end, self._note()))

    def _begin(self, name: str, orderings: dict[str, tuple[Dataset, Ordering]]) -> None:
        if name not in orderings:
            self._noted(_WANTED, sorted(set(self._wanted)))
            return
        if any(table.name == name for table in self._tables):
            self._tables = [table for table in self._tables if table.name != name]
        found = self._db().rows(orderings[name][1].last())
        self._tables.append(Table(name, None, [str(value) for value in found[0]] if found else None))
        self._noted(_AGAIN, json.loads(self._note()))
        self._noted(_WANTED, sorted(set(self._wanted)))


def _as_read(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with the control columns of rows that were read again."""
    count = rows.num_rows
    ops = pa.repeat(pa.scalar("r", pa.string()), count)
    arrays: list[Any] = [*rows.columns, ops, pa.nulls(count, pa.timestamp("us", "UTC"))]
    fields = [*rows.schema, pa.field(OP, pa.string(), nullable=False), pa.field(AT, pa.timestamp("us", "UTC"))]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def unseen(snapshot: str, xids: Sequence[np.ndarray[Any, Any]]) -> bool:
    """Whether a snapshot `xmin:xmax:open,…` does not see one of these transactions (their ids are of 32 bits)."""
    low, high, running = snapshot.split(":")
    first, span = int(low) % _XIDS, int(high) - int(low)
    still = [(int(xid) - int(low)) % _XIDS for xid in running.split(",") if xid]
    for some in xids:
        ahead = (some - first) % _XIDS
        near = ahead < _XIDS // 2
        if bool((near & ((ahead >= span) | np.isin(ahead, still))).any()):
            return True
    return False
