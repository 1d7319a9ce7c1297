"""Turns the server's and the drivers' error numbers into Tongqu's errors."""

from __future__ import annotations

from typing import Any

from tongqu.connectors.mysql.settings import MysqlSettings
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

AUTH = {1045, 1251, 1698, 1862, 2059, 4151}
PRIVILEGE = {1044, 1142, 1143, 1227, 1290, 1370, 1419}
MISSING = {1049, 1051, 1054, 1146, 1305}
BROKEN = {1040, 1053, 1077, 1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184, 1203, 1226, 1317, 1927,
           2002, 2003, 2005, 2006, 2012, 2013, 2014, 2026, 2055, 0}  # fmt: skip
_DATA = {1048, 1062, 1216, 1217, 1261, 1262, 1263, 1264, 1265, 1292, 1300, 1364, 1366, 1367, 1406, 1411, 1416, 1426,
         1441, 1451, 1452, 1525, 1526, 1557, 1586, 1644, 1690, 1748, 1761, 1762, 3140, 3156, 3819, 3854, 4025,
         4078}  # fmt: skip
_NO_DATABASE = 1049
_NO_SPACE = {1021, 1114}
_DEADLOCK = 1213
_LOCK_WAIT = {1205, 1206, 3572}


def translate(settings: MysqlSettings, error: BaseException, *, reading: bool = False) -> TongquError:
    """The Tongqu error for a driver's exception; messages hold no password because the servers send none."""
    code, text = _parts(error)
    where = settings.display()
    if code in AUTH:
        return AuthError(f"the server refused the login: {text}", path=where, hint="check user, password and host")
    if code in PRIVILEGE:
        return PrivilegeError(f"not allowed: {text}", path=where, hint="grant the missing right to this login")
    if code == _NO_DATABASE:
        hint = "a schema is a database here: create it, or name the target without it (--table schema.name=name)"
        return NotFoundError(text, path=where, hint=hint)
    if code in MISSING:
        return NotFoundError(text, path=where)
    if code in _DATA:
        return RefusedRowsError(text, path=where, params={"code": code, "detail": text})
    if code in _NO_SPACE or "No space left on device" in text:
        return WriteError(text, path=where, hint="the server's disk is full; free space and run the same command again")
    if code in _LOCK_WAIT:
        return BusyError(f"waited too long for a lock: {text}", path=where, hint="raise lock_seconds, or run later")
    if code == _DEADLOCK:
        return ConnectError(f"deadlock, the transaction was rolled back: {text}", path=where)
    if code in BROKEN or isinstance(error, OSError | EOFError | TimeoutError):
        return ConnectError(f"the connection failed: {text}", path=where, hint="check host, port and the server's log")
    kind = ReadError if reading else WriteError
    return kind(f"{text} (error {code})", path=where)


def _parts(error: BaseException) -> tuple[int, str]:
    args: tuple[Any, ...] = error.args
    if len(args) >= 2 and isinstance(args[0], int):
        return args[0], str(args[1])
    if isinstance(error, OSError):
        return 2013, str(error) or type(error).__name__
    return (0 if type(error).__name__ == "InterfaceError" else -1), str(error) or type(error).__name__
