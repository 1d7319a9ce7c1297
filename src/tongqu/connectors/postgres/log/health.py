"""What following PostgreSQL's log needs, how it stands and how long it lasts, each with its fix.

Sources: PostgreSQL docs 19.6 (replication settings), 53.20 (pg_replication_slots), 27.2.6 and 47.2 (slots).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from tongqu.connectors.postgres import catalog
from tongqu.connectors.postgres.db import PgDb, quoted
from tongqu.connectors.postgres.log import children, publication
from tongqu.connectors.postgres.log import slot as slots
from tongqu.connectors.postgres.log.stream import number_of
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.core.data import Dataset
from tongqu.core.errors import ConnectError, ConnectorError
from tongqu.core.log import Finding, Lag, Unsent

_SETTINGS = """
SELECT name, setting FROM pg_catalog.pg_settings
WHERE name IN ('wal_level', 'max_replication_slots', 'max_wal_senders', 'max_slot_wal_keep_size',
               'idle_replication_slot_timeout')
"""
_USED = """
SELECT (SELECT count(*) FROM pg_catalog.pg_replication_slots),
       (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'walsender'),
       pg_is_in_recovery()
"""
_RIGHTS = """
SELECT r.rolreplication OR r.rolsuper OR EXISTS (
         SELECT FROM pg_catalog.pg_roles m WHERE m.rolname IN ('rds_replication', 'rds_superuser',
           'cloudsqlsuperuser', 'azure_pg_admin', 'alloydbsuperuser', 'polar_superuser')
         AND pg_has_role(r.rolname, m.oid, 'MEMBER')),
       has_database_privilege(current_database(), 'CREATE') OR r.rolsuper, r.rolsuper,
       (SELECT string_agg(m.rolname, ' ') FROM pg_catalog.pg_roles m WHERE m.rolname IN
         ('rds_replication', 'cloudsqlsuperuser', 'azure_pg_admin', 'alloydbsuperuser'))
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""
_TABLES = """
SELECT c.oid::bigint, pg_has_role(current_user, c.relowner, 'MEMBER'), has_table_privilege(c.oid, 'SELECT'),
       c.relpersistence::text, c.reltoastrelid <> 0, c.relreplident::text
FROM pg_catalog.pg_class c WHERE c.oid = ANY (?::oid[])
"""
_LARGE = """
SELECT a.attname::text, array_agg(DISTINCT l.oid::regclass::text ORDER BY l.oid::regclass::text)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_class l ON l.relkind IN ('r', 'p')
 AND (l.oid = c.oid OR l.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid)))
JOIN pg_catalog.pg_attribute a ON a.attrelid = l.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE c.oid = ? AND l.relreplident <> 'f' AND l.reltoastrelid <> 0 AND pg_relation_size(l.reltoastrelid) > 0
  AND a.attstorage IN ('x', 'e') AND NOT (t.typname IN ('varchar', 'bpchar') AND a.atttypmod BETWEEN 5 AND 259)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = l.oid AND a.attnum = ANY (i.indkey::int2[])
                  AND (l.relreplident = 'd' AND i.indisprimary OR l.relreplident = 'i' AND i.indisreplident))
GROUP BY a.attname ORDER BY min(a.attnum)
"""
"""Columns of a table, or of its partitions, that may lie out of line (47.2, TOAST: extended or external storage) and
are not in the replica identity, where such values are there now; an update that leaves one alone is logged without."""
_DEFAULTS = """
SELECT bool_or(a.atthasdef OR a.atthasmissing OR a.attnotnull OR a.attidentity <> '')
FROM pg_catalog.pg_attribute a WHERE a.attrelid = ? AND a.attname = ANY (?::text[])
"""
"""Whether rows that were there when a column came may have got a value; one that must have values had a default."""
_RATE = """
SELECT wal_bytes::float8 / greatest(extract(epoch FROM clock_timestamp() - stats_reset), 1)::float8
FROM pg_catalog.pg_stat_wal
"""
_OURS = """
SELECT slot_name::text FROM pg_catalog.pg_replication_slots
WHERE database = current_database() AND slot_name LIKE 'tongqu\\_%'
UNION SELECT pubname::text FROM pg_catalog.pg_publication WHERE pubname LIKE 'tongqu\\_%' ORDER BY 1
"""
_SEARCH_MS = 5000
_SOON = 24 * 3600.0
"""Seconds to the loss of the position below which it is a warning."""


def examine(db: PgDb, name: str, tables: Sequence[catalog.Relation], datasets: Sequence[Dataset]) -> Sequence[Finding]:
    """See Log.examine."""
    keys = {dataset.name: dataset.key for dataset in datasets}
    return [*_server(db, name), *_rights(db), *_tables(db, name, tables, keys), *_slots(db, name)]


