"""What MariaDB and MySQL refuse a query or a change for, in our words: never their text, which holds values and SQL."""

from __future__ import annotations

import re
from typing import Any

from tongqu.connectors.mysql import errors
from tongqu.core.errors import (
    AuthError,
    BusyError,
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

DEADLOCK = 1213
_TIMED_OUT = {1969, 3024, 1317}
_DUPLICATE = {1062, 1586, 1557, 3156}
_BUSY = {1205, 1206, 3572, 1040, 1203, 1226}
_READ_ONLY = {1792, 1290, 1836}
_REGEXP = {1139, 3685, 3686, 3687, 3688, 3689, 3690, 3691, 3692, 3693, 3694, 3695, 3696, 3697, 3698, 3699}
_KINDS = {1048: "required", 1364: "required", 1216: "reference", 1217: "reference", 1451: "reference",
          1452: "reference", 3819: "check", 4025: "check", 1406: "length"}  # fmt: skip
_VALUE = {1261, 1262, 1263, 1264, 1265, 1292, 1300, 1366, 1367, 1411, 1416, 1426, 1441, 1525, 1644, 1690, 3140, 3854,
          4078, 1906, 3105}  # fmt: skip
_COLUMN = re.compile(r"[cC]olumn (?:`[^`]*`\.`[^`]*`\.)?[`']([^`']+)[`'](?: cannot be null| at row \d+)?$")


def failures() -> tuple[type[BaseException], ...]:
    """What the driver raises when something fails."""
    found: tuple[type[BaseException], ...] = (
        driver("asyncmy.errors", "mysql").MySQLError, OSError, EOFError, TimeoutError, RuntimeError,
    )  # fmt: skip
    return found


def number(error: BaseException) -> int:
    """The server's or the driver's error number; 0 where there is none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def told(error: BaseException, where: str, *, writing: bool = False) -> TongquError:
    """The error for what the driver raised. `params` of refused rows have `kind` and `column`."""
    code, text = number(error), str(error.args[1]) if len(error.args) > 1 else ""
    params: dict[str, Any] = {"code": code}
    if isinstance(error, TimeoutError) or code in _TIMED_OUT:
        return TimedOutError("the query took too long and was ended", path=where, params=params)
    if code in _DUPLICATE:
        return DuplicateError("a row of the same key is there", path=where, params=params)
    if code in _BUSY or code == DEADLOCK:
        return BusyError("rows are locked by somebody else, or too many connections are open", path=where)
    if code in _KINDS or code in _VALUE:
        params["kind"] = _KINDS.get(code, "value")
        if found := _COLUMN.search(text):
            params["column"] = found[1]
        kind = RefusedRowsError if writing else ReadError
        named = f" of column {params['column']!r}" if "column" in params else ""
        return kind(f"the database refuses a value{named}: {params['kind']}", path=where, params=params)
    if code in _REGEXP:
        return ExpressionError("the pattern is no regular expression", params=params)
    if code in errors.AUTH:
        return AuthError("the server refuses the login", path=where, hint="check user and password")
    if code in errors.PRIVILEGE or code in _READ_ONLY:
        return PrivilegeError("the login lacks the right to do this", path=where, params=params)
    if code in errors.MISSING:
        return NotFoundError("a table or column that is needed is not there", path=where, params=params)
    if code in errors.BROKEN or code == 0:
        return ConnectError(
            "the connection to the database failed", path=where, hint="check that it runs and can be reached"
        )
    other = WriteError if writing else ReadError
    return other(f"the database refuses this with error {code}", path=where, params=params)
