"""Asks LogMiner for the redo of a range of SCNs, window after window.

Source: DBMS_LOGMNR (PL/SQL Packages and Types Reference) and V$LOGMNR_CONTENTS (Database Reference). Transactions are
asked for as they were written, not only those that are committed in the window: most begin before it or end behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import pyarrow as pa

from tongqu.connectors.oracle.log.places import Record
from tongqu.connectors.oracle.log.redo_files import RedoFile
from tongqu.connectors.oracle.log.session import Followed, within
from tongqu.kit.tables.db import TableDb

COMMIT, ROLLBACK, MISSING = 7, 36, 34
"""OPERATION_CODE of what ends transactions, and of redo that is not there."""
_ADD = "BEGIN DBMS_LOGMNR.ADD_LOGFILE(LOGFILENAME => {name}, OPTIONS => DBMS_LOGMNR.{option}); END;"
_BEGIN = (
    "BEGIN DBMS_LOGMNR.START_LOGMNR(STARTSCN => {first}, ENDSCN => {last}, OPTIONS => "
    "DBMS_LOGMNR.DICT_FROM_ONLINE_CATALOG + DBMS_LOGMNR.NO_ROWID_IN_STMT + DBMS_LOGMNR.NO_SQL_DELIMITER); END;"
)
_TEXT, _LONG, _SHORT = pa.string(), pa.int64(), pa.int32()
_COLUMNS: dict[str, pa.DataType] = {
    "THREAD#": _SHORT, "SCN": _LONG, "RBASQN": _LONG, "RBABLK": _LONG, "RBABYTE": _LONG, "OPERATION_CODE": _SHORT,
    '"ROLLBACK"': _SHORT, "CSF": _SHORT, "RAWTOHEX(XID)": _TEXT, "SEG_OWNER": _TEXT, "TABLE_NAME": _TEXT,
    "DATA_OBJ#": _LONG, "ROW_ID": _TEXT, "STATUS": _SHORT, "INFO": _TEXT, "TIMESTAMP": pa.timestamp("s"),
    "SQL_REDO": _TEXT,
}  # fmt: skip
_DIGITS = {_LONG: 18, _SHORT: 9}
"""A NUMBER of any size would come as a float."""
_ENDS = f"OPERATION_CODE IN ({COMMIT}, {ROLLBACK}, {MISSING})"


_SIZE = 4_096


@dataclass(frozen=True)
class Told:
    """One row of V$LOGMNR_CONTENTS, its SQL whole; `when` is the server's local time in seconds since 1970."""

    thread: int
    scn: int
    record: Record
    code: int
    rollback: bool
    xid: str
    owner: str
    table: str
    object: int
    row: str
    status: int
    info: str
    when: int
    sql: str


def asking(followed: Sequence[Followed], objects: Sequence[int], container: str, literal: Any) -> str:
    """The question of a window: the ends of all transactions, which show how far each thread was read, and the changes
    of the followed tables, by name, or by object number where the dictionary no longer knows the name."""
    owners: dict[str, list[str]] = {}
    for one in followed:
        owners.setdefault(one.place[0], []).append(literal(one.place[1]))
    named = [f"(SEG_OWNER = {literal(owner)} AND {within('TABLE_NAME', names)})" for owner, names in owners.items()]
    wanted = " OR ".join([*named, within("DATA_OBJ#", [str(int(one)) for one in objects])])
    inside = f"SRC_CON_NAME = {literal(container)} AND " if container else ""
    listed = [f"CAST({one} AS NUMBER({_DIGITS[kind]},0))" if kind in _DIGITS else one for one, kind in _COLUMNS.items()]
    return f"SELECT {', '.join(listed)} FROM V$LOGMNR_CONTENTS WHERE {_ENDS} OR ({inside}({wanted}))"


class Mining:
    """What a session of LogMiner was told: which files it reads."""

    def __init__(self) -> None:
        self._added: list[str] = []
        self._of = -1

    def start(self, db: TableDb, made: int, files: Sequence[RedoFile], window: tuple[int, int]) -> None:
        """Begin to mine a window of SCNs, both of them in it, over the connection of that number."""
        names = sorted(one.name for one in files)
        if self._of != made or names != self._added:
            self._added, self._of = [], made
            for at, name in enumerate(names):
                option = "ADDFILE" if at else "NEW"
                db.say([_ADD.format(name=db.dialect.literal(name), option=option)])
            self._added = names
        db.say([_BEGIN.format(first=int(window[0]), last=int(window[1]))])


def rows(db: TableDb, sql: str, stop: Event) -> Iterator[list[Told]]:
    """The answer, batch by batch, as far as it is not to stop; what the view gives in several rows (CSF) as one."""
    schema = pa.schema([pa.field(name, kind) for name, kind in _COLUMNS.items()])
    begun: list[str] = []
    for batch in db.batches(sql, schema, _SIZE):
        if stop.is_set():
            return
        columns = []
        for one in batch.columns:
            moments: Any = one.cast(pa.int64()) if pa.types.is_timestamp(one.type) else one
            columns.append(moments.to_pylist())
        found: list[Told] = []
        for more, text, *cells in zip(columns[7], columns[-1], *columns[:7], *columns[8:-1], strict=True):
            begun.append(text or "")
            if not more:
                found.append(_told(cells, "".join(begun)))
                begun = []
        yield found


def _told(cells: Sequence[Any], sql: str) -> Told:
    thread, scn, sequence, block, byte, code, undo, xid, owner, table, number, row, status, info, when = cells
    record = (int(sequence or 0), int(block or 0), int(byte or 0))
    return Told(
        int(thread or 1), int(scn), record, int(code), bool(undo), str(xid or "").lower(), str(owner or ""),
        str(table or ""), int(number or 0), str(row or ""), int(status or 0), str(info or ""), int(when or 0), sql,
    )  # fmt: skip