def _server(db: PgDb, name: str) -> Iterator[Finding]:
    settings = {str(word): str(value) for word, value in db.rows(_SETTINGS)}
    level = settings["wal_level"]
    if level == "logical":
        yield Finding("wal_level", "ok", level)
    else:
        yield Finding("wal_level", "error", level, "ALTER SYSTEM SET wal_level = 'logical'; then restart the server")
    used, senders, standby = db.rows(_USED)[0]
    ours = slots.slot(db, name) is not None
    for word, taken in (("max_replication_slots", int(used) - ours), ("max_wal_senders", int(senders))):
        limit = int(settings[word])
        found = f"{taken} of {limit} used"
        if taken < limit:
            yield Finding(word, "ok", found)
        else:
            fix = f"ALTER SYSTEM SET {word} = {limit + 10}; then restart the server"
            yield Finding(word, "error", found, fix)
    if standby and db.version < 160000:
        yield Finding("standby", "error", "a standby before PostgreSQL 16", "connect to the primary")
    keep = int(settings.get("max_slot_wal_keep_size", "-1"))
    if keep == -1 and not standby:
        yield Finding(
            "max_slot_wal_keep_size",
            "warning",
            "unlimited: a log that nobody reads fills the server's disk",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf()",
        )
    elif not standby:
        yield Finding("max_slot_wal_keep_size", "ok", f"{keep} MB")
    idle = int(settings.get("idle_replication_slot_timeout", "0"))
    if idle:
        yield Finding(
            "idle_replication_slot_timeout",
            "warning",
            f"a log that nobody reads for {idle} s is thrown away",
            "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()",
        )


def _rights(db: PgDb) -> Iterator[Finding]:
    user = quoted(str(db.rows("SELECT current_user")[0][0]))
    replication, create, _, managed = db.rows(_RIGHTS)[0]
    if replication:
        yield Finding("replication", "ok", "the role may replicate")
    else:
        role = str(managed).split(" ")[0] if managed else ""
        fix = f"GRANT {role} TO {user}" if role else f"ALTER ROLE {user} REPLICATION"
        yield Finding("replication", "error", "the role may not replicate", fix)
    database = quoted(str(db.rows("SELECT current_database()")[0][0]))
    if not create:
        yield Finding(
            "create_publication",
            "warning",
            "the role may not make publications",
            f"GRANT CREATE ON DATABASE {database} TO {user}; or let the owner make the publication",
        )


def _tables(
    db: PgDb, name: str, tables: Sequence[catalog.Relation], keys: dict[str, tuple[str, ...]]
) -> Iterator[Finding]:
    wrong = slots.misfits(db, tables, {relation.oid: keys.get(relation.name, ()) for relation in tables})
    about = {int(row[0]): row[1:] for row in db.rows(_TABLES, ([relation.oid for relation in tables],))}
    published = {int(row[0]) for row in publication.members(db, name)}
    exists = bool(db.rows("SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = ?", (name,)))
    user = quoted(str(db.rows("SELECT current_user")[0][0]))
    for why in children.inherited(db, tables).values():
        yield Finding("children", "error", why, children.FIX)
    for relation in tables:
        owner, select, persistence, toast, identity = about[relation.oid]
        table = f"{quoted(relation.schema)}.{quoted(relation.table)}"
        if fix := slots.deferred(relation, keys.get(relation.name) or relation.key):
            yield Finding("key", "error", f"{relation.name}: its key is deferrable", fix)
        if relation.name in wrong:
            found = f"{relation.name}: changes cannot be told by its key; published, its UPDATEs would fail"
            yield Finding("replica_identity", "error", found, wrong[relation.name])
        elif toast and identity != "f":
            found = f"{relation.name}: a changed key's row lacks the large values that did not change"
            yield Finding(
                "replica_identity", "ok", found, f"where keys change: ALTER TABLE {table} REPLICA IDENTITY FULL"
            )
        else:
            yield Finding("replica_identity", "ok", relation.name)
        if persistence != "p":
            found = f"{relation.name} is not logged"
            yield Finding("logged", "error", found, f"ALTER TABLE {table} SET LOGGED")
        unsent = publication.unsent(relation, db.version)
        if unsent:
            found = f"{relation.name}: the log lacks {', '.join(unsent)}"
            yield Finding("generated_columns", "error", found, "PostgreSQL 18 sends stored ones; or --mode full")
        if not select:
            yield Finding("select", "error", f"{relation.name} cannot be read", f"GRANT SELECT ON {table} TO {user}")
        in_it = relation.oid in published
        if exists and not in_it:
            fix = f"ALTER PUBLICATION {quoted(name)} ADD TABLE {table}; the next sync does it"
            yield Finding("publication", "warning", f"{relation.name} is not in it", fix)
        elif not exists and not owner:
            found = f"{relation.name} belongs to another role"
            listed = ", ".join(f"{quoted(one.schema)}.{quoted(one.table)}" for one in tables)
            yield Finding("publication", "error", found, publication.create_publication(db.version, name, listed))


