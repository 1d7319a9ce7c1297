"""The file in which every version of a dataset's rows is kept, from when to when each held, with the log's position."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.core.data import Dataset, Position
from tongqu.core.errors import QualityError, SchemaError
from tongqu.core.log import AT, OP
from tongqu.engine.following.net import lacking
from tongqu.engine.kept_rows import KeptRows
from tongqu.engine.segment import conform
from tongqu.meaning.sandbox import quoted
from tongqu.meaning.versions import EVER, SINCE, UNTIL

_STORE_SECONDS = 1.0
_INSTANT = pa.timestamp("us", tz="UTC")


def versioned(dataset: Dataset) -> Dataset:
    """The dataset with the columns that tell from when to when a version held; it has no key."""
    more = [pa.field(SINCE, _INSTANT), pa.field(UNTIL, _INSTANT)]
    return Dataset(dataset.name, pa.schema([*dataset.schema, *more]))


class KeptVersions(KeptRows):
    """As KeptRows, but a row that changes or is deleted stays as it was until the instant of the commit (microseconds
    since 1970). Versions have the order of the log: one with an earlier instant than that before it begins with it.

    What held at an instant is not known before the history begins (`floor`), between the last that was told and a new
    beginning after the log was lost, and around a table's emptying, whose instant logs do not tell. `reached` is set by
    whoever reads the log: everything that was committed before it was told. `whole` and `among` give versions, with the
    columns of `versioned`.
    """

    kind = ("versions",)

    def __init__(self, path: Path, dataset: Dataset, *, lateness: int, always: bool, anew: bool = False):
        """`lateness` is by how much clocks may differ; `always`: what is there in the beginning holds since ever."""
        self._lateness, self._always, self._anew = lateness, always, anew
        self._stored, self._closed = time.monotonic(), False
        super().__init__(path, dataset, anew=anew)
        self._given = versioned(dataset)
        self._plain = self._columns
        self._columns += ", make_timestamptz(_tongqu_since), make_timestamptz(_tongqu_until)"
        (found,) = self._database.execute("SELECT newest, reached, floor FROM known").fetchall()
        self._newest, self.reached, self._floor = (None if value is None else int(value) for value in found)

    def _extend(self) -> None:
        told = "SELECT 1 FROM duckdb_tables() WHERE table_name = 'known'"
        before = bool(self._database.execute(told).fetchall()) and not self._anew  # of other columns: it is lost
        for statement in (
            "ALTER TABLE kept ADD COLUMN _tongqu_since BIGINT",
            "ALTER TABLE kept ADD COLUMN _tongqu_until BIGINT",
            "CREATE OR REPLACE TABLE known (newest BIGINT, reached BIGINT, floor BIGINT)",
            f"INSERT INTO known VALUES (NULL, {EVER if before else 'NULL'}, NULL)",
            "CREATE OR REPLACE TABLE gaps (since BIGINT, until BIGINT)",
        ):
            self._database.execute(statement)

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Between which instants it is not known what held; the end is not part of it."""
        found = self._database.execute("SELECT since, until FROM gaps ORDER BY since").fetchall()
        before = [] if self._floor is None else [(EVER, self._floor)]
        return [*before, *((int(since), int(until)) for since, until in found)]

    @property
    def newest(self) -> int:
        """The newest commit that was told."""
        return EVER if self._newest is None else self._newest

    def come_to(self, reached: int) -> None:
        """Everything before this instant was told; it is stored now and then, and in the end."""
        self.reached = reached
        if time.monotonic() - self._stored >= _STORE_SECONDS:
            self._store()

    def _store(self) -> None:
        self._database.execute("UPDATE known SET reached = ?", [self.reached])
        self._stored = time.monotonic()

    def close(self) -> None:
        """See KeptRows.close."""
        import duckdb

        if not self._closed:
            self._closed = True
            with suppress(duckdb.Error):  # then it is not known since the last time it was stored
                self._store()
        super().close()

    @contextmanager
    def change(self, position: Position) -> Iterator[None]:
        """See KeptRows.change."""
        before = self._newest, self._floor
        try:
            with super().change(position):
                yield
                told = [self._newest, self.reached, self._floor]
                self._database.execute("UPDATE known SET newest = ?, reached = ?, floor = ?", told)
        except BaseException:
            self._newest, self._floor = before
            raise

    def clear(self) -> None:
        """The log was lost, or was never there: rows are read again, and what held meanwhile is not known."""
        self._end("TRUE")

    def insert(self, rows: pa.Table) -> None:
        """Rows that are read in the beginning, or again; `loaded` says when."""
        with self._named("_rows", self.inside(rows)):
            self._database.execute("INSERT INTO kept SELECT *, NULL, NULL FROM _rows")

    def loaded(self, now: int) -> None:
        """All rows were read before `now`."""
        now += self._lateness
        first = self.reached is None
        if first:
            self.reached = EVER
            self._floor = None if self._always else now
        else:
            self._gap(self._told, now)
        since = EVER if first and self._always else now
        self._database.execute("UPDATE kept SET _tongqu_since = ? WHERE _tongqu_since IS NULL", [since])

    def carry(self, pieces: Sequence[pa.Table | None], now: int) -> list[pa.Table] | None:
        """Carry out changes in their order (None: the table was emptied, before `now`); the rows whose versions they
        touched, or None where that may be all. Raises SchemaError for a change without an instant, QualityError for one
        that lacks columns of a row that is not there."""
        touched: list[pa.Table] = []
        for rows in pieces:
            if rows is None:
                self._end("_tongqu_until IS NULL")
                self._gap(self._told, now + self._lateness)
            elif rows.num_rows:
                touched += self._told_of(rows)
        return None if any(rows is None for rows in pieces) else touched

    def let_go(self, before: int) -> None:
        """Forget the versions that ended before an instant; what held before it is not known any more."""
        if self._floor is not None and before <= self._floor:
            return
        self._database.begin()
        try:
            self._database.execute("DELETE FROM kept WHERE _tongqu_until <= ?", [before])
            self._database.execute("DELETE FROM gaps WHERE until <= ?", [before])
            self._database.execute("UPDATE known SET floor = ?", [before])
            self._database.commit()
        except BaseException:
            self._database.rollback()
            raise
        self._floor = before

    @property
    def _told(self) -> int:
        """Up to when everything is known."""
        return max(self.newest, EVER if self.reached is None else self.reached)

    def _end(self, which: str) -> None:
        """Versions that hold end with what is known, since nobody tells when they did."""
        at = self._told
        self._database.execute(f"DELETE FROM kept WHERE _tongqu_until IS NULL AND _tongqu_since >= ? AND {which}", [at])
        self._database.execute(f"UPDATE kept SET _tongqu_until = ? WHERE _tongqu_until IS NULL AND {which}", [at])

    def _gap(self, since: int, until: int) -> None:
        if since < until:
            self._database.execute("INSERT INTO gaps VALUES (?, ?)", [since, until])

    def _told_of(self, rows: pa.Table) -> list[pa.Table]:
        """Changes of rows: all their versions in one go, however often a row changes. A deleted one leaves a version
        that held at no instant, so that one that comes back does not begin before it."""
        lacks = lacking(rows)
        changes = self._changes(rows, lacks)
        key = [quoted(self._inner[name]) for name in self.dataset.key]
        by = f"PARTITION BY {', '.join(key)}"
        match = " AND ".join(f"c.{name} = kept.{name}" for name in key)
        flags = {name: f"_tongqu_lacks_{number}" for number, name in enumerate(lacks)}
        mine = f"kept WHERE EXISTS (SELECT 1 FROM _changes c WHERE {match})"
        columns, absent = [], ["FALSE"]
        for name in self.dataset.columns:
            inner = quoted(self._inner[name])
            if name in flags:  # as the last row had it that has it
                sent = f"CASE WHEN NOT {flags[name]} THEN struct_pack(v := {inner}) END"
                known = f"last_value({sent} IGNORE NULLS) OVER w"
                absent.append(f"({known}) IS NULL")
                inner = f"({known}).v AS {inner}"
            columns.append(inner)
        more = "".join(f", {flag}" for flag in flags.values())
        none = "".join(f", _tongqu_until IS NOT NULL AS {flag}" for flag in flags.values())
        with self._named("_changes", changes):
            before = self._plainly(f"SELECT {self._plain} FROM {mine} AND _tongqu_until IS NULL")
            self._database.execute(f"""
                CREATE OR REPLACE TEMP TABLE _next AS
                WITH every AS (
                    (SELECT {self._plain}, coalesce(_tongqu_until, _tongqu_since) AS _tongqu_moment,
                        -1 AS _tongqu_seq, _tongqu_until IS NOT NULL AS _tongqu_gone{none}
                    FROM {mine}
                    QUALIFY row_number() OVER ({by} ORDER BY _tongqu_until DESC NULLS FIRST, _tongqu_since DESC) = 1)
                    UNION ALL SELECT {self._plain}, _tongqu_moment, _tongqu_seq, _tongqu_gone{more} FROM _changes
                ), filled AS (
                    SELECT {", ".join(columns)}, max(_tongqu_moment) OVER w AS _tongqu_since, _tongqu_seq, _tongqu_gone,
                        NOT _tongqu_gone AND ({" OR ".join(absent)}) AS _tongqu_unknown
                    FROM every WINDOW w AS ({by} ORDER BY _tongqu_seq ROWS UNBOUNDED PRECEDING)
                )
                SELECT *, lead(_tongqu_since) OVER ({by} ORDER BY _tongqu_seq) AS _tongqu_until
                FROM filled""")
            if self._database.execute("SELECT 1 FROM _next WHERE _tongqu_unknown LIMIT 1").fetchall():
                raise QualityError(
                    f"a change of {self.dataset.name!r}, which is looked up, lacks columns, and its row is new",
                    path=self.dataset.name,
                )
            self._database.execute(f"DELETE FROM {mine} AND _tongqu_until IS NULL")
        made = "_next WHERE NOT _tongqu_gone AND (_tongqu_until IS NULL OR _tongqu_until > _tongqu_since)"
        last = "_next WHERE _tongqu_gone AND _tongqu_seq >= 0 AND _tongqu_until IS NULL"
        self._database.execute(f"""
            INSERT INTO kept SELECT {self._plain}, _tongqu_since, _tongqu_until FROM {made}
            UNION ALL SELECT {self._plain}, _tongqu_since, _tongqu_since FROM {last}""")
        return [before, self._plainly(f"SELECT {self._plain} FROM {made}")]

    def _changes(self, rows: pa.Table, lacks: Mapping[str, Any]) -> pa.Table:
        """Changes as a table for SQL: their instants, their order, and what each lacks."""
        moments = rows.column(AT).cast(_INSTANT).cast(pa.int64()) if AT in rows.schema.names else None
        if moments is None or moments.null_count:
            raise SchemaError(
                f"the log of {self.dataset.name!r} does not tell when changes were committed",
                path=self.dataset.name,
                hint="look up without a history: read it with `mode: full` and `refresh`, or by columns of its own",
            )
        self._newest = max(self.newest, int(np.max(moments.to_numpy())))
        made = self.inside(rows).append_column("_tongqu_moment", moments)
        made = made.append_column("_tongqu_seq", pa.array(np.arange(rows.num_rows), pa.int64()))
        made = made.append_column("_tongqu_gone", pa.array(rows.column(OP).to_numpy(zero_copy_only=False) == "d"))
        for number, mask in enumerate(lacks.values()):
            made = made.append_column(f"_tongqu_lacks_{number}", pa.array(mask))
        return made

    def _plainly(self, query: str) -> pa.Table:
        """The rows of a query as the dataset has them."""
        return super()._outside(self._database.sql(query).to_arrow_table())

    def _outside(self, rows: pa.Table) -> pa.Table:
        return conform(rows.rename_columns(list(self._given.columns)), self._given.schema)
