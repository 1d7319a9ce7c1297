"""What following an Oracle database needs, how it stands, and the statement that mends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tongqu.connectors.oracle.log import database as server
from tongqu.connectors.oracle.log.places import Place
from tongqu.connectors.oracle.log.session import Followed, number
from tongqu.core.errors import ConnectorError
from tongqu.core.log import Finding, Lag
from tongqu.kit.tables.db import TableDb

_RIGHTS = "SELECT p.PRIVILEGE FROM SESSION_PRIVS p UNION ALL SELECT r.ROLE FROM SESSION_ROLES r"
_WHO = "SELECT SYS_CONTEXT('USERENV', 'SESSION_USER'), SYS_CONTEXT('USERENV', 'CDB_NAME'), {container} FROM DUAL"
_CONTAINER = "SYS_CONTEXT('USERENV', 'CON_NAME')"
_NEEDED = ("LOGMINING", "SELECT ANY TRANSACTION")
_HELPING = {
    "EXECUTE_CATALOG_ROLE": "EXECUTE on DBMS_LOGMNR", "SELECT_CATALOG_ROLE": "SELECT on each view",
    "FLASHBACK ANY TABLE": "FLASHBACK on each table",
}  # fmt: skip
"""Rights that wide ones stand for, and the narrow ones, which are not seen here."""
_KEPT = """
SELECT ROUND((SYSDATE - MIN(a.FIRST_TIME)) * 86400) FROM V$ARCHIVED_LOG a
WHERE a.STATUS = 'A' AND a.DELETED = 'NO' AND a.NAME IS NOT NULL AND a.STANDBY_DEST = 'NO'
"""
_OLDEST = "SELECT ROUND((SYSDATE - MIN(t.START_DATE)) * 86400), MIN(t.START_SCN) FROM GV$TRANSACTION t"
_AGE = "SELECT ROUND((CAST(SYSTIMESTAMP AS DATE) - CAST(SCN_TO_TIMESTAMP({scn}) AS DATE)) * 86400) FROM DUAL"
_ENOUGH, _LONG = 2 * 86_400, 3_600
_PRECISE = 3.0
"""SCN_TO_TIMESTAMP is right to so many seconds (SQL Language Reference)."""


def examine(db: TableDb, followed: Sequence[Followed]) -> list[Finding]:
    """See Log.examine."""
    mode, minimal, _, forced = db.rows(server.SUPPLEMENTAL)[0]
    found = []
    if str(mode) == "ARCHIVELOG":
        found.append(Finding("archivelog", "ok", "on"))
    else:
        found.append(Finding("archivelog", "error", str(mode), server.ARCHIVING))
    if str(minimal) == "NO":
        found.append(Finding("supplemental_log", "error", "off", server.MINIMAL))
    else:
        found.append(Finding("supplemental_log", "ok", str(minimal).lower()))
    found += _rights(db)
    found += _tables(db, followed, forced=str(forced) == "YES")
    return [*found, _retention(db), _transactions(db)]


def _rights(db: TableDb) -> Iterator[Finding]:
    user, whole, here = db.rows(_WHO.format(container=_CONTAINER))[0]
    has = {str(row[0]) for row in db.rows(_RIGHTS)}
    in_pdb = bool(whole) and str(here) != "CDB$ROOT"
    everywhere = " CONTAINER=ALL" if whole else ""

    def grant(right: str) -> str:
        return f"GRANT {right} TO {db.quote(str(user))}{everywhere}"

    for right in (*_NEEDED, *(["SET CONTAINER"] if in_pdb else [])):
        if right in has or "DBA" in has:
            yield Finding(f"right {right}", "ok", "granted")
        else:
            yield Finding(f"right {right}", "error", "not granted", grant(right))
    for right, narrow in _HELPING.items():
        if right in has or "DBA" in has:
            yield Finding(f"right {right}", "ok", "granted")
        else:
            yield Finding(f"right {right}", "warning", f"not granted, so it needs {narrow}", grant(right))
    if in_pdb and not str(user).upper().startswith("C##"):
        text = f"{user} is of {here} only, and the redo is mined in CDB$ROOT"
        fix = "CREATE USER C##TONGQU IDENTIFIED BY … CONTAINER=ALL; and log in as that user"
        yield Finding("container", "error", text, fix)


def _tables(db: TableDb, followed: Sequence[Followed], *, forced: bool) -> Iterator[Finding]:
    troubles = server.troubles(db, followed)
    loose = set() if forced else server.unlogged(db, followed)
    for one in followed:
        name, place = one.dataset.name, db.dialect.place(*one.place)
        if name in troubles:
            yield Finding(f"table {name}", "error", *troubles[name])
        else:
            yield Finding(f"table {name}", "ok", "all columns are logged")
        if one.place in loose:
            fix = f"ALTER TABLE {place} LOGGING"
            yield Finding(f"logging {name}", "error", "direct loads are not in the log (NOLOGGING)", fix)
        if not one.dataset.key:
            yield Finding(f"key {name}", "warning", "no key: only append can follow it", "add a primary key")
    if not forced:
        text = "statements with NOLOGGING are not in the log"
        yield Finding("force_logging", "warning", text, "ALTER DATABASE FORCE LOGGING")


def _retention(db: TableDb) -> Finding:
    kept = _seconds(db, _KEPT)
    fix = (
        "RMAN> CONFIGURE ARCHIVELOG DELETION POLICY TO BACKED UP 1 TIMES TO DISK; delete only what is older than 7 days"
    )
    if kept is None:
        return Finding("retention", "warning", "there is no archived log", fix)
    text = f"archived logs reach back {kept / 3600:.1f} hours"
    if kept < _ENOUGH:
        return Finding("retention", "warning", f"{text}, which is what an outage may last", fix)
    return Finding("retention", "ok", text)


def _transactions(db: TableDb) -> Finding:
    age, scn = db.rows(_OLDEST)[0]
    if age is not None and number(age) > _LONG:
        text = (
            f"a transaction is open since {number(age) / 3600:.1f} hours; the redo from SCN {number(scn)} on must stay"
        )
        return Finding(
            "open_transaction", "warning", text, "let it end: GV$TRANSACTION and GV$SESSION show whose it is"
        )
    return Finding("open_transaction", "ok", "none is old")


def _seconds(db: TableDb, sql: str) -> float | None:
    """One number of seconds; None where the server has none, or no longer knows."""
    try:
        found = db.rows(sql)
    except ConnectorError as error:
        if error.retryable:
            raise
        return None
    return None if not found or found[0][0] is None else max(0.0, float(found[0][0]))


def lag(db: TableDb, place: Place, settle: float) -> Lag:
    """How far a place is behind, and how long until the redo that it needs is as old as the oldest that is there."""
    told, needed = _seconds(db, _AGE.format(scn=int(place.upto))), _seconds(db, _AGE.format(scn=int(place.scn)))
    kept = _seconds(db, _KEPT)
    behind = None if told is None else max(0.0, told - settle - _PRECISE)
    return Lag(seconds=behind, until_loss=None if kept is None or needed is None else max(0.0, kept - needed))
