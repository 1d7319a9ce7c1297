"""What the log asks a server in SQL: where its log stands, what it still has, which server it is."""

from __future__ import annotations

from tongqu.connectors.mysql.db import MysqlDb, literal
from tongqu.connectors.mysql.log.dump import RESYNC
from tongqu.connectors.mysql.log.places import Place, covers
from tongqu.core.errors import InvalidPlanError, LostPositionError, ReadError, TongquError


def name(db: MysqlDb) -> str:
    """What tells this server from others: MySQL's UUID; MariaDB has only its `server_id`."""
    return str(db.rows("SELECT @@server_id" if db.is_mariadb else "SELECT @@server_uuid")[0][0])


def head(db: MysqlDb) -> Place:
    """The end of the log."""
    found = _status(db)
    file, pos = str(found[0]), int(str(found[1]))
    executed = "" if db.is_mariadb or len(found) < 5 else str(found[4] or "").replace("\n", "")
    return Place(file, pos, gtid(db, file, pos) if db.is_mariadb else executed, name(db))


def _status(db: MysqlDb) -> tuple[object, ...]:
    try:
        found = db.rows("SHOW MASTER STATUS")
    except ReadError:  # MySQL 8.4 has another word for it
        found = db.rows("SHOW BINARY LOG STATUS")
    if not found:
        raise InvalidPlanError(
            "the server keeps no binary log", path=db.settings.display(),
            hint="in my.cnf under [mysqld]: log_bin = bin, binlog_format = ROW, server_id = 1; then restart the server",
        )  # fmt: skip
    return found[0]


def gtid(db: MysqlDb, file: str, pos: int) -> str:
    """MariaDB's transactions before a place of its own log."""
    return str(db.rows(f"SELECT BINLOG_GTID_POS({literal(file)}, {pos})")[0][0] or "")


def beginning(db: MysqlDb) -> Place:
    """A place such that every read that begins later sees all transactions before it.

    A transaction is in the log shortly before it can be seen, so the end of the log will not do: MariaDB tells the
    place that belongs to a consistent snapshot; MySQL tells it with the engine's state in `log_status`.
    """
    if db.is_mariadb:
        db.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        db.run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        try:
            found = {str(n).lower(): str(v) for n, v in db.rows("SHOW STATUS LIKE 'binlog_snapshot_%'")}
        finally:
            db.rollback()
        file = found.get("binlog_snapshot_file", "")
        if file:
            pos = int(found["binlog_snapshot_position"])
            return Place(file, pos, gtid(db, file, pos), name(db))
        return head(db)
    try:
        found_log = db.rows(
            "SELECT LOCAL->>'$.binary_log_file', LOCAL->>'$.binary_log_position', LOCAL->>'$.gtid_executed' "
            "FROM performance_schema.log_status"
        )
    except TongquError:  # an older server, or no right (BACKUP_ADMIN)
        return head(db)
    file, pos, executed = found_log[0]
    return Place(str(file), int(pos), str(executed or "").replace("\n", ""), name(db))


def files(db: MysqlDb) -> dict[str, int]:
    """The files of the log that are still there, with their sizes."""
    return {str(row[0]): int(row[1]) for row in db.rows("SHOW BINARY LOGS")}


def following(db: MysqlDb, file: str) -> str:
    """The file that was begun after this one; empty for the newest."""
    found = [*files(db), "", ""]
    return found[found.index(file) + 1] if file in found else ""


def kept(db: MysqlDb, place: Place) -> bool:
    """Whether this is the server the place is of (True: go on by file), or another one that has all its transactions
    (False: go on by GTID). Raises LostPositionError otherwise."""
    where, own = db.settings.display(), name(db)
    if place.server in ("", own):
        found = files(db)
        if place.file not in found:
            oldest = next(iter(found), "none")
            raise LostPositionError(
                f"the server no longer has {place.file} of its log, the oldest it has is {oldest}", path=where,
                hint=RESYNC,
            )  # fmt: skip
        if place.pos > found[place.file]:
            raise LostPositionError(
                f"{place.file} of the server's log ends at {found[place.file]}, before {place.pos}: it is another log",
                path=where, hint=RESYNC,
            )  # fmt: skip
        return True
    if not place.gtid or not _has(db, place.gtid):
        raise LostPositionError(
            f"this is another server ({own}) than the log was read from ({place.server}), and it does not have all "
            "transactions that were read", path=where, hint=RESYNC,
        )  # fmt: skip
    return False


def _has(db: MysqlDb, known: str) -> bool:
    if db.is_mariadb:
        return covers(str(db.rows("SELECT @@gtid_binlog_pos")[0][0] or ""), known)
    purged = f"GTID_SUBSET(@@global.gtid_purged, {literal(known)})"
    return bool(db.rows(f"SELECT {purged} AND GTID_SUBSET({literal(known)}, @@global.gtid_executed)")[0][0])


def charsets(db: MysqlDb) -> dict[int, tuple[str, str, int]]:
    """Character set, collation and greatest bytes per character by the collation's number."""
    widths = {
        str(n): int(w) for n, w in db.rows("SELECT CHARACTER_SET_NAME, MAXLEN FROM information_schema.CHARACTER_SETS")
    }
    if db.is_mariadb:
        table = "information_schema.COLLATION_CHARACTER_SET_APPLICABILITY"
        found = db.rows(f"SELECT ID, CHARACTER_SET_NAME, FULL_COLLATION_NAME FROM {table} WHERE ID IS NOT NULL")
    else:
        found = db.rows("SELECT ID, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLLATIONS")
    return {int(number): (str(own), str(collation), widths.get(str(own), 1)) for number, own, collation in found}
