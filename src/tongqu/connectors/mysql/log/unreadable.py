"""Events of a log that change rows in a way that is not read, or that nobody here knows."""

from __future__ import annotations

from tongqu.connectors.mysql.log.dump import RESYNC
from tongqu.connectors.mysql.log.events import IGNORABLE, INCIDENT, PARTIAL_UPDATE, PAYLOAD, SILENT, Event
from tongqu.core.errors import LostPositionError, ReadError, TongquError

_REFUSED = {
    PARTIAL_UPDATE: ("parts of JSON values", "SET GLOBAL binlog_row_value_options = ''"),
    PAYLOAD: ("compressed transactions", "SET GLOBAL binlog_transaction_compression = OFF"),
}


def unreadable(event: Event, where: str) -> TongquError | None:
    """Why the log cannot be followed past this event, which is none of rows, transactions and statements; None if it
    can. What is not known is never passed over, unless its writer says that it may be."""
    kind = event.kind
    if kind in SILENT:
        return None
    if kind == INCIDENT:
        return LostPositionError(
            "the server noted in its log that changes are missing there (an incident)", path=where, hint=RESYNC
        )
    if kind in _REFUSED:
        what, fix = _REFUSED[kind]
        return ReadError(f"the log holds {what}, which cannot be read", path=where, hint=fix)
    if event.flags & IGNORABLE:
        return None
    return ReadError(
        f"the log holds an event of a kind that is not known ({kind}), and it may change rows", path=where,
        hint="sync with --mode incremental, or ask for a version that knows this server",
    )  # fmt: skip
