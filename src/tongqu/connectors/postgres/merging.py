"""Merges loaded rows into a PostgreSQL target by key: upsert, history (SCD2), delete detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tongqu.connectors.postgres.db import PgDb, literal, quoted
from tongqu.connectors.postgres.ddl import exists, load_place, place
from tongqu.connectors.postgres.types import PgType
from tongqu.core.data import Deletes, WriteMode, Written
from tongqu.core.errors import RefusedRowsError
from tongqu.kit.sql.landing import DELETED, Landing

if TYPE_CHECKING:
    import pyarrow as pa

SEQUENCE = "_tongqu_seq"
# Types without an equality operator: compared by their text, as are user-defined ones (citext calls A and a equal).
_UNEQUAL = frozenset({"json", "xml", "point", "path", "polygon", "line", "lseg", "box", "circle"})


def load_columns(landing: Landing) -> list[str]:
    """The arriving columns that are written, in order."""
    target = landing.target
    names = landing.write.dataset.columns
    return [n for n in names if target is None or n not in target.columns or n in target.written]


def overriding(landing: Landing) -> str:
    """What an INSERT must say to fill identity columns that are GENERATED ALWAYS; COPY needs nothing."""
    always = set(landing.target.always if landing.target else ()) & set(load_columns(landing))
    return "OVERRIDING SYSTEM VALUE " if always else ""


def create_chunk(db: PgDb, landing: Landing) -> None:
    """Create the session's temporary table, or empty it; rows are numbered in arrival order unless keys are unique."""
    name = quoted(landing.chunk.rpartition(".")[2])
    columns = [f"{quoted(n)} {landing.types[n]}" for n in load_columns(landing)]
    if not landing.write.unique:
        columns.append(f"{SEQUENCE} bigint GENERATED ALWAYS AS IDENTITY")
    shape = ", ".join(columns)
    there = db.rows("SELECT pg_catalog.obj_description(to_regclass(?), 'pg_class')", (f"pg_temp.{name}",))[0][0]
    if there == shape:
        db.run(f"TRUNCATE {name}")
        return
    if there is not None:  # the connection served the target before it got other columns
        db.run(f"DROP TABLE {name}")
    db.run(f"CREATE TEMPORARY TABLE {name} ({shape}) ON COMMIT DELETE ROWS")
    db.run(f"COMMENT ON TABLE {name} IS {literal(shape)}")


def csv_options(options: Mapping[str, Any]) -> str:
    """COPY options for a CSV's dialect."""
    delimiter, quote, null = (options.get(k, d) for k, d in (("delimiter", ","), ("quote", '"'), ("null", "")))
    escape = options.get("escape") or quote
    return (
        f"FORMAT CSV, DELIMITER {_char(delimiter)}, QUOTE {_char(quote)}, ESCAPE {_char(escape)}, NULL {literal(null)}"
    )


def _char(text: str) -> str:
    return "E'\\t'" if text == "\t" else literal(text)


def load_loosely(
    db: PgDb, into: tuple[str, str], rows: pa.Table, types: Sequence[str], loose: set[str]
) -> int:  # fmt: skip
    """Load columns that have no exact binary form as text and let the server parse them into their types; `into` is the
    table and what an INSERT into it must say."""
    import pyarrow as pa

    from tongqu.connectors.postgres.encode import HEADER, TRAILER, Encoder

    names = rows.schema.names
    wire = ["text" if name in loose else kind for name, kind in zip(names, types, strict=True)]
    arrays = [
        _text(rows.column(name), kind) if name in loose else rows.column(name)
        for name, kind in zip(names, types, strict=True)
    ]
    texts = pa.table(arrays, names=names)
    temp = quoted("_tongqu_loose")
    db.run(f"DROP TABLE IF EXISTS {temp}")
    columns = ", ".join(f"{quoted(n)} {kind}" for n, kind in zip(names, wire, strict=True))
    db.run(f"CREATE TEMPORARY TABLE {temp} ({columns}) ON COMMIT DROP")
    encoder = Encoder(texts.schema, wire)
    blocks = (block for batch in texts.to_batches() for block in encoder.chunks(batch))
    listed = ", ".join(quoted(n) for n in names)
    db.copy_in(
        f"COPY {temp} ({listed}) FROM STDIN (FORMAT BINARY)", (b for g in ([HEADER], blocks, [TRAILER]) for b in g)
    )
    casts = ", ".join(f"{quoted(n)}::{kind}" if n in loose else quoted(n) for n, kind in zip(names, types, strict=True))
    done = db.run(f"INSERT INTO {into[0]} ({listed}) {into[1]}SELECT {casts} FROM {temp}")
    db.run(f"DROP TABLE {temp}")
    return done


