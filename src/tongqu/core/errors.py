"""Every error Tongqu raises on purpose, grouped by who must act.

TongquError
├ ConfigError       the author     UnknownConnectorError InvalidSettingsError InvalidPlanError MissingDriverError
│                                  ExpressionError UnknownNameError UnconfirmedError
├ ConnectorError    the outside    ConnectError* AuthError PrivilegeError NotFoundError ReadError WriteError
│                                  BusyError LostPositionError CertificateError AnswerError
│                                  CallRefusedError PeerFailedError* RateLimitedError* RestingError*
│                                  UnknownOutcomeError NotRecordedError InstallError             (* = retryable)
├ DataError         the data       SchemaError CastError QualityError RefusedRowsError DuplicateError
│                                  SupersededError DecryptError
├ AccessError       the caller     EgressRefusedError
└ RunError          the operator   CheckpointError FencedError CancelledError TimedOutError BalanceError
                                   StaleVersionError AuditError
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar


class TongquError(Exception):
    """Base of all deliberate errors.

    `message` says what happened, with the value and the valid values; `hint` says the next step; `path` says where
    (`file:line:key.path`, a URL without password, or a stream's name). Secrets are never part of any of them.
    `params` fill the translated message of the same `code`.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False
    exit_code: int = 1

    def __init__(self, message: str, *, hint: str = "", path: str = "", params: Mapping[str, Any] | None = None):
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.path = path
        self.params: dict[str, Any] = dict(params or {})

    def problem(self) -> dict[str, str]:
        """The error as the CLI and HTTP contracts print it: `path code message hint`."""
        return {"path": self.path, "code": self.code, "message": self.message, "hint": self.hint}


@contextmanager
def learnt() -> Iterator[None]:
    """What is wrong inside this block was learnt by talking to a system: exit code 1, whatever the error's class."""
    try:
        yield
    except TongquError as error:
        error.exit_code = 1
        raise


class ConfigError(TongquError):
    """Refused from files and arguments alone, before any connection."""

    code = "config"
    exit_code = 2


class UnknownConnectorError(ConfigError):
    """No connector has this type or URL scheme."""

    code = "config.unknown_connector"


class UnknownNameError(ConfigError):
    """A reference names a connection, dataset, pipeline, step or column that does not exist."""

    code = "config.unknown_name"


class InvalidSettingsError(ConfigError):
    """A setting is missing, unknown, of the wrong type or out of range."""

    code = "config.invalid_settings"


class InvalidPlanError(ConfigError):
    """The parts are valid, their combination is not (cycle, missing key, unsupported lane)."""

    code = "config.invalid_plan"


class ExpressionError(ConfigError):
    """An expression does not parse, uses something outside the allow-list, or has the wrong types."""

    code = "config.expression"


class MissingDriverError(ConfigError):
    """The connector's extra is not installed."""

    code = "config.missing_driver"


class UnconfirmedError(ConfigError):
    """A package of somebody else would be installed, and nobody confirmed the hashes of what would come."""

    code = "config.unconfirmed"


class BreakingChangeError(ConfigError):
    """A live version would no longer keep what it promises its callers."""

    code = "config.breaking_change"


class SecretError(ConfigError):
    """A `${env:…}`, `${secret:…}`, `${file:…}` or `${vault:…}` reference cannot be resolved."""

    code = "config.secret"


class ConnectorError(TongquError):
    """Learnt by talking to a system."""

    code = "connector"
    status: int = 0
    """The HTTP status it was learnt by; 0 where there was none."""
    answer: bytes = b""
    """The beginning of the peer's answer, for who understands it (a fault, a list of refused items); never shown."""


class ConnectError(ConnectorError):
    """The system cannot be reached, or the connection broke; trying again may help."""

    code = "connector.connect"
    retryable = True


class AuthError(ConnectorError):
    """The system refused the credentials."""

    code = "connector.auth"


class PrivilegeError(ConnectorError):
    """The login works and lacks a right."""

    code = "connector.privilege"


class NotFoundError(ConnectorError):
    """The database, table, file or column is not there."""

    code = "connector.not_found"


class BusyError(ConnectorError):
    """Another process owns the file or the lock."""

    code = "connector.busy"


class ReadError(ConnectorError):
    """The source failed while reading."""

    code = "connector.read"


class WriteError(ConnectorError):
    """The sink failed while writing, for a reason that is not a single row's."""

    code = "connector.write"


class LostPositionError(ConnectorError):
    """The source no longer has the data after our position; it never jumps silently."""

    code = "connector.lost_position"


class CertificateError(ConnectError):
    """The peer's certificate is expired, of another name or not trusted, or it refused ours."""

    code = "connector.certificate"
    retryable = False


class AnswerError(ReadError):
    """The answer is not what was asked for: too large, damaged, another content type, an error page."""

    code = "connector.answer"


class CallRefusedError(ConnectorError):
    """The peer refused an HTTP call (4xx); the same call will be refused again."""

    code = "connector.call_refused"


class PeerFailedError(ConnectorError):
    """The peer failed while it answered an HTTP call (5xx); trying again may help."""

    code = "connector.peer_failed"
    retryable = True


class RateLimitedError(ConnectorError):
    """The peer wants fewer calls than we may wait for; nothing was done."""

    code = "connector.rate_limited"
    retryable = True


class RestingError(ConnectError):
    """The peer failed so often that it is left alone for a while; no call was made."""

    code = "connector.resting"


class UnknownOutcomeError(WriteError):
    """A call that must not be made twice was sent, and nobody knows whether it had its effect."""

    code = "connector.outcome_unknown"


class InstallError(ConnectorError):
    """A package of somebody else cannot be installed."""

    code = "connector.install"


class NotRecordedError(ConnectorError):
    """Calls are answered from a recording only, and this call is not in it."""

    code = "connector.not_recorded"


class DataError(TongquError):
    """The data does not fit; the row can be quarantined. `field` and `row` (index in the batch) say which cell."""

    code = "data"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        path: str = "",
        params: Mapping[str, Any] | None = None,
        field: str = "",
        row: int | None = None,
    ):
        super().__init__(message, hint=hint, path=path, params=params)
        self.field = field
        self.row = row


