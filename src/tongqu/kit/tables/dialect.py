"""How one SQL system says what Tongqu has to say; the defaults are the standard's words."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.kit.tables.native import Native, field_of, told

if TYPE_CHECKING:
    from tongqu.core.errors import TongquError
    from tongqu.kit.tables.queried import Words

_CREATE = re.compile(r"^CREATE TABLE IF NOT EXISTS (.+?) \((.*)\)$", re.DOTALL)
_LIMIT = re.compile(r" LIMIT (\d+)$")
_LOCKED = re.compile(r" FOR UPDATE$")
_BOUNDED = re.compile(
    r"(?:character varying|n?varchar2?|n?char(?:acter)?|bpchar)\s*\(\s*(\d+)(?:\s+(?:char|byte))?\s*\)", re.I
)
_COLLATED = re.compile(r" (?:CHARACTER SET|COLLATE) \S+", re.I)
SEQUENCE = "_tongqu_seq"
"""Column of a staged generation that grows as rows come."""


class Dialect(ABC):
    """The words of one system. Names given are unquoted, tables and expressions are quoted already."""

    name: ClassVar[str]
    system: ClassVar[str]
    """Prefix of its types in `tongqu.native`."""
    sqlglot: ClassVar[str]
    """sqlglot's name of it; empty if it knows none."""
    writes: ClassVar[bool] = True
    ddl_commits: ClassVar[bool] = False
    """A statement that creates or drops a table ends the open transaction."""
    columns_fold: ClassVar[bool] = True
    """Column names that differ in letter case only mean one column."""
    folds_upper: ClassVar[bool] = False
    """A name that is not quoted is stored in capitals."""
    empty: ClassVar[str] = ""
    """What stands for an empty text in our own tables; not empty where the system takes it for null."""
    merge: ClassVar[str] = "merge"
    """How rows are merged by key: `merge`, `update from` or `update join`."""
    swaps: ClassVar[bool] = False
    """A table is exchanged with its next generation by renames in one transaction; otherwise its rows are."""
    ledger_types: ClassVar[dict[str, str]] = {"id": "varchar(255)", "text": "text", "long": "bigint"}
    key_chars: ClassVar[int] = 255
    """Characters of a text column that is a key and whose length nobody knows."""
    instant: ClassVar[str] = "timestamp(6) with time zone"
    finite: ClassVar[bool] = False
    """Floats are neither NaN nor infinite."""
    zoneless: ClassVar[bool] = False
    """`instant` columns have no zone: they hold UTC."""
    truth: ClassVar[tuple[str, str]] = ("TRUE", "FALSE")
    words: ClassVar[Words | None] = None
    """How its catalogue is asked; None: only the driver knows."""
    snapshot: ClassVar[tuple[str, ...]] = ()
    """Statements after which a transaction sees one instant."""
    sharing: ClassVar[tuple[str, str]] = ("", "")
    """The query that names this instant, and the statement by which another transaction sees it too (`{}`: the name as
    a literal); empty if the system has no such."""
    parameters: ClassVar[int] = 900
    """Values that one statement may bind."""
    arrays: ClassVar[bool] = False
    """A column of values can be bound as one array and is unfolded into rows by `unnest`."""
    overriding: ClassVar[str] = ""
    """What an INSERT says behind the names of its columns so that identity columns take the values that arrive."""

    def lengths(self, sql: str, columns: int, places: Sequence[int]) -> str:
        """The query for the greatest length in bytes of some columns of a query; empty if the system has no such."""
        del sql, columns, places
        return ""

    # ---- names and values

    def quote(self, name: str) -> str:
        """An identifier, quoted."""
        return '"' + name.replace('"', '""') + '"'

    def word(self, name: str) -> str:
        """A name that our own tables were created with unquoted, quoted as it is stored."""
        return self.quote(name.upper() if self.folds_upper else name)

    def place(self, schema: str, table: str) -> str:
        """A table with its schema, if one is given."""
        return f"{self.quote(schema)}.{self.quote(table)}" if schema else self.quote(table)

    def literal(self, text: str) -> str:
        """A text as a literal."""
        return "'" + text.replace("'", "''") + "'"

    def moment(self, text: str) -> str:
        """An instant in UTC (`2026-01-01 00:00:00.000000`) as the expression that `instant` columns take."""
        return f"TIMESTAMP {self.literal(text + '+00:00')}"

    # ---- types

    @abstractmethod
    def kind(self, native: Native) -> tuple[pa.DataType, str] | None:
        """Arrow's type and the logical type of a native type; None if it cannot be read."""

    def field(self, name: str, native: str) -> pa.Field[Any]:
        """The field of a column; of type null if its values cannot be read."""
        return field_of(name, self.system, native, self.kind(Native.parse(native)))

    def column_type(self, field: pa.Field[Any], *, key: bool) -> str:
        """The type of a new column for a field. A type that came from a system of this kind is kept."""
        system, _, own = told(field, Meta.NATIVE).partition(":")
        if system == self.system and own and self.has(own) and not (key and not self.indexable(own)):
            return own
        type_: Any = field.type
        kind = type_.value_type if pa.types.is_dictionary(type_) else type_
        t = pa.types
        if t.is_boolean(kind):
            return self.made("bool")
        if t.is_integer(kind):
            return self.made(str(kind))
        if t.is_floating(kind):
            return self.made("float64" if t.is_float64(kind) else "float32")
        if t.is_decimal(kind):
            digits = (kind.precision - min(kind.scale, 0), max(kind.scale, 0))
            return self.number(*digits) or self.text(None, key=key)
        if t.is_timestamp(kind):
            return self.instant if kind.tz else self.made("timestamp")
        if t.is_date(kind):
            return self.made("date")
        if t.is_time(kind):
            return self.made("time")
        if t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind) or t.is_binary_view(kind):
            return self.made("key binary" if key else "binary")
        logical = told(field, Meta.LOGICAL)
        if logical in ("uuid", "json") and not (key and logical == "json"):
            return self.made(logical)
        return self.text(_length(own), key=key)

    def has(self, native: str) -> bool:
        """Whether every server of this kind has a type; one that users made may be unknown to the target's."""
        del native
        return True

    @abstractmethod
    def made(self, kind: str) -> str:
        """The type of a new column: `bool`, Arrow's name of an integer, `float32`, `float64`, `timestamp`, `date`,
        `time`, `binary`, `key binary`, `uuid`, `json`."""

    def number(self, precision: int, scale: int) -> str:
        """The exact number type of these digits; empty if there is none, so that they are kept as text."""
        return f"decimal({precision},{scale})" if precision <= 38 else ""

    @abstractmethod
    def text(self, length: int | None, *, key: bool) -> str:
        """A text type for so many characters, or any number of them; told apart exactly if it is a key."""

    def indexable(self, native: str) -> bool:
        """Whether a whole column of this type can be in a key."""
        del native
        return True

    def same_type(self, one: str, other: str) -> bool:
        """Whether two types hold the same values."""
        return Native.parse(_COLLATED.sub("", one)) == Native.parse(_COLLATED.sub("", other))

    # ---- reading and writing values

    def readable(self, expression: str, native: Native) -> str:
        """An expression that the driver hands over exactly: moments in UTC, what it garbles as text."""
        del native
        return expression

    def hole(self, native: Native) -> str:
        """A parameter of a column's type, bound as `values.binds` gives it."""
        del native
        return "?"

    def exact(self, expression: str, native: Native) -> str:
        """An expression that is equal only for identical values."""
        del native
        return expression

    def differs(self, left: str, right: str, native: Native) -> str:
        """Whether two columns differ, nulls counting as values."""
        one, other = self.exact(left, native), self.exact(right, native)
        same = f"{one} = {other} OR ({left} IS NULL AND {right} IS NULL)"
        return f"CASE WHEN {same} THEN 0 ELSE 1 END = 1"

    def codec(self, native: str, database: str) -> str:
        """Python's name of the character set that a text column is narrowed to without a word; empty if it holds every
        character or the system refuses others. `database` is that of the whole database, where it is known."""
        del native, database
        return ""

    def orders(self, native: Native) -> bool:
        """Whether key ranges can be cut along such a column: its literals are exact and its order is total."""
        kind = self.kind(native)
        if kind is None or kind[1] not in ("", "uuid"):
            return False
        t = pa.types
        return not (t.is_floating(kind[0]) or t.is_boolean(kind[0]) or t.is_binary(kind[0]) or t.is_nested(kind[0]))

    def bound(self, expression: str, native: Native) -> str:
        """A key's value as text, so that `bound_literal` gives the same value."""
        del native
        return f"CAST({expression} AS varchar(4000))"

    def bound_literal(self, text: str, native: Native) -> str:
        """The literal of a value that `bound` gave."""
        found = self.kind(native)
        t = pa.types
        if found is not None and (t.is_integer(found[0]) or t.is_decimal(found[0])):
            return text
        return self.literal(text)

    # ---- statements

    def page(self, sql: str, rows: int, skip: int = 0) -> str:
        """An ordered query's rows after the first `skip`."""
        return f"{sql} OFFSET {skip} ROWS FETCH NEXT {rows} ROWS ONLY"

    def portable(self, sql: str) -> list[str]:
        """The kit's own statements (ledger, quarantine) in this system's words."""
        create = _CREATE.match(sql)
        if create:
            return [self.create_missing(create[1], create[2])]
        limit = _LIMIT.search(sql)
        if limit:
            return [self.page(sql[: limit.start()], int(limit[1]))]
        locked = _LOCKED.search(sql)
        return [self.locking(sql[: locked.start()]) if locked else sql]

    def create_missing(self, table: str, columns: str) -> str:
        """Create a table unless it exists."""
        return f"CREATE TABLE IF NOT EXISTS {table} ({columns})"

    def locking(self, sql: str) -> str:
        """A query whose rows stay locked until the transaction ends."""
        return f"{sql} FOR UPDATE"

    def savepoint(self, name: str) -> str:
        """Mark a point of the transaction."""
        return f"SAVEPOINT {name}"

    def rollback_to(self, name: str) -> str:
        """Undo back to a mark."""
        return f"ROLLBACK TO SAVEPOINT {name}"

    def release(self, name: str) -> str:
        """Forget a mark; empty where marks need not be forgotten."""
        return f"RELEASE SAVEPOINT {name}"

    def session(self, *, reading: bool) -> Sequence[str]:
        """What every connection says first: UTC, strictness. Each may be refused."""
        del reading
        return ()

    def rename(self, schema: str, old: str, new: str) -> str:
        """Rename a table."""
        return f"ALTER TABLE {self.place(schema, old)} RENAME TO {self.quote(new)}"

    def rename_column(self, schema: str, table: str, old: str, new: str) -> str:
        """Rename a column."""
        return f"ALTER TABLE {self.place(schema, table)} RENAME COLUMN {self.quote(old)} TO {self.quote(new)}"

    def add_columns(self, table: str, definitions: Sequence[str]) -> list[str]:
        """Add columns, each given as `name type`."""
        return [f"ALTER TABLE {table} ADD COLUMN {one}" for one in definitions]

    def key(self, table: str, columns: Sequence[tuple[str, str]]) -> list[str]:
        """Give a table a primary key of these columns, each with its type."""
        return [f"ALTER TABLE {table} ADD PRIMARY KEY ({', '.join(self.quote(name) for name, _ in columns)})"]

    def retype(self, table: str, column: str, native: str, *, nullable: bool, loosen: bool) -> list[str]:
        """Give a column a wider type. It is `nullable` afterwards; `loosen` if it was not before."""
        del nullable
        alter = f"ALTER TABLE {table} ALTER COLUMN {self.quote(column)}"
        return [f"{alter} SET DATA TYPE {native}", *([f"{alter} DROP NOT NULL"] if loosen else [])]

    def titles(self, schema: str, table: str, title: str, columns: dict[str, str]) -> list[str]:
        """Statements that store titles; column → title."""
        place = self.place(schema, table)
        said = [f"COMMENT ON TABLE {place} IS {self.literal(title)}"] if title else []
        named = {self.quote(name): text for name, text in columns.items() if text}
        return said + [f"COMMENT ON COLUMN {place}.{name} IS {self.literal(text)}" for name, text in named.items()]

    def create(self, table: str, parts: Sequence[str]) -> str:
        """Create a table of these columns and constraints."""
        return f"CREATE TABLE {table} ({', '.join(parts)})"

    def create_schema(self, schema: str) -> list[str]:
        """Create a schema unless it exists; nothing where schemas are made by administrators."""
        del schema
        return []

    def create_as(self, table: str, query: str) -> str:
        """Create an empty table with the types of a query; its key is added afterwards."""
        return f"CREATE TABLE {table} AS {query} WHERE 1 = 0"

    def create_like(self, table: str, like: str, columns: Sequence[str]) -> str:
        """Create an empty table that can take another one's place."""
        return self.create_as(table, f"SELECT {', '.join(columns)} FROM {like}")

    def create_chunk(self, chunk: str, query: str) -> list[str]:
        """Create this session's temporary table anew with the types of a query, without ending the transaction."""
        return [f"DROP TABLE IF EXISTS {chunk}", f"CREATE TEMPORARY TABLE {chunk} AS {query} WHERE 1 = 0"]

    def prepare_chunk(self, chunk: str, query: str) -> list[str]:
        """What must be done, outside of sessions, before `create_chunk` can be."""
        del chunk, query
        return []

    def chunk(self, schema: str, name: str) -> str:
        """Where such a table is, quoted."""
        del schema
        return self.quote(name)

    def inserting(self, table: str, *, on: bool) -> str:
        """Let values into identity columns, or no longer; empty where they go in by themselves."""
        del table, on
        return ""

    def drop(self, table: str) -> list[str]:
        """Drop a table if it exists."""
        return [f"DROP TABLE IF EXISTS {table}"]

    def delete(self, table: str, alias: str, where: str) -> str:
        """Delete rows of a table that the condition calls `alias`."""
        return f"DELETE FROM {table} AS {alias} WHERE {where}"

    def superseded(self, table: str, key: Sequence[str]) -> str:
        """Delete the rows that a later row of the same key supersedes."""
        same = " AND ".join(f"b.{n} = a.{n}" for n in map(self.quote, key))
        later = f"b.{self.quote(SEQUENCE)} > a.{self.quote(SEQUENCE)}"
        return self.delete(table, "a", f"EXISTS (SELECT 1 FROM {table} b WHERE {same} AND {later})")

    def update(self, table: str, source: str, sets: Sequence[tuple[str, str]], on: str, where: str) -> str:
        """Set columns of `t` from `s` where they match and the condition holds."""
        pairs = ", ".join(f"{name} = {value}" for name, value in sets)
        return f"UPDATE {table} AS t SET {pairs} FROM {source} AS s WHERE {on} AND ({where})"

    def merged(
        self, table: str, source: str, on: str, *, sets: Sequence[tuple[str, str]], where: str, names: Sequence[str]
    ) -> str:
        """Update rows that match and differ, insert those that are new; the same quoted names in both tables."""
        pairs = ", ".join(f"{name} = {value}" for name, value in sets)
        update = f"WHEN MATCHED AND ({where}) THEN UPDATE SET {pairs} " if sets else ""
        values = ", ".join(f"s.{name}" for name in names)
        insert = f"WHEN NOT MATCHED THEN INSERT ({', '.join(names)}) VALUES ({values})"
        return f"MERGE INTO {table} AS t USING {source} AS s ON ({on}) {update}{insert}"

    def update_alone(self, table: str, sets: Sequence[tuple[str, str]], where: str) -> str:
        """Set columns of `t` where the condition holds."""
        return f"UPDATE {table} AS t SET {', '.join(f'{name} = {value}' for name, value in sets)} WHERE {where}"

    # ---- what others are doing

    def held(self, expression: str, native: Native) -> str:
        """The condition under which a number that the system counts up by itself is safe; empty if there is none."""
        del expression, native
        return ""

    def oldest_writer(self) -> str:
        """The query for the age in whole seconds of the oldest open writing transaction of another session (null:
        none); empty if the system tells nobody."""
        return ""

    def writers(self) -> str:
        """The query for something that names each open writing transaction of others; empty as above."""
        return ""

    def ago(self, seconds: int, native: Native, zone: str) -> str:
        """The moment so many seconds ago as a value of a cursor's type; local times are of `zone` (empty: UTC)."""
        del zone
        return f"CAST(CURRENT_TIMESTAMP - INTERVAL '{seconds}' SECOND AS {native.name})"

    def meaning(self, state: str, text: str) -> type[TongquError] | None:
        """The error that a server of this kind means where its SQLSTATE alone does not tell."""
        del state, text
        return None

    def pinned(self, schema: str, table: str) -> tuple[str, ...]:
        """Queries for the names of what would stay with the old table after a swap (two parameters: schema, table)."""
        del schema, table
        return ()


def _length(native: str) -> int | None:
    found = _BOUNDED.match(native)
    return int(found[1]) if found else None
