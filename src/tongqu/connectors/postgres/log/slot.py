"""What PostgreSQL keeps for a log: a replication slot, and where it stands; and which tables it can tell about."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

from tongqu.connectors.postgres import catalog
from tongqu.connectors.postgres.db import PgDb, quoted
from tongqu.connectors.postgres.log import children, publication
from tongqu.connectors.postgres.log.stream import Replication, number_of, text_of
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.core.data import Position
from tongqu.core.errors import BusyError, ConnectError, InvalidPlanError, LostPositionError

_NAME = 63
_LOCK_TIMEOUT = "55P03"
_SLOT = """
SELECT s.plugin, s.database = current_database(), s.confirmed_flush_lsn::text, s.restart_lsn::text, s.active_pid,
       to_jsonb(s) ->> 'wal_status', (to_jsonb(s) ->> 'safe_wal_size')::bigint, to_jsonb(s) ->> 'invalidation_reason'
FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = ?
"""
_IDENTITY = """
SELECT c.oid::bigint, c.relreplident::text,
       array(SELECT a.attname FROM pg_catalog.pg_index i
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey::int2[])
             WHERE i.indrelid = c.oid AND (c.relreplident = 'd' AND i.indisprimary
                                           OR c.relreplident = 'i' AND i.indisreplident))::text[]
FROM pg_catalog.pg_class c WHERE c.oid = ANY (?::oid[])
"""


def slot_name(name: str) -> str:
    """The name of slot and publication: what a slot may be called, and still one for each `name`."""
    plain = re.sub(r"[^a-z0-9_]", "_", name.lower())
    whole = plain if plain.startswith("tongqu_") else f"tongqu_{plain}"
    if plain == name and len(whole) <= _NAME:
        return whole
    return f"{whole[: _NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Slot:
    """How the server keeps the log for us."""

    plugin: str
    here: bool
    confirmed: int
    restart: int
    active: int | None
    status: str
    safe_bytes: int | None
    reason: str

    @property
    def lost(self) -> bool:
        """Whether the server has thrown away what it held, so that nobody can read on."""
        return self.status == "lost" or bool(self.reason)


def slot(db: PgDb, name: str) -> Slot | None:
    """The slot of this name, or None."""
    found = db.rows(_SLOT, (name,))
    if not found:
        return None
    plugin, here, confirmed, restart, active, status, safe, reason = found[0]
    return Slot(
        plugin or "",
        bool(here),
        number_of(confirmed or "0/0"),
        number_of(restart or "0/0"),
        active,
        status or "",
        safe,
        reason or "",
    )


def taken(db: PgDb, name: str, position: Position) -> bool:
    """Whether the slot is whole and stands behind a position: whoever is there did not move or make it."""
    found = slot(db, name)
    return found is not None and found.here and not found.lost and found.confirmed > lsn_of(position)


@dataclass(frozen=True)
class Server:
    """Whose log it is: the system, and which of its histories."""

    system: str
    timeline: int

    def position(self, name: str, lsn: int) -> Position:
        """A position in this server's log."""
        return {"lsn": text_of(lsn), "system": self.system, "timeline": self.timeline, "slot": name}


def server(replication: Replication) -> Server:
    """Who answers."""
    system, timeline, *_ = replication.rows("IDENTIFY_SYSTEM")[0]
    return Server(str(system), int(timeline or 0))


def lsn_of(position: Position) -> int:
    """The LSN of a position."""
    return number_of(str(position["lsn"]))


def able(db: PgDb, settings: PostgresSettings) -> None:
    """Raise InvalidPlanError if the server writes no log that can be followed."""
    level = str(db.rows("SELECT current_setting('wal_level')")[0][0])
    if level != "logical":
        raise InvalidPlanError(
            f"the server's wal_level is {level}: it writes no log that can be followed",
            path=settings.display(),
            hint="ALTER SYSTEM SET wal_level = 'logical', then restart the server",
        )


def misfits(db: PgDb, tables: Sequence[catalog.Relation], keys: dict[int, tuple[str, ...]]) -> dict[str, str]:
    """Tables whose changes the log cannot tell by their key, with the statement that mends it."""
    found = {}
    for oid, identity, columns in db.rows(_IDENTITY, ([relation.oid for relation in tables],)):
        relation = next(one for one in tables if one.oid == oid)
        key = keys.get(int(oid), relation.key)
        if identity == "f" or (identity in "di" and key and set(key) <= set(columns)):
            continue
        found[relation.name] = f"ALTER TABLE {quoted(relation.schema)}.{quoted(relation.table)} REPLICA IDENTITY FULL"
    return found


def deferred(relation: catalog.Relation, key: Sequence[str]) -> str:
    """The statement that makes the key unique at any moment, "" if it is or no constraint says so."""
    same = [
        index for index in relation.indexes if index.unique and not index.partial and set(index.columns) == set(key)
    ]
    late = [index for index in same if not index.immediate and index.constraint]
    if not key or not late or any(index.immediate for index in same):
        return ""
    columns = ", ".join(quoted(name) for name in key)
    kind = "PRIMARY KEY" if late[0].primary else "UNIQUE"
    table = f"{quoted(relation.schema)}.{quoted(relation.table)}"
    return f"ALTER TABLE {table} DROP CONSTRAINT {quoted(late[0].constraint or '')}, ADD {kind} ({columns})"


