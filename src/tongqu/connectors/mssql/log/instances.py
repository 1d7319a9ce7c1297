"""The capture instances of followed tables: which of them has the changes behind a place.

Sources: cdc.change_tables, cdc.captured_columns, cdc.ddl_history and sys.fn_cdc_get_min_lsn in Microsoft's
Transact-SQL reference. A table has at most two; cleanup raises `start_lsn` of all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tongqu.connectors.mssql.log.session import RESYNC, Followed
from tongqu.core.errors import LostPositionError, NotFoundError
from tongqu.kit.tables.db import TableDb

NO_LSN = "0" * 20
_OWN = """
SELECT OBJECT_SCHEMA_NAME(t.source_object_id), OBJECT_NAME(t.source_object_id), t.capture_instance, t.object_id,
       t.start_lsn, c.column_name, c.column_ordinal, CAST(c.is_computed AS int),
       (SELECT MIN(h.ddl_lsn) FROM cdc.ddl_history h WHERE h.object_id = t.object_id),
       (SELECT MAX(h.ddl_lsn) FROM cdc.ddl_history h WHERE h.object_id = t.object_id)
FROM cdc.change_tables t JOIN cdc.captured_columns c ON c.object_id = t.object_id
WHERE t.source_object_id IN ({tables})
ORDER BY t.create_date, t.object_id, c.column_ordinal
"""


def hexed(value: object) -> str:
    """An LSN (binary(10)) as 20 digits, which compare as it does; nothing is the lowest."""
    return bytes(value).hex() if isinstance(value, bytes | bytearray | memoryview) else NO_LSN


def after(lsn: str) -> str:
    """The next one, as sys.fn_cdc_increment_lsn gives it."""
    return f"{int(lsn, 16) + 1:020x}"


@dataclass
class Instance:
    """One capture instance: its changes from `start` on; `start` is all zeros until the capture job has seen it."""

    name: str
    number: int
    start: str
    altered: tuple[str, str]
    """LSNs of the first and the last DDL that its columns did not follow; all zeros if there was none."""
    columns: dict[str, int] = field(default_factory=dict)
    """Captured columns, and the places of their bits in `__$update_mask`."""
    computed: set[str] = field(default_factory=set)

    def function(self, db: TableDb) -> str:
        """The name of its change function."""
        return f"[cdc].{db.quote(f'fn_cdc_get_all_changes_{self.name}')}"


Instances = dict[tuple[str, str], list[Instance]]
"""By schema and table, the older one first."""


def instances(db: TableDb, followed: Sequence[Followed]) -> Instances:
    """The capture instances of these tables."""
    tables = ", ".join(f"OBJECT_ID({db.dialect.literal(one.place(db))})" for one in followed)
    found: Instances = {(one.table.schema, one.table.table): [] for one in followed}
    for schema, table, name, number, start, column, ordinal, computed, first, last in db.rows(
        _OWN.format(tables=tables)
    ):
        listed = found.setdefault((str(schema), str(table)), [])
        if not listed or listed[-1].number != int(number):
            listed.append(Instance(str(name), int(number), hexed(start), (hexed(first), hexed(last))))
        listed[-1].columns[str(column)] = int(ordinal)
        if int(computed):
            listed[-1].computed.add(str(column))
    return found


def live(listed: Sequence[Instance]) -> list[Instance]:
    """Those that the capture job has begun to fill."""
    return [one for one in listed if one.start != NO_LSN]


def holding(one: Followed, listed: Sequence[Instance], lsn: str, where: str) -> Instance:
    """The instance that has what is behind an LSN: the newest that began there or before. Raises NotFoundError if the
    table is not captured, LostPositionError if what is behind the LSN was cleaned up or never captured."""
    begun = live(listed)
    if not listed:
        hint = "`tongqu cdc doctor` gives the statement"
        raise NotFoundError(f"{one.dataset.name!r} has no change table", path=where, hint=hint)
    if not begun:
        hint = "start SQL Server Agent, then run it again"
        raise NotFoundError(f"the capture job has not come to {one.dataset.name!r} yet", path=where, hint=hint)
    earlier = [each for each in begun if each.start <= lsn]
    if earlier:
        return earlier[-1]
    if begun[0].start <= after(lsn):
        return begun[0]
    raise LostPositionError(
        f"the change table of {one.dataset.name!r} begins at 0x{begun[0].start}, behind 0x{lsn}, where we are",
        path=where, hint=RESYNC,
    )  # fmt: skip


def boundary(listed: Sequence[Instance], holder: Instance, lsn: str) -> str | None:
    """Up to where an instance is read: where the next one begins."""
    later = [one.start for one in live(listed) if one.number != holder.number and one.start > lsn]
    return min(later, default=None)


def before(listed: Sequence[Instance], holder: Instance) -> Instance | None:
    """The older instance of the same table, if it is still there and lacks columns that this one has."""
    begun = live(listed)
    older = begun[: begun.index(holder)]
    return older[-1] if older and set(holder.columns) - set(older[-1].columns) else None
