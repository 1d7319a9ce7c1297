"""Makes the right side's differing rows equal to the left's, and touches no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from tongqu.catalog.agreement import Agreement
from tongqu.catalog.reconcile import Found, Pair
from tongqu.core.connector import Session, Sink
from tongqu.core.data import BadRow, Checkpoint, Counts, Dataset, Meta, Split, Write, WriteMode, Written
from tongqu.core.errors import SchemaError
from tongqu.core.kernels import pc

_SPLIT = "0"


@dataclass
class Repaired:
    """Rows that were changed; `refused` are rows the target did not take, `unreadable` those Arrow cannot hold."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    refused: list[BadRow] = field(default_factory=list)
    unreadable: int = 0
    moved: int = 0
    """Rows that changed on the left while they were repaired, which were left as they are."""

    def to_json(self) -> dict[str, int]:
        """The numbers."""
        return {
            "inserted": self.inserted,
            "updated": self.updated,
            "deleted": self.deleted,
            "refused": len(self.refused) + self.unreadable,
        }


class Repair:
    """One table's repair as a context: `mend` writes what was found so far in one transaction, leaving the block
    without an error finishes it.

    `partial` tells that only some columns are compared: then a differing row keeps what it has in the others. Raises
    SchemaError if the target needs values that the left side does not have, BusyError while an unfinished run writes
    the target (its newer rows would be overwritten by what was compared), and whatever the sink raises.
    """

    def __init__(
        self,
        pair: Pair,
        agreement: Agreement,
        sink: Sink,
        right: Dataset,
        *,
        run: str,
        sync: str,
        at: str,
        partial: bool,
    ):
        self.done = Repaired()
        self._pair, self._agreement, self._sink, self._partial = pair, agreement, sink, partial
        there = {theirs: ours for ours, theirs in agreement.common.items()}
        fields = [f for f in right.schema if f.name in there and _meta(f, Meta.GENERATED) is None]
        self._names: Mapping[str, str] = {f.name: there[f.name] for f in fields}
        self._schema = pa.schema(fields)
        key = tuple(column.name for column in agreement.right.key)
        missing = [name for name in key if name not in self._names]
        if missing:
            raise SchemaError(f"the key column {', '.join(missing)} of the target is computed", path=right.name)
        self._write = Write(
            stream=right.name, dataset=Dataset(right.name, self._schema, key), mode=WriteMode.UPSERT,
            sync=sync, run=run, key=key, incremental=True, unique=True, restart=True, started_at=at, replay=True,
        )  # fmt: skip
        self._split = Split(_SPLIT, right.name)
        self._session: Session | None = None
        self._counts = Counts()
        self._keys = self._said = pa.table({})
        """The keys that are being mended, and what the left side said of them before its rows were read."""

    def __enter__(self) -> Self:
        self._sink.start(self._write.sync, self._write.run, True)
        self._sink.open(self._write)
        self._sink.begin(self._write, [self._split])
        self._session = self._sink.session(self._write, self._split)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._session is not None  # noqa: S101  # entered
        try:
            if error is None:
                self._session.write(self._schema.empty_table())
                self._session.commit(Checkpoint(self._split, None, self._counts, done=True))
            else:
                self._session.abort()
        finally:
            self._session.close()
        if error is None:
            self._sink.finish(self._write, self._counts, None)
            self._sink.end(self._write.sync, self._write.run, [self._write])

    def mend(self, found: Found) -> None:
        """Delete, update and insert these rows in one transaction.

        A missing row is only ever inserted: one whose key the target takes for that of a row it has (a collation that
        ignores case, a row that came meanwhile) is refused, and the others go in by halves, a transaction each. Raises
        SchemaError, with nothing of these rows done, if the target takes the key of an extra row for other rows' too.

        Rows that changed on the left before the transaction ends are not written: while the target's rows are locked,
        what was written is what the left side has; whoever carries its changes over has brought an older one or waits.
        """
        while found.count:
            self._keys = pa.concat_tables([found.missing, found.extra, found.different])
            self._said = self._pair.left.texts_of(self._keys)
            moved = self._put(self._theirs(found.extra), self._changed(found.different), self._ours(found.missing))
            if moved is None:
                return
            self.done.moved += moved.num_rows
            names = list(self._pair.names)
            found = Found(*(
                keys.join(moved, keys=names, join_type="left anti")
                for keys in (found.missing, found.extra, found.different)
            ))  # fmt: skip

    def _moved(self) -> pa.Table:
        """The keys at hand whose rows are others on the left by now."""
        names, columns = list(self._pair.names), self._said.column_names
        both = _flagged(self._said, "was").join(
            _flagged(self._pair.left.texts_of(self._keys), "is"), keys=names, join_type="full outer",
            right_suffix="_now",
        )  # fmt: skip
        differ: Any = pc.not_equal(_there(both, "was"), _there(both, "is"))
        for name in columns:
            if name not in names:
                before, after = both.column(name), both.column(f"{name}_now")
                alike = pc.or_(pc.fill_null(pc.equal(before, after), False), pc.and_(before.is_null(), after.is_null()))
                differ = pc.or_(differ, pc.invert(alike))
        return both.select(names).filter(differ)

    def _put(self, gone: pa.Table, changed: pa.Table, new: pa.Table, *, apart: bool = False) -> pa.Table | None:
        """Do it; or do nothing and give the keys that moved, which a part of a whole leaves alone."""
        assert self._session is not None  # noqa: S101  # entered
        removed = self._session.remove(gone) if gone.num_rows else 0
        if removed > gone.num_rows:
            self._session.abort()
            raise SchemaError(
                f"{gone.num_rows:,} extra rows were to be deleted, and the target finds {removed:,} by their keys",
                path=self._write.stream,
                hint="its collation takes different keys for equal: compare by a key that is unique there",
            )
        written = [self._session.write(rows) for rows in (changed, new) if rows.num_rows]
        if new.num_rows and written[-1].inserted + len(written[-1].refused) != new.num_rows:
            self._session.abort()
            self._apart(gone, changed, new)
            return None
        moved = self._moved()
        if moved.num_rows:
            self._session.abort()
            if not apart:
                return moved
            self.done.moved += gone.num_rows + changed.num_rows + new.num_rows
            return None
        self.done.deleted += removed
        for one in written:
            self._add(one)
        self._session.commit(Checkpoint(self._split, None, self._counts))
        return None

    def _apart(self, gone: pa.Table, changed: pa.Table, new: pa.Table) -> None:
        """Find the missing rows that cannot be inserted; all else is done."""
        none = new.slice(0, 0)
        if gone.num_rows or changed.num_rows:
            self._put(gone, changed, none, apart=True)
            self._put(none, none, new, apart=True)
        elif new.num_rows == 1:
            self.done.refused.append(_taken(new, self._write.key))
        else:
            middle = new.num_rows // 2
            self._put(none, none, new.slice(0, middle), apart=True)
            self._put(none, none, new.slice(middle), apart=True)

    def _add(self, written: Written) -> None:
        self.done.inserted += written.inserted
        self.done.updated += written.updated
        self.done.refused += written.refused
        self._counts.add(
            Counts(
                read=written.inserted + written.updated + written.unchanged + written.merged,
                inserted=written.inserted,
                updated=written.updated,
                unchanged=written.unchanged,
                merged=written.merged,
            )
        )

    def _changed(self, keys: pa.Table) -> pa.Table:
        """Differing rows: the compared columns from the left, the others of a partial comparison as they are."""
        ours = self._ours(keys)
        if not self._partial or not ours.num_rows:
            return ours
        compared = {column.name for column in self._agreement.right.columns}
        theirs = self._theirs(keys)
        names = [column.name for column in self._agreement.right.key]
        kept = theirs.drop_columns([n for n in theirs.column_names if n in compared and n not in names])
        both = ours.select([n for n in ours.column_names if n in compared]).join(kept, keys=names, join_type="inner")
        return both.select(self._schema.names).cast(self._schema)

    def _ours(self, keys: pa.Table) -> pa.Table:
        rows = self._pair.left.rows(keys, list(self._names.values()))
        return self._fitted(self._wanted(rows, keys).rename_columns(list(self._names)), refuse=True)

    def _theirs(self, keys: pa.Table) -> pa.Table:
        return self._fitted(self._wanted(self._pair.right.rows(keys, list(self._names)), keys), refuse=False)

    def _wanted(self, rows: pa.Table, keys: pa.Table) -> pa.Table:
        """The rows of these keys without the key texts; rows may come that only look alike to the database."""
        names = list(self._pair.names)
        places = pa.array(range(rows.num_rows), pa.int64())
        kept = (
            rows.select(names).append_column("at", places).join(keys.select(names), keys=names, join_type="left semi")
        )
        self.done.unreadable += keys.num_rows - kept.num_rows
        return rows.take(kept.column("at")).drop_columns(names)

    def _fitted(self, rows: pa.Table, *, refuse: bool) -> pa.Table:
        """The rows in the target's types; a row with a value that does not fit is refused."""
        try:
            return rows.cast(self._schema)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            if rows.num_rows <= 1:
                if refuse:
                    self.done.refused.append(BadRow("diff", "data.cast", "", None, "", str(error)))
                return self._schema.empty_table()
        middle = rows.num_rows // 2
        halves = [self._fitted(part, refuse=refuse) for part in (rows.slice(0, middle), rows.slice(middle))]
        return pa.concat_tables(halves)


def _flagged(rows: pa.Table, name: str) -> pa.Table:
    return rows.append_column(name, pa.array([True] * rows.num_rows, pa.bool_()))


def _there(both: pa.Table, name: str) -> Any:
    return pc.fill_null(both.column(name), False)


def _taken(row: pa.Table, key: Sequence[str]) -> BadRow:
    values = ", ".join(str(row.column(name)[0].as_py()) for name in key)
    message = f"the target takes the key ({values}) for that of another row, which is left as it is"
    return BadRow("diff", "target.refused", key[0], None, "", message)


def _meta(field: pa.Field[Any], key: Meta) -> str | None:
    value = (field.metadata or {}).get(key.encode())
    return value.decode() if value else None
