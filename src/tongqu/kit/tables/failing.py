"""What a driver's SQLSTATE means in Tongqu's errors."""

from __future__ import annotations

from tongqu.core.errors import (
    AuthError,
    BusyError,
    ConnectError,
    NotFoundError,
    PrivilegeError,
    ReadError,
    RefusedRowsError,
    TongquError,
    WriteError,
)

_MISSING = {"42S02", "42P01", "42704", "3D000", "3F000", "42S22", "42703", "42S12", "42X05", "42Y07"}
_DENIED = {"42501", "42502", "42505", "42507", "42509"}
_RAISED = {"45000", "P0001"}
"""What triggers raise themselves: SIGNAL of the standard, RAISE EXCEPTION of PostgreSQL."""
_BUSY = {"55P03", "HYT00", "S1T00", "57033"}


def by_state(state: str, text: str, where: str, *, reading: bool) -> TongquError:
    """The error for a five-letter SQLSTATE; an unknown one is a failed read or write."""
    head = state[:2]
    if head == "28":
        return AuthError(f"the server refused the login: {text}", path=where, hint="check user, password and database")
    if state in _DENIED:
        return PrivilegeError(f"not allowed: {text}", path=where, hint="grant the missing right to this login")
    if state in _MISSING:
        return NotFoundError(text, path=where, hint="look at the names with `tongqu schema`")
    if head in ("22", "23", "44") or state in _RAISED:
        return RefusedRowsError(text, path=where, params={"state": state})
    if state in _BUSY:
        return BusyError(f"waited too long for a lock: {text}", path=where, hint="raise lock_seconds, or run later")
    if head == "40":
        return ConnectError(f"the transaction was rolled back (deadlock): {text}", path=where, hint="run it again")
    if head in ("08", "57") or state in ("HYT01", "S1T01", "01002"):
        return ConnectError(f"the connection failed: {text}", path=where, hint="check host, port and the server's log")
    kind = ReadError if reading else WriteError
    return kind(f"{text} ({state})", path=where)
