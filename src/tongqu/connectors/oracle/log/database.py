"""What is asked of a database besides its redo: where it is, which objects its tables are, what can be told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tongqu.connectors.oracle.log.decoding import ALL_COLUMNS, kind
from tongqu.connectors.oracle.log.places import Place
from tongqu.connectors.oracle.log.session import Followed, number, within
from tongqu.core.errors import BusyError, InvalidPlanError, NotFoundError
from tongqu.kit.tables.db import TableDb
from tongqu.kit.tables.native import Native

_NOW = "SELECT d.CURRENT_SCN, d.DBID, d.RESETLOGS_CHANGE# FROM V$DATABASE d"
_ZONE = "SELECT TO_CHAR(SYSTIMESTAMP, 'TZH:TZM') FROM DUAL"
_OPEN = "SELECT COUNT(*), MIN(t.START_SCN) FROM GV$TRANSACTION t"
_OBJECTS = """
SELECT o.OWNER, o.OBJECT_NAME, o.OBJECT_TYPE, o.OBJECT_ID FROM ALL_OBJECTS o
WHERE o.OBJECT_TYPE IN ('TABLE', 'TABLE PARTITION', 'TABLE SUBPARTITION') AND ({tables})
"""
SUPPLEMENTAL = """
SELECT d.LOG_MODE, d.SUPPLEMENTAL_LOG_DATA_MIN, d.SUPPLEMENTAL_LOG_DATA_ALL, d.FORCE_LOGGING FROM V$DATABASE d
"""
_GROUPS = """
SELECT g.OWNER, g.TABLE_NAME FROM ALL_LOG_GROUPS g WHERE g.LOG_GROUP_TYPE = 'ALL COLUMN LOGGING' AND ({tables})
"""
_TABLES = """
SELECT t.OWNER, t.TABLE_NAME, t.IOT_TYPE, t.TEMPORARY, t.LOGGING FROM ALL_TABLES t WHERE {tables}
"""
_DATABASE_ZONE = "SELECT DBTIMEZONE FROM DUAL"
_UTC = ("+00:00", "UTC", "GMT", "00:00")
_BUSY = "let them end (V$TRANSACTION shows whose they are), then run it again"
ARCHIVING = "SHUTDOWN IMMEDIATE; STARTUP MOUNT; ALTER DATABASE ARCHIVELOG; ALTER DATABASE OPEN"
MINIMAL = "ALTER DATABASE ADD SUPPLEMENTAL LOG DATA"


def now(db: TableDb) -> tuple[int, str]:
    """The SCN of now, and which database it is in which incarnation."""
    scn, database, incarnation = db.rows(_NOW)[0]
    return number(scn), f"{number(database)}/{number(incarnation)}"


def minutes(db: TableDb) -> int:
    """How far the server's clock is ahead of UTC."""
    text = str(db.rows(_ZONE)[0][0])
    ahead = int(text[1:3]) * 60 + int(text[4:6])
    return -ahead if text.startswith("-") else ahead


def beginning(db: TableDb, tables: Mapping[str, int]) -> Place:
    """The place of now. Open transactions are looked at before its SCN is taken, and another SCN before them: what
    begins meanwhile begins behind that one. Raises BusyError where one began before all redo that there is."""
    before, _ = now(db)
    count, oldest = db.rows(_OPEN)[0]
    if number(count) and number(oldest or 0) == 0:
        raise BusyError("transactions are open that began before the oldest redo", path=db.where, hint=_BUSY)
    scn, name = now(db)
    return Place(min(before, number(oldest or before)), scn, scn, name, tables)


def _of(followed: Sequence[Followed], db: TableDb, owner: str, table: str) -> str:
    """A condition that names the followed tables."""
    owners: dict[str, list[str]] = {}
    for one in followed:
        owners.setdefault(one.place[0], []).append(db.dialect.literal(one.place[1]))
    return " OR ".join(f"({owner} = {db.dialect.literal(n)} AND {within(table, names)})" for n, names in owners.items())


def objects(db: TableDb, followed: Sequence[Followed]) -> tuple[dict[str, int], dict[int, int]]:
    """The object numbers of the datasets' tables, as far as they are there; and by object number of each table and
    partition which table it is of."""
    asked = _OBJECTS.format(tables=_of(followed, db, "o.OWNER", "o.OBJECT_NAME"))
    tables = {one.place: at for at, one in enumerate(followed)}
    found: dict[int, int] = {}
    own: dict[str, int] = {}
    for owner, name, what, identity in db.rows(asked):
        at = tables[str(owner), str(name)]
        found[number(identity)] = at
        if str(what) == "TABLE":
            own[followed[at].dataset.name] = number(identity)
    return own, found