def refuse(db: PgDb, tables: Sequence[catalog.Relation], keys: dict[int, tuple[str, ...]]) -> None:
    """Raise InvalidPlanError for tables that must not be published, since their UPDATEs would fail, or whose rows the
    log does not have whole."""
    for relation in tables:
        if relation.kind not in "rp":
            raise InvalidPlanError(
                f"{relation.name} is no table", path=relation.name, hint="follow the tables it reads"
            )
        made = publication.unsent(relation, db.version)
        if made:
            raise InvalidPlanError(
                f"the log does not have generated columns ({', '.join(made)})",
                path=relation.name,
                hint="PostgreSQL 18 sends stored ones; else follow the table without them or sync with --mode full",
            )
        if fix := deferred(relation, keys.get(relation.oid, relation.key)):
            raise InvalidPlanError(
                f"the key of {relation.name} is deferrable: two rows may have the same key for a while, and the log "
                "cannot tell which of them was changed",
                path=relation.name,
                hint=fix,
            )
    for name, why in children.inherited(db, tables).items():
        raise InvalidPlanError(why, path=name, hint=children.FIX)
    for name, fix in misfits(db, tables, keys).items():
        raise InvalidPlanError(
            f"the log of {name} cannot tell which row was changed: its replica identity lacks the key",
            path=name,
            hint=fix,
        )


def lost_because(name: str, after: str, why: str) -> LostPositionError:
    """The error of a log that does not have all changes behind `after`."""
    return LostPositionError(
        f"the log behind {after} is lost: {why}",
        path=name,
        hint="read the tables again: the same command with --restart; `tongqu cdc doctor` names the cause's fix",
    )


def checked(
    replication: Replication, db: PgDb, name: str, after: Position, tables: Sequence[catalog.Relation]
) -> Server:
    """Raise LostPositionError if the log of these tables behind `after` is not there, or is another one than it was."""
    now = server(replication)
    lsn, end = lsn_of(after), number_of(str(replication.rows("IDENTIFY_SYSTEM")[0][2]))

    def lost(why: str) -> LostPositionError:
        return lost_because(name, str(after["lsn"]), why)

    if after.get("system") != now.system:
        raise lost(f"this is another server ({now.system}, it was {after.get('system')})")
    found = slot(db, name)
    if found is None:
        raise lost(f"the replication slot {name} was dropped")
    if found.plugin != "pgoutput" or not found.here:
        raise lost(f"the replication slot {name} is another one ({found.plugin or 'physical'})")
    if found.lost:
        raise lost(f"the server invalidated the replication slot {name} ({found.reason or 'wal_removed'})")
    if found.confirmed > lsn:
        stands = f"the replication slot {name} stands at {text_of(found.confirmed)} already"
        raise lost(f"{stands}: it was made anew, or a copy of this project has read on in it")
    if lsn > end:
        if db.rows("SELECT pg_is_in_recovery()")[0][0]:
            raise ConnectError(f"the standby has come to {text_of(end)}, not yet to {after['lsn']}", path=name)
        raise lost(f"the server's log ends at {text_of(end)}: it was restored to before it")
    if int(after.get("timeline", now.timeline)) != now.timeline:
        fork = _fork(replication, int(after["timeline"]), now.timeline)
        if fork is None or lsn > fork:
            raise lost(f"the server was replaced by one that left its history at {text_of(fork or 0)}")
    why = publication.broken(db, name, tables)
    if why:
        raise lost(why)
    return now


def _fork(replication: Replication, old: int, new: int) -> int | None:
    """Where the history `new` left the timeline `old`."""
    content = replication.rows(f"TIMELINE_HISTORY {new}")[0][1] or ""
    for line in content.removeprefix("\\x").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == str(old):
            return number_of(words[1])
    return None


def created(replication: Replication, db: PgDb, name: str, settings: PostgresSettings) -> tuple[int, str]:
    """Make the slot; the LSN from which it keeps the log, and the name of the snapshot of that instant. The server
    waits for all transactions that are open: BusyError, which names the oldest, if that takes longer than a lock."""
    extra = "(SNAPSHOT 'export', FAILOVER true)" if db.version >= 170000 else "EXPORT_SNAPSHOT"
    replication.rows(f"SET lock_timeout = '{settings.lock_seconds}s'")
    try:
        _, lsn, snapshot, _ = replication.rows(f'CREATE_REPLICATION_SLOT "{name}" LOGICAL pgoutput {extra}')[0]
    except ConnectError as error:
        if error.params.get("state") != _LOCK_TIMEOUT:
            raise
        raise publication.still_open(db, settings) from None
    return number_of(str(lsn)), str(snapshot)


def dropped(db: PgDb, name: str) -> None:
    """Drop slot and publication, if they are there."""
    found = slot(db, name)
    if found is not None and found.active is not None:
        raise BusyError(f"the replication slot {name} is read by process {found.active}", hint="stop that sync first")
    if found is not None:
        db.rows("SELECT pg_drop_replication_slot(?)", (name,))
    db.run(f"DROP PUBLICATION IF EXISTS {quoted(name)}")


def awaited(db: PgDb, name: str, seconds: float, stop: Event) -> None:
    """Wait until nobody reads the slot: a reader that died is seen by the server only after a while."""
    until = time.monotonic() + seconds
    while (found := slot(db, name)) is not None and found.active is not None:
        if time.monotonic() > until or stop.wait(0.05):
            raise ConnectError(
                f"the replication slot {name} is read by process {found.active}",
                path=name,
                hint=f"another sync of that name runs; or end it with SELECT pg_terminate_backend({found.active})",
            )
