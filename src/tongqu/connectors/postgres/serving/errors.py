"""What PostgreSQL refuses a query or a change for, in our words: never its text, which holds values and SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tongqu.core.errors import (
    AnswerError,
    AuthError,
    BusyError,
    CastError,
    ConnectError,
    DuplicateError,
    ExpressionError,
    NotFoundError,
    PrivilegeError,
    ReadError,
    RefusedRowsError,
    TimedOutError,
    TongquError,
    WriteError,
)
from tongqu.kit.drivers import driver

AGAIN = frozenset(("40001", "40P01"))
"""Serialization failure and deadlock: the transaction is gone and may be tried again."""
STALE = "0A000"
"""`cached plan must not change result type`: the table was altered."""
NAMELESS = frozenset(("26000", "42P05"))
"""A prepared statement is not there, or one of the name is: a pooler between gives each transaction another session."""

_TOO_LARGE = "54000"
"""Program limit exceeded: a value beyond 1 GB."""

_EXACT: dict[str, tuple[type[TongquError], str]] = {
    "57014": (TimedOutError, "the query took too long and was ended"),
    "55P03": (BusyError, "rows are locked by somebody else"),
    "53300": (BusyError, "the database takes no more connections"),
    "40001": (BusyError, "others changed the same rows at the same time"),
    "40P01": (BusyError, "others changed the same rows at the same time"),
    "42501": (PrivilegeError, "the login lacks the right to do this"),
    "42P01": (NotFoundError, "a table that is needed is not there"),
    "42703": (NotFoundError, "a column that is needed is not there"),
    "3D000": (NotFoundError, "the database is not there"),
    "3F000": (NotFoundError, "the schema is not there"),
    "23505": (DuplicateError, "a row of the same key is there"),
    "23P01": (DuplicateError, "a row that excludes it is there"),
    "21000": (DuplicateError, "the same key comes twice"),
    "2201B": (ExpressionError, "the pattern is no regular expression"),
    "25006": (PrivilegeError, "the query would change data"),
}
_REFUSED = {"23502": "required", "23503": "reference", "23514": "check", "428C9": "generated", "22001": "length",
            "44000": "check", "P0001": "check"}  # fmt: skip
"""The last two: a view's CHECK OPTION, and a trigger that raises an exception."""


def told(error: BaseException, where: str, *, writing: bool = False) -> TongquError:
    """The error for what the driver raised. `params` of refused rows have `kind`, `constraint` and `column`."""
    state = getattr(error, "sqlstate", None) or ""
    params: dict[str, Any] = {"state": state}
    for word in ("constraint", "column"):
        if name := getattr(error, f"{word}_name", None):
            params[word] = name
    if state in _EXACT:
        kind, message = _EXACT[state]
        return kind(message, path=where, params=params)
    if writing and (state in _REFUSED or state.startswith(("22", "23", "54"))):
        params["kind"] = _REFUSED.get(state, "value")
        named = f" of column {params['column']!r}" if "column" in params else ""
        return RefusedRowsError(f"the database refuses a value{named}: {params['kind']}", path=where, params=params)
    if state.startswith("22"):
        return CastError("a value cannot be computed or converted", params=params)
    if state == _TOO_LARGE and not writing:
        return AnswerError("the answer is too large for the database", hint="ask for fewer rows or columns")
    if state.startswith("28"):
        return AuthError("the database refuses the login", path=where, hint="check user and password")
    if not state or state.startswith(("08", "53", "57", "58")):
        return ConnectError(
            "the connection to the database failed", path=where, hint="check that it runs and can be reached"
        )
    kind = WriteError if writing else ReadError
    return kind(f"the database refuses this with code {state}", path=where, params=params)


def failures() -> tuple[type[BaseException], ...]:
    """What the driver raises when something fails."""
    asyncpg = driver("asyncpg", "postgres")
    found: tuple[type[BaseException], ...] = (
        asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError, TimeoutError,
    )  # fmt: skip
    return found


@contextmanager
def in_our_words(where: str, *, writing: bool = False) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except TongquError:
        raise
    except TimeoutError:
        raise TimedOutError("the database did not answer in time", path=where) from None
    except failures() as error:
        raise told(error, where, writing=writing) from None