def logged(db: TableDb, followed: Sequence[Followed]) -> set[tuple[str, str]]:
    """The tables all of whose columns are logged."""
    if str(db.rows(SUPPLEMENTAL)[0][2]) == "YES":
        return {one.place for one in followed}
    asked = _GROUPS.format(tables=_of(followed, db, "g.OWNER", "g.TABLE_NAME"))
    return {(str(owner), str(name)) for owner, name in db.rows(asked)}


def unlogged(db: TableDb, followed: Sequence[Followed]) -> set[tuple[str, str]]:
    """The tables into which can be loaded without redo (NOLOGGING)."""
    return {place for place, kind in _kinds(db, followed).items() if kind[2] == "NO"}


def _kinds(db: TableDb, followed: Sequence[Followed]) -> dict[tuple[str, str], tuple[str, str, str]]:
    asked = _TABLES.format(tables=_of(followed, db, "t.OWNER", "t.TABLE_NAME"))
    return {
        (str(owner), str(name)): (str(iot or ""), str(temporary or ""), str(logs or ""))
        for owner, name, iot, temporary, logs in db.rows(asked)
    }


def tellable(one: Followed) -> None:
    """Raise InvalidPlanError for columns that the log does not tell, or not whole."""
    found = [
        f"{column.name} {column.native}"
        for column in one.table.columns
        if column.generated or not kind(Native.parse(column.native))
    ]
    if found:
        raise InvalidPlanError(
            f"LogMiner does not tell whole values of {', '.join(found)}", path=one.dataset.name,
            hint="follow the table through Debezium and Kafka, or read it with --mode incremental",
        )  # fmt: skip


def troubles(db: TableDb, followed: Sequence[Followed]) -> dict[str, tuple[str, str]]:
    """By dataset why it cannot be followed, and what mends it."""
    kinds, whole = _kinds(db, followed), logged(db, followed)
    zones = any(kind(native) == "local" for one in followed for native in one.natives().values())
    utc = not zones or str(db.rows(_DATABASE_ZONE)[0][0]) in _UTC
    found: dict[str, tuple[str, str]] = {}
    for one in followed:
        iot, temporary, _ = kinds.get(one.place, ("", "", ""))
        local = [name for name, native in one.natives().items() if kind(native) == "local"]
        name = one.dataset.name
        if one.table.view:
            found[name] = "a view has no changes of its own", "follow the tables that it reads"
        elif temporary == "Y":
            found[name] = "changes of a temporary table are not in the log", "follow another table"
        elif iot:
            found[name] = "an index-organized table has no rows that a rollback names", "ALTER it into a heap table"
        elif local and not utc:
            text = f"{', '.join(local)} are local times and DBTIMEZONE is not UTC"
            found[name] = text, "TIMESTAMP WITH TIME ZONE is told in any zone"
        elif one.place not in whole:
            place = db.dialect.place(*one.place)
            found[name] = "not all columns are logged", ALL_COLUMNS.format(table=place)
        else:
            try:
                tellable(one)
            except InvalidPlanError as error:
                found[name] = error.message, error.hint
    return found


def followable(db: TableDb, followed: Sequence[Followed]) -> None:
    """Raise InvalidPlanError if the database or a table is not set up to be followed, NotFoundError if it is gone."""
    mode, minimal, _, _ = db.rows(SUPPLEMENTAL)[0]
    if str(mode) != "ARCHIVELOG":
        raise InvalidPlanError("the database does not archive its redo", path=db.where, hint=ARCHIVING)
    if str(minimal) == "NO":
        raise InvalidPlanError("supplemental logging is off", path=db.where, hint=MINIMAL)
    there, _ = objects(db, followed)
    for one in followed:
        if one.dataset.name not in there and not one.table.view:
            raise NotFoundError(f"there is no table {one.dataset.name!r}", path=one.dataset.name, hint="check its name")
    for name, (text, fix) in troubles(db, followed).items():
        raise InvalidPlanError(f"{name!r} cannot be followed: {text}", path=name, hint=fix)