def _text(column: Any, target: str) -> Any:
    """Values as input text of a PostgreSQL type: lists for an array type as array literals, other nested values as
    JSON (rare, so they are formatted one by one)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from tongqu.kit.sql.plain_types import plain

    kind = column.type
    if pa.types.is_nested(kind) and not target.endswith("[]"):
        return plain(column, "")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.chunked_array([pa.array([_array(v) for v in column.to_pylist()], pa.string())])
    if pa.types.is_timestamp(kind) and kind.tz:
        return pc.strftime(column, "%Y-%m-%d %H:%M:%S+00")
    return pc.cast(column, pa.string())


def _array(values: list[Any] | None) -> str | None:
    if values is None:
        return None
    parts = ["NULL" if v is None else '"' + str(v).replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values]
    return "{" + ",".join(parts) + "}"


def refuse_null_keys(db: PgDb, landing: Landing, *, after_bytes: bool) -> None:
    """Raise RefusedRowsError if loaded bytes hold rows without a key, so that the chunk is looked at row by row."""
    nullable = [n for n in landing.write.key if landing.write.dataset.nullable(n)]
    if not nullable or not after_bytes or landing.staged:
        return
    test = " OR ".join(f"{quoted(n)} IS NULL" for n in nullable)
    if db.rows(f"SELECT EXISTS (SELECT 1 FROM {load_place(db, landing)} WHERE {test})")[0][0]:
        raise RefusedRowsError(f"rows without a key ({', '.join(nullable)})", path=landing.write.stream)


def merge(db: PgDb, landing: Landing, source: str) -> Written:
    """Merge `source` (the chunk or the staged generation) into the target."""
    db_source = quoted(source.rpartition(".")[2]) if source == landing.chunk else place(db, source)
    step = Merge(db, landing, db_source)
    return step.history() if landing.write.mode is WriteMode.HISTORY else step.upsert()


def exact(landing: Landing) -> bool:
    """Whether the target itself refuses two rows of a key."""
    target = landing.target
    return target is None or set(landing.write.key) in [set(u) for u in (*target.unique, target.key)]


class Merge:
    """The statements of one merge."""

    def __init__(self, db: PgDb, landing: Landing, source: str):
        self._db = db
        self._landing = landing
        self._key = landing.write.key
        self._columns = load_columns(landing)
        always = landing.target.always if landing.target else ()
        self._values = [n for n in self._columns if n not in self._key and n not in always]
        self._overriding = overriding(landing)
        self._target = place(db, landing.write.dataset.name)
        self._from = source
        marked = landing.target is not None and DELETED in landing.target.columns
        marked = marked and DELETED not in landing.write.dataset.columns
        soft = marked or landing.write.deletes is Deletes.SOFT
        self._soft = soft and landing.write.mode is not WriteMode.HISTORY
        self._ordered = landing.merges and not landing.write.unique

    def _deduplicated(self) -> tuple[int, int]:
        """Rows and distinct keys of the source; superseded rows of a chunk are removed."""
        db, keys = self._db, ", ".join(quoted(n) for n in self._key)
        rows = int(db.rows(f"SELECT count(*) FROM {self._from}")[0][0])
        if self._ordered:
            same = " AND ".join(f"a.{quoted(n)} = b.{quoted(n)}" for n in self._key)
            gone = 0
            if db.rows(f"SELECT EXISTS (SELECT 1 FROM {self._from} GROUP BY {keys} HAVING count(*) > 1)")[0][0]:
                gone = db.run(
                    f"DELETE FROM {self._from} a USING {self._from} b WHERE {same} AND a.{SEQUENCE} < b.{SEQUENCE}"
                )
            return rows, rows - gone
        if self._landing.staged:
            same = " AND ".join(f"a.{quoted(n)} = b.{quoted(n)}" for n in self._key)
            gone = 0
            if db.rows(f"SELECT EXISTS (SELECT 1 FROM {self._from} GROUP BY {keys} HAVING count(*) > 1)")[0][0]:
                gone = db.run(f"DELETE FROM {self._from} a USING {self._from} b WHERE {same} AND a.ctid < b.ctid")
            return rows, rows - gone
        return rows, rows

    def upsert(self) -> Written:
        """Insert new keys, update rows that differ, leave the others."""
        known = self._landing.merges and not self._ordered  # each key comes once
        rows, distinct = (0, 0) if known else self._deduplicated()
        if self._soft:
            self._db.run(f"ALTER TABLE {self._target} ADD COLUMN IF NOT EXISTS {DELETED} timestamptz")
        inserted, updated, came = self._on_conflict() if exact(self._landing) else self._update_insert()
        if known:
            rows = distinct = came
        deleted = self._delete_missing()
        return Written(
            inserted=inserted,
            updated=updated,
            deleted=deleted,
            unchanged=distinct - inserted - updated,
            merged=rows - distinct,
        )

    def _sets(self, source: str) -> str:
        sets = [f"{quoted(n)} = {source}.{quoted(n)}" for n in self._values]
        return ", ".join([*sets, f"{DELETED} = NULL"] if self._soft else sets)

    def _differs(self, source: str) -> str:
        left = ", ".join(self._comparable(f"t.{quoted(n)}", n) for n in self._values)
        right = ", ".join(self._comparable(f"{source}.{quoted(n)}", n) for n in self._values)
        soft = f" OR t.{DELETED} IS NOT NULL" if self._soft else ""
        return f"(({left}) IS DISTINCT FROM ({right}){soft})"

    def _comparable(self, sql: str, name: str) -> str:
        kind = PgType(self._landing.types.get(name, "text"))
        return f"{sql}::text" if kind.name in _UNEQUAL or not kind.portable else sql

    def _on_conflict(self) -> tuple[int, int, int]:
        """Rows inserted, rows updated, rows that came."""
        found = self._db.rows(f"{self._upserting()}, (SELECT count(*) FROM {self._from}) FROM done")
        inserted, updated, came = map(int, found[0])
        return inserted, updated, came

    def one_statement(self) -> str:
        """An upsert of a source whose keys come once, as one query: rows inserted, rows updated."""
        return f"{self._upserting()} FROM done"

    def _upserting(self) -> str:
        names = ", ".join(quoted(n) for n in self._columns)
        keys = ", ".join(quoted(n) for n in self._key)
        action = (
            f"DO UPDATE SET {self._sets('excluded')} WHERE {self._differs('excluded')}"
            if self._values or self._soft
            else "DO NOTHING"
        )
        return (
            f"WITH done AS (INSERT INTO {self._target} AS t ({names}) {self._overriding}"
            f"SELECT {names} FROM {self._from} ON CONFLICT ({keys}) {action} RETURNING (t.xmax = 0) AS fresh) "
            "SELECT count(*) FILTER (WHERE fresh), count(*) FILTER (WHERE NOT fresh)"
        )

    def _update_insert(self) -> tuple[int, int, int]:
        """For targets without a unique index on the key; safe because only the fence's holder writes."""
        names = ", ".join(quoted(n) for n in self._columns)
        same = " AND ".join(f"t.{quoted(n)} = s.{quoted(n)}" for n in self._key)
        updated = 0
        if self._values or self._soft:
            updated = self._db.run(
                f"UPDATE {self._target} t SET {self._sets('s')} FROM {self._from} s "
                f"WHERE {same} AND {self._differs('s')}"
            )
        inserted = self._db.run(
            f"INSERT INTO {self._target} ({names}) {self._overriding}SELECT {names} FROM {self._from} s "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self._target} t WHERE {same})"
        )
        return inserted, updated, int(self._db.rows(f"SELECT count(*) FROM {self._from}")[0][0])

    def _missing(self) -> str:
        same = " AND ".join(f"t.{quoted(n)} = s.{quoted(n)}" for n in self._key)
        return f"NOT EXISTS (SELECT 1 FROM {self._from} s WHERE {same})"

    def _delete_missing(self) -> int:
        if not self._landing.staged or self._landing.write.deletes is Deletes.IGNORE:
            return 0
        if self._landing.write.deletes is Deletes.HARD and _tied(self._landing):
            self._landing.deferred = True
            return int(self._db.rows(f"SELECT count(*) FROM {self._target} t WHERE {self._missing()}")[0][0])
        if self._landing.write.deletes is Deletes.SOFT:
            at = literal(self._landing.write.started_at)
            return self._db.run(
                f"UPDATE {self._target} t SET {DELETED} = {at}::timestamptz "
                f"WHERE t.{DELETED} IS NULL AND {self._missing()}"
            )
        return self.delete_missing()

    def delete_missing(self) -> int:
        """Delete the target's rows that the source lacks."""
        return self._db.run(f"DELETE FROM {self._target} t WHERE {self._missing()}")

    def history(self) -> Written:
        """Close changed versions and insert the new ones; with a whole generation also close vanished keys."""
        rows, distinct = self._deduplicated()
        at = f"{literal(self._landing.write.started_at)}::timestamptz"
        same = " AND ".join(f"t.{quoted(n)} = s.{quoted(n)}" for n in self._key)
        updated = 0
        if self._values:
            updated = self._db.run(
                f"UPDATE {self._target} t SET _valid_to = {at}, _current = FALSE FROM {self._from} s "
                f"WHERE t._current AND {same} AND {self._differs('s')}"
            )
        deleted = 0
        if self._landing.staged and self._landing.write.deletes is not Deletes.IGNORE:
            deleted = self._db.run(
                f"UPDATE {self._target} t SET _valid_to = {at}, _current = FALSE WHERE t._current AND {self._missing()}"
            )
        names = ", ".join(quoted(n) for n in self._columns)
        added = self._db.run(
            f"INSERT INTO {self._target} ({names}, _valid_from, _valid_to, _current) {self._overriding}"
            f"SELECT {names}, {at}, NULL, TRUE FROM {self._from} s "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self._target} t WHERE t._current AND {same})"
        )
        return Written(
            inserted=added - updated,
            updated=updated,
            deleted=deleted,
            unchanged=distinct - added,
            merged=rows - distinct,
        )


def _tied(landing: Landing) -> bool:
    """Whether foreign keys hang on the target: then deleting waits until all tables of the run have their new rows."""
    return landing.target is not None and any(pin.startswith("foreign key") for pin in landing.target.pinned)


def delete_deferred(db: PgDb, landing: Landing) -> None:
    """Delete what waited for the end of the run, if it still waits, and drop the staged generation."""
    if not landing.staged or not exists(db, landing.stage):
        return
    Merge(db, landing, place(db, landing.stage)).delete_missing()
    db.run(f"DROP TABLE {place(db, landing.stage)}")
