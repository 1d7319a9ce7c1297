"""The publication of a log: which tables it tells about, what we remember with it, and whether it was changed.

The server forgets what happens to a table while it is in no publication, and nothing in the log says so. So what we
have published is remembered in the publication's comment and compared with what is there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from threading import Event
from typing import Any

from tongqu.connectors.postgres import catalog
from tongqu.connectors.postgres.db import PgDb, literal, quoted
from tongqu.connectors.postgres.log.children import inherited
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.core.errors import BusyError

_GENERATED_SINCE = 180000
"""Generated columns can be published from this version on."""
_PUBLICATION = """
SELECT p.oid::bigint, p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate,
       coalesce(to_jsonb(p) ->> 'pubviaroot', 'true') = 'true',
       pg_catalog.pg_has_role(p.pubowner, 'USAGE') AND NOT pg_catalog.pg_is_in_recovery()
FROM pg_catalog.pg_publication p WHERE p.pubname = ?
"""
_MEMBERS = """
SELECT c.oid::bigint, r.oid::bigint, n.nspname::text, c.relname::text,
       to_jsonb(r) ->> 'prqual' IS NULL AND to_jsonb(r) ->> 'prattrs' IS NULL
FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_class c ON c.oid = r.prrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE r.prpubid = ?
"""
_NAMED = """
SELECT c.oid::bigint FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ? AND c.relname = ?
"""
_NOTE = """
SELECT pg_catalog.obj_description(oid, 'pg_publication') FROM pg_catalog.pg_publication WHERE pubname = ?
"""
_OLDEST = """
SELECT 'process ' || pid || ' (' || concat_ws(', ', datname, usename, nullif(application_name, '')) || ')',
       xact_start::text, 'SELECT pg_terminate_backend(' || pid || ')', xact_start
FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
UNION ALL SELECT 'the prepared transaction ' || quote_literal(gid) || ' (' || database || ')', prepared::text,
       'ROLLBACK PREPARED ' || quote_literal(gid), prepared FROM pg_catalog.pg_prepared_xacts