def filled(settings: PostgresSettings, dataset: str, columns: Sequence[str], *, renamed: bool) -> bool:
    """See Log.filled. Where a value is not found in a few seconds there may be one."""
    db = PgDb(settings, "cdc")
    try:
        (relation,) = catalog.relations(db, [dataset])
        if not renamed and not db.rows(_DEFAULTS, (relation.oid, list(columns)))[0][0]:
            return False
        there = {column.name for column in relation.columns}
        some = " OR ".join(f"{quoted(name)} IS NOT NULL" for name in columns if name in there)
        db.run(f"SET statement_timeout = {_SEARCH_MS}")
        table = f"{quoted(relation.schema)}.{quoted(relation.table)}"
        return bool(some) and bool(db.rows(f"SELECT EXISTS (SELECT FROM {table} WHERE {some})")[0][0])
    except (ConnectorError, ValueError) as error:
        if isinstance(error, ConnectError):
            raise
        return True
    finally:
        db.close()


def unsent(db: PgDb, relation: catalog.Relation) -> Unsent | None:
    """See Log.unsent."""
    found = db.rows(_LARGE, (relation.oid,))
    tables = dict.fromkeys(str(table) for _, several in found for table in several)
    fix = "; ".join(f"ALTER TABLE {table} REPLICA IDENTITY FULL" for table in tables)
    return Unsent(tuple(str(name) for name, _ in found), fix) if found else None


def _slots(db: PgDb, name: str) -> Iterator[Finding]:
    """Our slot; if it is not there, all that are kept for somebody like us."""
    if slots.slot(db, name) is not None:
        yield from _slot(db, name)
        return
    others = [str(row[0]) for row in db.rows(_OURS)]
    if not others:
        yield Finding("slot", "ok", "not there yet; the first sync makes it")
    for other in others:
        yield from _slot(db, other)


def _slot(db: PgDb, name: str) -> Iterator[Finding]:
    found = slots.slot(db, name)
    why = publication.broken(db, name, ())
    if found is None or why:
        gone = why or f"{name} was dropped, its publication is still there"
        fix = f'read the tables again: the same sync with --restart; if nobody follows it, DROP PUBLICATION "{name}"'
        yield Finding("publication" if why else "slot", "error", gone, fix)
    for table, what in publication.drifted(db, name).items() if not why else ():
        fix = (
            f"read this table alone anew, the others go on: the same sync with --reload {table.removeprefix('public.')}"
        )
        if what == publication.DROPPED:
            fix = f"make it again, then {fix}; or leave it out of the sync"
        yield Finding("publication", "warning" if what == publication.DROPPED else "error", f"{table} {what}", fix)
    if found is None:
        return
    if found.lost:
        yield Finding(
            "slot",
            "error",
            f"{name} was invalidated ({found.reason or 'wal_removed'})",
            "read the tables again: the same sync with --restart; then raise max_slot_wal_keep_size",
        )
        return
    state = "being read" if found.active else "not being read"
    behind = _behind(db, found.confirmed)
    known, _ = lag(db, name, found.confirmed, (0, 0.0))
    left = known.until_loss
    text = f"{name} is {state}, {behind} bytes behind" + (f", {left:.0f} s until it is lost" if left else "")
    if found.status == "unreserved" or (left is not None and left < _SOON):
        fix = "start the sync, or ALTER SYSTEM SET max_slot_wal_keep_size to more; SELECT pg_reload_conf()"
        yield Finding("slot", "warning", text, fix)
    else:
        yield Finding("slot", "ok", text)


def _behind(db: PgDb, lsn: int) -> int:
    return max(0, _end(db) - lsn)


def _end(db: PgDb) -> int:
    now = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END"
    return number_of(str(db.rows(f"SELECT ({now})::text")[0][0]))


def lag(db: PgDb, name: str, lsn: int, seen: tuple[int, float]) -> tuple[Lag, tuple[int, float]]:
    """How far `lsn` is behind and when the server will throw away what is behind it, at the pace of its log since
    `seen` (an end of the log and the monotonic second of it), else at that of its statistics."""
    end, now = _end(db), time.monotonic()
    found = slots.slot(db, name)
    until: float | None = None
    if found is not None and found.safe_bytes is not None:
        before, then = seen
        pace = (end - before) / (now - then) if before and now - then > 1 else _pace(db)
        until = max(0.0, found.safe_bytes / pace) if pace > 0 else None
    behind = max(0, end - lsn)
    kept: tuple[int, float] = seen if seen[0] and now - seen[1] < 60 else (end, now)
    return Lag(bytes=behind, seconds=0.0 if behind == 0 else None, until_loss=until), kept


def _pace(db: PgDb) -> float:
    found: Any = db.rows(_RATE)[0][0] if db.version >= 140000 else None
    return float(found or 0)
