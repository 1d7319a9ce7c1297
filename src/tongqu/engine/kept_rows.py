"""The file in which a dataset's rows are kept with the position of its log that they are of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.data import Dataset, Position
from tongqu.core.errors import QualityError
from tongqu.engine.following.net import Net, net
from tongqu.engine.private_database import commit, private_database
from tongqu.engine.segment import conform
from tongqu.kit.faults import crash_point
from tongqu.meaning.sandbox import quoted, relation_names

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_TOGETHER = 65_536


class KeptRows:
    """Rows by key in one DuckDB file, used by one thread at a time. `position` is None while they are not whole; what
    is written goes with the position in one transaction (`change`). Opening raises BusyError while another process has
    the file, and begins anew if it holds another dataset's rows, or other columns (`fresh`)."""

    kind: tuple[str, ...] = ()
    """What else is in the file, besides rows."""

    def __init__(self, path: Path, dataset: Dataset, *, anew: bool = False):
        self.dataset, self._path = dataset, path
        self._inner = relation_names(dataset.columns)
        self._columns = ", ".join(quoted(self._inner[name]) for name in dataset.columns)
        self._database = self._opened()
        self.fresh = False
        self.position: Position | None = None
        self.left: Position | None = None
        """What the rows were of before they were not whole any more."""
        told = [f"{field.name} {field.type}" for field in dataset.schema]
        recipe = hashlib.sha256("\n".join([dataset.name, *told, "", *dataset.key, *self.kind]).encode()).hexdigest()
        found = self._database.execute("SELECT recipe, position FROM about").fetchall()
        told_of = dict(json.loads(found[0][1])) if found and found[0][1] is not None else None
        if told_of is not None and "left" in told_of:
            self.left = told_of["left"]
        elif anew or not found or found[0][0] != recipe:
            self.left = told_of
        else:
            self.position = told_of
        if anew or not found or found[0][0] != recipe:
            self._made(recipe)

    def _opened(self) -> DuckDBPyConnection:
        made = private_database(
            self._path, memory_mib=256, threads=1,
            busy=lambda why: f"what {self.dataset.name!r} is looked up in is in use: {why}",
            hint="another process runs this pipeline; stop that one first",
        )  # fmt: skip
        made.execute("CREATE TABLE IF NOT EXISTS about (recipe VARCHAR, position VARCHAR)")
        return made

    def _made(self, recipe: str) -> None:
        database, self.fresh = self._database, True
        with self._named("_shape", self.inside(self.dataset.schema.empty_table())):
            database.begin()
            database.execute("DROP TABLE IF EXISTS kept")
            database.execute("CREATE TABLE kept AS SELECT * FROM _shape")
            self._extend()
            database.execute("DELETE FROM about")
            database.execute("INSERT INTO about VALUES (?, ?)", [recipe, self._leaving()])
            commit(database, self._path)

    def _extend(self) -> None:
        """Make what else is in the file."""

    @contextmanager
    def change(self, position: Position) -> Iterator[None]:
        """One transaction: what is written in the block, and the position that the rows are of then."""
        self._database.begin()
        try:
            yield
            self._database.execute("UPDATE about SET position = ?", [json.dumps(position)])
            crash_point("before_state")
            commit(self._database, self._path)
        except BaseException:
            self._database.rollback()
            raise
        self.position, self.left = position, None
        crash_point("after_state")

    def unknown(self) -> None:
        """The rows are not whole any more."""
        self.left, self.position = self.position or self.left, None
        self._database.execute("UPDATE about SET position = ?", [self._leaving()])

    def _leaving(self) -> str | None:
        return None if self.left is None else json.dumps({"left": self.left})

    def clear(self) -> None:
        """Take all rows out."""
        self._database.execute("DELETE FROM kept")

    def insert(self, rows: pa.Table) -> None:
        """Rows with the dataset's columns whose keys are not there."""
        with self._named("_rows", self.inside(rows)):
            self._database.execute("INSERT INTO kept SELECT * FROM _rows")

    def loaded(self, now: int) -> None:
        """All rows were inserted, as they were at a time before `now` (microseconds since 1970)."""

    def carry(self, pieces: Sequence[pa.Table | None], now: int) -> list[pa.Table] | None:
        """Carry out changes in their order (None: the table was emptied, before `now`); the rows that they touched, as
        they were and as they are, or None where that may be all."""
        del now
        emptied = max((number for number, rows in enumerate(pieces) if rows is None), default=-1)
        if emptied >= 0:
            self.clear()
        tables = [rows for rows in pieces[emptied + 1 :] if rows is not None]
        touched = []
        if tables:
            touched = self.carry_out(net(pa.concat_tables(tables, promote_options="default"), self.dataset.key))
        return None if emptied >= 0 else touched

    def carry_out(self, found: Net) -> list[pa.Table]:
        """Carry out a net change; the rows that it touched, as they were and as they are. Raises QualityError if one
        lacks columns and is not there."""
        key = list(self.dataset.key)
        tables = [found.whole, found.gone, *(rows for _, rows in found.partial)]
        keys = pa.concat_tables([rows.select(key) for rows in tables])
        before = self.among(key, keys)
        match = " AND ".join(f"c.{quoted(self._inner[name])} = kept.{quoted(self._inner[name])}" for name in key)
        for lacks, rows in found.partial:
            if self.among(key, rows).num_rows < rows.num_rows:
                raise QualityError(
                    f"a change of {self.dataset.name!r}, which is looked up, lacks {lacks[0]!r}, and its row is new",
                    path=self.dataset.name,
                )
            sent = [name for name in self.dataset.columns if name not in lacks]
            inner = {name: quoted(self._inner[name]) for name in sent}
            told = ", ".join(f"{inner[name]} = c.{inner[name]}" for name in sent if name not in key)
            with self._named("_changes", rows.select(sent).rename_columns([self._inner[name] for name in sent])):
                if told:
                    self._database.execute(f"UPDATE kept SET {told} FROM _changes c WHERE {match}")
        anew = pa.concat_tables([found.whole.select(key), found.gone.select(key)])
        with self._named("_changes", anew.rename_columns([self._inner[name] for name in key])):
            self._database.execute(f"DELETE FROM kept WHERE EXISTS (SELECT 1 FROM _changes c WHERE {match})")
        self.insert(found.whole)
        return [before, self.among(key, keys)]

    def whole(self) -> Iterator[pa.Table]:
        """All rows as they are at this moment; they may be taken later, and by another thread."""
        taking = self._database.cursor()
        reader = taking.sql(f"SELECT {self._columns} FROM kept").to_arrow_reader(_TOGETHER)
        return self._each(reader, taking)

    def _each(self, reader: Any, taking: DuckDBPyConnection) -> Iterator[pa.Table]:
        try:
            for batch in reader:
                yield self._outside(pa.Table.from_batches([batch]))
        finally:
            taking.close()

    def among(self, columns: Sequence[str], values: pa.Table) -> pa.Table:
        """The rows whose columns have one of these combinations of values; null is none."""
        inner = [self._inner[column] for column in columns]
        match = " AND ".join(f"w.{quoted(name)} = kept.{quoted(name)}" for name in inner)
        with self._named("_wanted", values.select(list(columns)).rename_columns(inner)):
            query = f"SELECT {self._columns} FROM kept WHERE EXISTS (SELECT 1 FROM _wanted w WHERE {match})"
            return self._outside(self._database.sql(query).to_arrow_table())

    @contextmanager
    def _named(self, name: str, rows: pa.Table) -> Iterator[None]:
        self._database.register(name, rows)
        try:
            yield
        finally:
            self._database.unregister(name)

    def inside(self, rows: pa.Table) -> pa.Table:
        """Rows under the names that their columns have in the file."""
        mine = conform(rows.select(list(self.dataset.columns)), self.dataset.schema)
        return mine.rename_columns([self._inner[name] for name in self.dataset.columns])

    def _outside(self, rows: pa.Table) -> pa.Table:
        return conform(rows.rename_columns(list(self.dataset.columns)), self.dataset.schema)

    def close(self) -> None:
        """Release the file; may be called twice."""
        self._database.close()