ORDER BY 4 LIMIT 1
"""
_TABLES = "tables"
DROPPED = "was dropped or renamed"


def published(
    db: PgDb, name: str, tables: Sequence[catalog.Relation], settings: PostgresSettings, *,
    lost: Collection[str] = (), anew: bool = False,
) -> None:  # fmt: skip
    """Have a publication of exactly these tables. Returns when no transaction is open any more that began before it
    was made, so that nothing of the tables can be missed. `anew`: one of them may be loaded now; it may have been
    published by somebody who did not wait for that to the end. `lost` are datasets of which we still know that they
    were published: nobody else may take them for whole."""
    wanted = {relation.oid for relation in tables}
    there = members(db, name)
    found = {oid for oid, *_ in there}
    exists = bool(found) or bool(db.rows(_PUBLICATION, (name,)))
    kept = _kept(db, name, lost)
    if not exists or found != wanted or (anew and not all(whole for *_, whole in there)):
        listed = ", ".join(f"{quoted(relation.schema)}.{quoted(relation.table)}" for relation in tables)
        if not exists:
            db.run(create_publication(db.version, name, listed))
        elif listed:
            _remember(db, name, kept, wanted)  # first: what is taken out by us is not missing
            db.run(f"ALTER PUBLICATION {quoted(name)} SET TABLE {listed}")
    _remember(db, name, kept, wanted)
    if anew or not wanted <= found:
        settled(db, settings)


def create_publication(version: int, name: str, listed: str) -> str:
    """The statement that makes the publication."""
    extra = ["publish_via_partition_root = true"] if version >= 130000 else []
    if version >= _GENERATED_SINCE:
        extra.append("publish_generated_columns = stored")
    return f"CREATE PUBLICATION {quoted(name)} FOR TABLE {listed}" + (f" WITH ({', '.join(extra)})" if extra else "")


def unsent(relation: catalog.Relation, version: int) -> list[str]:
    """Generated columns that the server does not put into the log."""
    sent = "s" if version >= _GENERATED_SINCE else ""
    return [column.name for column in relation.columns if column.generated and column.generated not in sent]


def members(db: PgDb, name: str) -> Sequence[Sequence[Any]]:
    """The tables of a publication: their oid, that of their membership, schema, name, and whether all of their rows and
    columns are published."""
    found = db.rows(_PUBLICATION, (name,))
    return db.rows(_MEMBERS, (found[0][0],)) if found else []


def broken(db: PgDb, name: str, tables: Sequence[catalog.Relation]) -> str:
    """Why the publication tells no table whole, "" if it is fit."""
    found = db.rows(_PUBLICATION, (name,))
    if not found:
        return f"the publication {name} was dropped"
    if not found[0][1]:
        return f"the publication {name} does not publish insert, update, delete and truncate"
    if not found[0][2] and any(relation.kind == "p" for relation in tables):
        return f"the publication {name} does not publish partitions as their root table"
    return ""


def partial(db: PgDb, name: str, tables: Sequence[catalog.Relation]) -> dict[str, str]:
    """Those of its tables that the publication does not tell whole, and why."""
    ours = {relation.oid: relation.name for relation in tables}
    return {
        ours[oid]: f"the publication {name} leaves out rows or columns of {ours[oid]}"
        for oid, _, _, _, whole in members(db, name)
        if oid in ours and not whole
    }


def missed(db: PgDb, name: str, tables: Sequence[catalog.Relation], *, joining: bool = False) -> dict[str, str]:
    """Those of these tables whose changes may be missing from the log since they were published, and why. `joining`:
    a table that was never published is not there yet."""
    found = {**partial(db, name, tables), **inherited(db, tables)}
    there = {int(oid): (int(member), schema, table) for oid, member, schema, table, _ in members(db, name)}
    known = {(schema, table): (oid, member) for oid, member, schema, table in note(db, name).get(_TABLES, ())}
    for relation in tables:
        own, now = (relation.schema, relation.table), there.get(relation.oid)
        before = known.get(own)
        if now is None and joining and before is None:
            continue
        why = _changed(name, before, relation.oid, now[0] if now else None)
        if not why and now is not None and now[1:] != own:
            why = f"was renamed to {'.'.join(now[1:])}"
        if why:
            found.setdefault(relation.name, f"{relation.name} {why}")
    return found


def drifted(db: PgDb, name: str) -> dict[str, str]:
    """What happened to the tables of a publication, by `schema.table`; of those that are not there, that."""
    there = {int(oid): (int(member), whole) for oid, member, _, _, whole in members(db, name)}
    found = {}
    for oid, member, schema, table in note(db, name).get(_TABLES, ()):
        now = db.rows(_NAMED, (schema, table))
        if not now:
            found[f"{schema}.{table}"] = DROPPED
            continue
        own = there.get(int(now[0][0]))
        why = _changed(name, (oid, member), int(now[0][0]), own[0] if own else None)
        if why or (own and not own[1]):
            found[f"{schema}.{table}"] = why or f"is published by {name} without some of its rows or columns"
    return found


def _changed(name: str, before: tuple[int, int] | None, oid: int, member: int | None) -> str:
    """What happened to a table of this oid that is in the publication as `member`, and was as it was noted before."""
    if before is not None and before[0] != oid:
        return "is another table than the one that was followed"
    if member is None:
        return f"was dropped, or taken out of the publication {name}"
    if before is not None and before[1] != member:
        return f"was taken out of the publication {name} and put in again"
    return ""


def note(db: PgDb, name: str) -> dict[str, Any]:
    """What we keep with the publication."""
    found = db.rows(_NOTE, (name,))
    return dict(json.loads(found[0][0])) if found and found[0][0] else {}


def noted(db: PgDb, name: str, what: str, value: Sequence[Any]) -> None:
    """Keep something small with the publication; nothing of it if it is empty."""
    kept = {**note(db, name), what: value}
    text = json.dumps({word: kept[word] for word in sorted(kept) if kept[word]})
    db.run(f"COMMENT ON PUBLICATION {quoted(name)} IS {literal(text) if text != '{}' else 'NULL'}")


def _kept(db: PgDb, name: str, lost: Collection[str]) -> list[Any]:
    """What was noted of these datasets."""
    noted = note(db, name).get(_TABLES, ()) if lost else ()
    here = str(db.rows("SELECT current_schema()")[0][0]) if lost else ""
    return [one for one in noted if f"{one[2]}.{one[3]}" in lost or (one[2] == here and one[3] in lost)]


def _remember(db: PgDb, name: str, kept: Sequence[Any], wanted: set[int]) -> None:
    """Note what of the wanted is published now, and what is kept; a publication of another role is compared without."""
    now = [[int(oid), int(member), schema, table] for oid, member, schema, table, _ in members(db, name)]
    listed = sorted([*(one for one in now if one[0] in wanted), *kept])
    if db.rows(_PUBLICATION, (name,))[0][3] and listed != note(db, name).get(_TABLES):
        noted(db, name, _TABLES, listed)


def settled(db: PgDb, settings: PostgresSettings) -> None:
    """Wait until every transaction that is open now has ended, and others see it: what it wrote before the publication
    knew its tables is not in the log."""
    last = int(db.rows("SELECT txid_snapshot_xmax(txid_current_snapshot())")[0][0])
    until, pause = time.monotonic() + settings.lock_seconds, Event()
    while int(db.rows("SELECT txid_snapshot_xmin(txid_current_snapshot())")[0][0]) < last:
        if time.monotonic() > until:
            raise still_open(db, settings)
        pause.wait(0.05)


def still_open(db: PgDb, settings: PostgresSettings) -> BusyError:
    """The error that names the oldest of the transactions that are waited for."""
    found = db.rows(_OLDEST)
    who, since, end = found[0][:3] if found else ("a process", "", "see pg_stat_activity.xact_start")
    return BusyError(
        f"the log cannot begin while older transactions are open: {who} has one" + (f" since {since}" if since else ""),
        path=settings.display(),
        hint=f"end it ({end}) and run the same command again; lock_seconds says how long is waited",
    )