class SchemaError(DataError):
    """The schema of source, step and sink do not fit each other."""

    code = "data.schema"


def altered(dataset: str, difference: str) -> SchemaError:
    """The error for a source that was altered after it was discovered; nothing was written under a wrong name."""
    return SchemaError(
        f"{dataset!r} was altered while it was being read: {difference}",
        hint="nothing of the open chunk was committed; run the same command again, it begins with the new schema",
        path=dataset,
    )


class CastError(DataError):
    """A value cannot be represented in the wanted type."""

    code = "data.cast"


class QualityError(DataError):
    """More rows were quarantined than the limit allows."""

    code = "data.quality"


class RefusedRowsError(DataError):
    """The target database refused rows (constraint, length, type); the caller bisects to find them."""

    code = "data.refused"


class SupersededError(RefusedRowsError):
    """The target has a newer row of the key than the quarantined one that went in again."""

    code = "data.superseded"


class DuplicateError(DataError):
    """Several rows were met where the step needs exactly one (a key that comes twice)."""

    code = "data.duplicate"


class DecryptError(DataError):
    """An encrypted value does not open: another key, another context, or it was changed. Never shows a value."""

    code = "data.decrypt"


class AccessError(TongquError):
    """The caller may not do this."""

    code = "access"


class EgressRefusedError(AccessError):
    """Nothing may be sent to this address. The message is fit for anybody; the hint tells the operator why."""

    code = "access.egress"


class RunError(TongquError):
    """The run itself cannot go on."""

    code = "run"


class CheckpointError(RunError):
    """Stored progress cannot be used: it was written by another version or is damaged."""

    code = "run.checkpoint"


class FencedError(RunError):
    """Another process took this sync over; nothing of ours was written after it did."""

    code = "run.fenced"


class CancelledError(RunError):
    """Stopped by the operator."""

    code = "run.cancelled"


class TimedOutError(RunError):
    """A limit of time was reached."""

    code = "run.timed_out"


class BalanceError(RunError):
    """The counts of a step or sink do not balance: rows were lost or invented."""

    code = "run.balance"


class StaleVersionError(RunError):
    """Somebody else made a version meanwhile: the change was made to another state than the one it would replace."""

    code = "run.stale_version"


class AuditError(RunError):
    """The audit trail cannot be written or was changed; what must be audited is not done."""

    code = "run.audit"
