"""What following a SQL Server needs, how it stands, and the statement that mends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tongqu.connectors.mssql.log.instances import Instance, Instances, after, hexed, instances, live
from tongqu.connectors.mssql.log.session import Followed
from tongqu.connectors.mssql.log.tables import RETENTION
from tongqu.core.errors import ConnectorError
from tongqu.core.log import Finding
from tongqu.kit.tables.db import TableDb

_DATABASE = """
SELECT DB_NAME(), CAST(d.is_cdc_enabled AS int), d.snapshot_isolation_state,
       CAST(SERVERPROPERTY('EngineEdition') AS int), USER_NAME()
FROM sys.databases d WHERE d.database_id = DB_ID()
"""
_AGENT = "SELECT s.status_desc FROM sys.dm_server_services s WHERE s.servicename LIKE N'SQL Server Agent%'"
_POLLING = "SELECT j.pollinginterval FROM msdb.dbo.cdc_jobs j WHERE j.database_id = DB_ID() AND j.job_type = N'capture'"
_LARGEST = "SELECT CAST(c.value_in_use AS bigint) FROM sys.configurations c WHERE c.name = N'max text repl size (B)'"
_TRACKED = """
SELECT t.retention_period, t.retention_period_units_desc, CAST(t.is_auto_cleanup_on AS int)
FROM sys.change_tracking_databases t WHERE t.database_id = DB_ID()
"""
VALID = "SELECT CHANGE_TRACKING_MIN_VALID_VERSION(OBJECT_ID({table}))"
_ALLOWED = "SELECT HAS_PERMS_BY_NAME({table}, N'OBJECT', N'VIEW CHANGE TRACKING')"
_AZURE = 5
_ENOUGH = 2 * 24 * 60
_UNITS = {"MINUTES": 1, "HOURS": 60, "DAYS": 24 * 60}
_TABLES = "follow the tables that it reads"
_NO_RIGHT = "cannot be seen by this login"


def examine(db: TableDb, followed: Sequence[Followed], way: str) -> list[Finding]:
    """See Log.examine."""
    name, captured, snapshots, edition, user = db.rows(_DATABASE)[0]
    database = db.quote(str(name))
    found = [Finding("way", "ok", "change tables" if way == "tables" else "change tracking")]
    allow = f"ALTER DATABASE {database} SET ALLOW_SNAPSHOT_ISOLATION ON"
    if int(snapshots) == 1:
        found.append(Finding("snapshot_isolation", "ok", "allowed"))
    else:
        state: Any = "error" if way == "tracking" else "warning"
        found.append(Finding("snapshot_isolation", state, "not allowed: a read sees rows of several instants", allow))
    if way == "tracking":
        return [*found, *_tracking(db, followed, database, db.quote(str(user)))]
    if not int(captured):
        return [*found, Finding("cdc_enabled", "error", "change data capture is off", "EXEC sys.sp_cdc_enable_db")]
    found.append(Finding("cdc_enabled", "ok", "on"))
    if int(edition) != _AZURE:
        found += [_agent(db), _polling(db), *_largest(db, followed)]
    return [*found, _retention(db), *_tables(db, followed, user=str(user))]


# ---- change tables


def _tables(db: TableDb, followed: Sequence[Followed], *, user: str) -> Iterator[Finding]:
    found: Instances = instances(db, followed)
    for one in followed:
        listed = found[one.table.schema, one.table.table]
        what = f"change_table {one.dataset.name}"
        if one.table.view:
            yield Finding(what, "error", "a view has no changes of its own", _TABLES)
            continue
        if not listed:
            yield Finding(what, "error", "the table is not captured", enabling(db, one, ""))
        elif not live(listed):
            yield Finding(what, "error", "the capture job has not come to it yet", "start SQL Server Agent")
        else:
            yield _readable(db, one, listed[-1], what, user)
            yield from _columns(db, one, listed)
        if not one.dataset.key:
            found_key = "no key: only append can follow it"
            yield Finding(f"key {one.dataset.name}", "warning", found_key, "add a primary key")


def enabling(db: TableDb, one: Followed, name: str) -> str:
    """The statement that captures a table, under a name of its own for a second instance."""
    words = [("source_schema", one.table.schema), ("source_name", one.table.table), ("capture_instance", name)]
    given = ", ".join(f"@{word} = {db.dialect.literal(value)}" for word, value in words if value)
    return f"EXEC sys.sp_cdc_enable_table {given}, @role_name = NULL, @supports_net_changes = 0"


def _readable(db: TableDb, one: Followed, newest: Instance, what: str, user: str) -> Finding:
    """Whether its changes can be read: without the right the function is there, and the lowest LSN is none."""
    least = hexed(db.rows(f"SELECT sys.fn_cdc_get_min_lsn({db.dialect.literal(newest.name)})")[0][0])
    if least < newest.start:
        fix = f"GRANT SELECT ON {one.place(db)} TO {db.quote(user)}; with a gating role also: ALTER ROLE … ADD MEMBER"
        return Finding(what, "error", f"{newest.name} cannot be read by this login", fix)
    return Finding(what, "ok", f"{newest.name}, from 0x{after(newest.start)} on")


def _columns(db: TableDb, one: Followed, listed: Sequence[Instance]) -> Iterator[Finding]:
    newest, what = listed[-1], f"columns {one.dataset.name}"
    computed = [name for name in one.dataset.columns if name in newest.computed]
    if computed:
        text = f"{', '.join(computed)}: computed, and always null in a change table"
        yield Finding(what, "error", text, "follow it by change tracking (changes: tracking)")
    lacks = [name for name in one.dataset.columns if name not in newest.columns]
    if not lacks:
        return
    used = {each.name for each in listed}
    plain = f"{one.table.schema}_{one.table.table}"
    name = next(each for each in (f"{plain}_2", f"{plain}_3", f"{plain}_4") if each not in used)
    fix = enabling(db, one, name)
    if len(listed) > 1:
        drop = (f"@source_schema = {db.dialect.literal(one.table.schema)}, "
                f"@source_name = {db.dialect.literal(one.table.table)}, "
                f"@capture_instance = {db.dialect.literal(listed[0].name)}")  # fmt: skip
        fix = f"EXEC sys.sp_cdc_disable_table {drop}; {fix}"
    yield Finding(what, "error", f"not captured: {', '.join(lacks)}", fix)


def _agent(db: TableDb) -> Finding:
    grant = f"USE master; GRANT VIEW SERVER STATE TO {db.quote(str(db.rows('SELECT SUSER_SNAME()')[0][0]))}"
    try:
        found = db.rows(_AGENT)
    except ConnectorError:
        return Finding("agent", "warning", _NO_RIGHT, grant)
    state = str(found[0][0]) if found else "not installed"
    if state == "Running":
        return Finding("agent", "ok", state)
    return Finding("agent", "error", state, "start the service SQL Server Agent: it runs the capture and cleanup jobs")


def _polling(db: TableDb) -> Finding:
    fix = "EXEC sys.sp_cdc_change_job @job_type = N'capture', @pollinginterval = 1; then stop and start the capture job"
    try:
        found = db.rows(_POLLING)
    except ConnectorError:
        return Finding("capture_interval", "warning", _NO_RIGHT, "GRANT SELECT ON msdb.dbo.cdc_jobs")
    if not found:
        return Finding("capture_interval", "error", "there is no capture job", "EXEC sys.sp_cdc_add_job N'capture'")
    seconds = int(found[0][0])
    if seconds > 1:
        return Finding("capture_interval", "warning", f"changes are captured every {seconds} s", fix)
    return Finding("capture_interval", "ok", f"{seconds} s")


def _largest(db: TableDb, followed: Sequence[Followed]) -> Iterator[Finding]:
    """Writing a larger value into a captured column fails in the application."""
    if not any(one.large(name) for one in followed for name in one.dataset.columns):
        return
    found = db.rows(_LARGEST)
    if found and int(found[0][0]) != -1:
        fix = "EXEC sp_configure 'max text repl size', -1; RECONFIGURE"
        text = f"writes of values larger than {int(found[0][0])} bytes into captured columns fail"
        yield Finding("max_text_repl_size", "warning", text, fix)


def _retention(db: TableDb) -> Finding:
    fix = "EXEC sys.sp_cdc_change_job @job_type = N'cleanup', @retention = 10080"
    try:
        found = db.rows(RETENTION)
    except ConnectorError:
        return Finding("retention", "warning", _NO_RIGHT, "GRANT SELECT ON msdb.dbo.cdc_jobs")
    if not found:
        return Finding("retention", "ok", "changes are never cleaned up")
    return _kept(int(found[0][0]), fix)


def _kept(minutes: int, fix: str) -> Finding:
    text = f"changes are kept for {minutes / 60:.1f} hours"
    if minutes < _ENOUGH:
        return Finding("retention", "warning", f"{text}, which is what an outage may last", fix)
    return Finding("retention", "ok", text)


# ---- change tracking


def _tracking(db: TableDb, followed: Sequence[Followed], database: str, user: str) -> Iterator[Finding]:
    on = f"ALTER DATABASE {database} SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)"
    found = db.rows(_TRACKED)
    if not found:
        yield Finding("change_tracking", "error", "off", on)
        return
    yield Finding("change_tracking", "ok", "on")
    period, unit, cleaned = found[0]
    if int(cleaned):
        longer = f"ALTER DATABASE {database} SET CHANGE_TRACKING (CHANGE_RETENTION = 7 DAYS)"
        yield _kept(int(period) * _UNITS.get(str(unit), 1), longer)
    else:
        yield Finding("retention", "ok", "changes are never cleaned up")
    for one in followed:
        table, what = db.dialect.literal(one.place(db)), f"tracked {one.dataset.name}"
        if one.table.view:
            yield Finding(what, "error", "a view has no changes of its own", _TABLES)
        elif tuple(one.dataset.key) != tuple(one.table.primary) or not one.dataset.key:
            yield Finding(what, "error", "it is not followed by its primary key", "add or name the primary key")
        elif not int(db.rows(_ALLOWED.format(table=table))[0][0] or 0):
            grant = f"GRANT VIEW CHANGE TRACKING ON {one.place(db)} TO {user}"
            yield Finding(what, "error", "this login may not see its changes", grant)
        elif db.rows(VALID.format(table=table))[0][0] is None:
            yield Finding(what, "error", "not tracked", f"ALTER TABLE {one.place(db)} ENABLE CHANGE_TRACKING")
        else:
            yield Finding(what, "ok", "tracked")
