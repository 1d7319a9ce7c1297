"""MongoDB's errors in our own words; no secret is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tongqu.core.errors import (
    AuthError,
    BusyError,
    CertificateError,
    ConnectError,
    NotFoundError,
    PrivilegeError,
    ReadError,
    RefusedRowsError,
    TongquError,
    WriteError,
)

_LOGIN = (18, 8000)
_RIGHTS = (13, 31)
_GONE = (26, 73)
_PASSING = (6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, 43, 175, 237)
_CONFLICT = (112, 251, 225, 24, 50)
REFUSED = (11000, 11001, 12582, 121, 2, 9, 14, 17280, 10334, 16837, 28, 52, 57, 56)
"""Codes of errors that single documents cause: duplicates, validators, fields that fit nowhere, too large ones."""


def meaning(error: Exception, where: str, *, reading: bool = False) -> TongquError:
    """What an exception of the driver means."""
    from pymongo import errors

    code = getattr(error, "code", None)
    text = _said(error)
    if isinstance(error, errors.ConfigurationError | errors.InvalidURI):
        return ConnectError(f"the connection cannot be made: {text}", path=where, hint="check the settings")
    if code in _LOGIN or (code == 13 and "requires authentication" in text):
        hint = "check user, password, auth_source and auth_mechanism"
        return AuthError("the server refused the login", path=where, hint=hint)
    if code in _RIGHTS:
        return PrivilegeError(
            f"not allowed: {text}", path=where, hint="grant the role readWrite (or read) on the database"
        )
    if code in _GONE:
        return NotFoundError(text, path=where, hint="check the names of database and collection")
    if code in _CONFLICT or (
        isinstance(error, errors.PyMongoError) and error.has_error_label("TransientTransactionError")
    ):
        return ConnectError(f"the server gave the transaction up: {text}", path=where, hint="it is tried again")
    if code in _PASSING or isinstance(error, errors.ConnectionFailure | errors.WaitQueueTimeoutError):
        if "certificate" in text.lower():
            return CertificateError(
                f"the certificate is not accepted: {text}", path=where, hint="check tls and ca_file"
            )
        hint = "check host, port, tls and the server's log"
        return ConnectError(f"the connection failed: {text}", path=where, hint=hint)
    if code == 20 and "ransaction" in text:
        return WriteError(text, path=where, hint="set transactions to never for this server")
    if code in REFUSED or isinstance(error, errors.DocumentTooLarge):
        return RefusedRowsError(text, path=where)
    if isinstance(error, errors.ExecutionTimeout):
        return BusyError(text, path=where, hint="raise read_seconds, or run again when the server has less to do")
    return (ReadError if reading else WriteError)(text, path=where, hint="see the server's log")


def refusal(error: Mapping[str, Any]) -> RefusedRowsError:
    """The error for one document that the server refused."""
    pattern = error.get("keyPattern") or {}
    field = next(iter(pattern), "")
    return RefusedRowsError(str(error.get("errmsg", "refused"))[:500], field="" if field == "_id" else str(field))


def _said(error: Exception) -> str:
    """The server's words without the whole reply."""
    details = getattr(error, "details", None)
    if isinstance(details, Mapping) and details.get("errmsg"):
        return str(details["errmsg"])[:500]
    return str(error).partition(", full error:")[0].partition(", Timeout:")[0][:500]


@contextmanager
def told(where: str, *, reading: bool = False) -> Iterator[None]:
    """Raise the driver's errors as ours."""
    from bson.errors import BSONError
    from pymongo.errors import PyMongoError

    try:
        yield
    except (PyMongoError, BSONError) as error:
        raise meaning(error, where, reading=reading) from None
