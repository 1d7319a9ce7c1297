"""Creates, shapes and swaps the tables that a sink of `kit.tables` writes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tongqu.core.data import Deletes, Meta, WriteMode
from tongqu.core.errors import InvalidPlanError, SchemaError
from tongqu.kit.ledger import PREFIX
from tongqu.kit.sql.landing import Landing, Target, previous_name
from tongqu.kit.sql.merging import CURRENT, DELETED_AT, OURS, VALID_FROM, VALID_TO
from tongqu.kit.tables.catalogue import Catalogue
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.dialect import SEQUENCE
from tongqu.kit.tables.native import told
from tongqu.kit.tables.shape import Table
from tongqu.meaning.settling import Alterations


class Tables:
    """The tables of one sink over one connection."""

    def __init__(self, db: TableDb, catalogue: Catalogue):
        self.db = db
        self.dialect = db.dialect
        self.catalogue = catalogue

    def place(self, name: str) -> str:
        """A dataset's quoted table with its schema."""
        return self.dialect.place(*self.catalogue.place(name))

    def target(self, name: str) -> Target | None:
        """The table as it is now, or None. Raises SchemaError for a view."""
        found = self.catalogue.find(name)
        if found is None:
            return None
        if found.view:
            raise SchemaError(f"{name!r} is a view, which cannot be loaded", path=name, hint="name a table")
        return Target(
            columns={column.name: column.native for column in found.columns},
            key=found.primary,
            unique=tuple(index.columns for index in found.indexes if index.unique and index.columns),
            written=tuple(column.name for column in found.columns if column.generated is None),
            required=tuple(
                column.name
                for column in found.columns
                if not column.nullable and column.default is None and not column.generated and not column.identity
                and column.name not in OURS
            ),
            always=tuple(column.name for column in found.columns if column.identity),
            pinned=self._pinned(found),
        )  # fmt: skip

    def _pinned(self, table: Table) -> tuple[str, ...]:
        queries = self.dialect.pinned(table.schema, table.table) if self.dialect.swaps else ()
        found = [row[0] for query in queries for row in self.db.rows(query, (table.schema, table.table))]
        return tuple(str(name).strip() for name in found)

    # ---- columns

    def types(self, landing: Landing) -> dict[str, str]:
        """Types of the columns that would be made for the arriving ones."""
        write = landing.write
        return {f.name: self.dialect.column_type(f, key=f.name in write.key) for f in write.dataset.schema}

    def loaded(self, landing: Landing) -> list[str]:
        """The arriving columns that are written, in order."""
        found = landing.target
        names = landing.write.dataset.columns
        return [n for n in names if found is None or n not in found.columns or n in found.written]

    def _definition(self, field: pa.Field[Any], native: str, *, nullable: bool) -> str:
        return f"{self.db.quote(field.name)} {native}{'' if nullable else ' NOT NULL'}"

    def create_target(self, landing: Landing, name: str) -> None:
        """Create a table for the arriving schema, with key, titles and (history) validity columns."""
        write, types, quote = landing.write, self.types(landing), self.db.quote
        history = write.mode is WriteMode.HISTORY
        parts = [
            self._definition(f, types[f.name], nullable=f.nullable and f.name not in write.key)
            for f in write.dataset.schema
        ]
        instant, flag = self.dialect.instant, self.dialect.made("bool")
        key = list(write.key)
        if history:
            parts += [f"{quote(VALID_FROM)} {instant} NOT NULL", f"{quote(VALID_TO)} {instant}",
                      f"{quote(CURRENT)} {flag} NOT NULL"]  # fmt: skip
            key.append(VALID_FROM)
        elif write.deletes is Deletes.SOFT:
            parts.append(f"{quote(DELETED_AT)} {instant}")
        if write.key:
            parts.append(f"PRIMARY KEY ({', '.join(map(quote, key))})")
        place, schema = self.place(name), self.catalogue.place(name)[0]
        if schema != self.catalogue.schema:
            self.db.say(self.dialect.create_schema(schema))
        titles = {f.name: told(f, Meta.TITLE) for f in write.dataset.schema}
        said = self.dialect.titles(*self.catalogue.place(name), write.dataset.title, titles)
        self.db.say([self.dialect.create(place, parts), *said])
        if name == write.dataset.name:
            self.create_indexes(landing)

    def create_indexes(self, landing: Landing) -> None:
        """The source's secondary indexes on a new target, where their columns came along and can be indexed."""
        write, types = landing.write, self.types(landing)
        if not write.indexes:
            return
        for index in write.dataset.indexes:
            fits = set(index.columns) <= set(types) and all(self.dialect.indexable(types[n]) for n in index.columns)
            if fits and index.columns != write.key:
                unique = index.unique and write.mode is not WriteMode.HISTORY
                self._index(write.dataset.name, index.columns, unique=unique)

    def _index(self, name: str, columns: Sequence[str], *, unique: bool) -> None:
        listed = ", ".join(map(self.db.quote, columns))
        digest = hashlib.sha256(f"{name}\0{listed}\0{self.db.sequence(1)}".encode()).hexdigest()[:12]
        index = self.db.quote(f"tongqu_{digest}_idx")
        self.db.say([f"CREATE {'UNIQUE ' if unique else ''}INDEX {index} ON {self.place(name)} ({listed})"])

    def add_columns(self, landing: Landing, name: str, fields: Sequence[pa.Field[Any]]) -> None:
        """Add nullable columns."""
        types = self.types(landing)
        added = [self._definition(f, types[f.name], nullable=True) for f in fields]
        if added:
            self.db.say(self.dialect.add_columns(self.place(name), added))

    def add_technical(self, landing: Landing) -> None:
        """Give an existing target the columns that history and soft deletes need."""
        write, found, quote = landing.write, landing.target, self.db.quote
        if found is None:
            return
        instant, flag = self.dialect.instant, self.dialect.made("bool")
        wanted: dict[str, str] = {}
        if write.mode is WriteMode.HISTORY:
            if found.key and set(found.key) == set(write.key):
                raise InvalidPlanError(
                    f"{write.dataset.name!r} has the primary key ({', '.join(found.key)}), so it can hold one version "
                    "of a row only", path=write.stream,
                    hint="add _valid_from to its key, or write history to a new table",
                )  # fmt: skip
            begin = self.dialect.moment("1970-01-01 00:00:00.000000")
            wanted = {VALID_FROM: f"{instant} DEFAULT {begin} NOT NULL", VALID_TO: instant,
                      CURRENT: f"{flag} DEFAULT {self.dialect.truth[0]} NOT NULL"}  # fmt: skip
        elif write.deletes is Deletes.SOFT:
            wanted = {DELETED_AT: instant}
        missing = [f"{quote(name)} {kind}" for name, kind in wanted.items() if name not in found.columns]
        if missing:
            self.db.say(self.dialect.add_columns(self.place(write.dataset.name), missing))

    def alter(self, name: str, alterations: Alterations) -> None:
        """Rename columns, widen their types, drop NOT NULL."""
        schema, table = self.catalogue.place(name)
        place = self.dialect.place(schema, table)
        for old, new in alterations.renames.items():
            self.db.say([self.dialect.rename_column(schema, table, old, new)])
        found = self.catalogue.find(name) if alterations.types or alterations.optional else None
        keyed = {column for index in found.indexes for column in index.columns} | set(found.key) if found else set()
        own = {column.name: column.native for column in found.columns} if found else {}
        for column in dict.fromkeys((*alterations.types, *alterations.optional)):
            field = alterations.types.get(column)
            native = own[column] if field is None else self.dialect.column_type(field, key=column in keyed)
            now = found.column(column) if found else None
            loosen = column in alterations.optional and not (now is not None and now.nullable)
            nullable = loosen or (now is not None and now.nullable)
            self.db.say(self.dialect.retype(place, column, native, nullable=nullable, loosen=loosen))

    # ---- generations

    def create_stage(self, landing: Landing) -> None:
        """Create the staged generation anew; for a replace it has its key from the first row on."""
        write, quote = landing.write, self.db.quote
        stage = self.place(landing.stage)
        self.db.say(self.dialect.drop(stage))
        if write.mode is WriteMode.REPLACE:
            self._next_generation(landing, stage)
            return
        columns = ", ".join(map(quote, self.loaded(landing)))
        query = f"SELECT {columns} FROM {self.place(write.dataset.name)}"
        self.db.say([self.dialect.create_as(stage, query)])
        long = self.dialect.ledger_types["long"]
        self.db.say(self.dialect.add_columns(stage, [f"{quote(SEQUENCE)} {long}"]))

    def _next_generation(self, landing: Landing, stage: str) -> None:
        target, write = landing.target, landing.write
        if target is None:
            self.create_target(landing, landing.stage)
            return
        columns = list(map(self.db.quote, target.written))
        self.db.say([self.dialect.create_like(stage, self.place(write.dataset.name), columns)])
        self.alter(landing.stage, landing.alterations)
        self.add_columns(landing, landing.stage, [write.dataset.schema.field(name) for name in landing.missing])
        new = landing.alterations.renames
        key = tuple(write.key) if landing.rekeyed else tuple(new.get(name, name) for name in target.key)
        if key:
            self.db.say(self.dialect.key(stage, [(n, self._type(landing, n)) for n in key]))
        for unique in target.unique:
            self._index(landing.stage, [new.get(name, name) for name in unique], unique=True)

    def _type(self, landing: Landing, column: str) -> str:
        found = landing.target.columns.get(column) if landing.target else None
        return found or self.types(landing)[column]

    def swap(self, landing: Landing) -> None:
        """Make the staged generation the target by renames; what was there is kept."""
        schema, table = self.catalogue.place(landing.write.dataset.name)
        stage = self.catalogue.place(landing.stage)[1]
        kept = self.catalogue.place(landing.previous)[1]
        if self.catalogue.exists(landing.write.dataset.name):
            self.db.say(self.dialect.drop(self.dialect.place(schema, kept)))
            self.db.say([self.dialect.rename(schema, table, kept)])
        self.db.say([self.dialect.rename(schema, stage, table)])
        if landing.target is None:
            self.create_indexes(landing)

    def keep(self, name: str, present: Target) -> None:
        """Copy a table's rows into its kept generation; the rows belong to the open transaction."""
        kept, columns = self.place(previous_name(name)), ", ".join(map(self.db.quote, present.written))
        self.db.say(self.dialect.drop(kept))
        self.db.say([self.dialect.create_as(kept, f"SELECT {columns} FROM {self.place(name)}")])
        self.db.say([f"INSERT INTO {kept} ({columns}) SELECT {columns} FROM {self.place(name)}"])

    def put_back(self, name: str) -> int:
        """Exchange a target with its kept generation: by renames, or its rows in one transaction."""
        schema, table = self.catalogue.place(name)
        kept = self.catalogue.place(previous_name(name))[1]
        present = self.target(name)
        if present is None:
            self.db.say([self.dialect.rename(schema, kept, table)])
        elif self.dialect.swaps and not present.pinned:
            aside = f"{PREFIX}undo_{hashlib.sha256(name.encode()).hexdigest()[:16]}"
            for old, new in ((table, aside), (kept, table), (aside, kept)):
                self.db.say([self.dialect.rename(schema, old, new)])
        else:
            self._exchange_rows(name, present)
        return self.db.count(self.place(name))

    def _exchange_rows(self, name: str, present: Target) -> None:
        old = self.target(previous_name(name))
        shared = [column for column in present.written if old is not None and column in old.columns]
        columns = ", ".join(map(self.db.quote, shared))
        table, kept = self.place(name), self.place(previous_name(name))
        aside = self.place(f"{PREFIX}undo_{hashlib.sha256(name.encode()).hexdigest()[:16]}")
        self.db.say(self.dialect.drop(aside))
        self.db.say([self.dialect.create_as(aside, f"SELECT {columns} FROM {table}")])
        held = bool(set(present.always) & set(shared))
        for into, out in ((aside, table), (table, kept), (kept, aside)):
            own, over = held and into == table, self.dialect.overriding if held and into == table else ""
            self.db.say([self.dialect.inserting(into, on=True)] if own else [])
            self.db.say([f"DELETE FROM {into}", f"INSERT INTO {into} ({columns}){over} SELECT {columns} FROM {out}"])
            self.db.say([self.dialect.inserting(into, on=False)] if own else [])
        self.db.commit()
        self.db.say(self.dialect.drop(aside))
