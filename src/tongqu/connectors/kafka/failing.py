"""Kafka's errors in our own words; no secret is in them."""

from __future__ import annotations

from typing import Any

from tongqu.core.errors import (
    AuthError,
    CertificateError,
    ConnectError,
    ConnectorError,
    FencedError,
    NotFoundError,
    PrivilegeError,
    ReadError,
    TongquError,
    WriteError,
)

_LOGIN = ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE")
_GONE = ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION")
_FENCED = ("_FENCED", "INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED")
_UNSUPPORTED = ("_UNSUPPORTED_FEATURE", "UNSUPPORTED_VERSION", "UNSUPPORTED_FOR_MESSAGE_FORMAT", "INVALID_REQUEST")
_PASSING = (
    "_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_MSG_TIMED_OUT", "_RESOLVE", "_WAIT_COORD",
    "_STATE", "REQUEST_TIMED_OUT", "NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION", "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR", "COORDINATOR_LOAD_IN_PROGRESS",
    "NETWORK_EXCEPTION", "CONCURRENT_TRANSACTIONS", "_PURGE_QUEUE", "_PURGE_INFLIGHT", "KAFKA_STORAGE_ERROR",
)  # fmt: skip


def meaning(error: Any, where: str, *, writing: bool = False) -> TongquError:
    """What a KafkaError, or an exception that has one, means."""
    told = error.args[0] if isinstance(error, Exception) and error.args else error
    name = told.name() if hasattr(told, "name") else ""
    text = str(told.str() if hasattr(told, "str") else told)
    if name in _LOGIN:
        hint = "check user, password, mechanism and security"
        return AuthError("the cluster refused the login", path=where, hint=hint)
    if name == "_SSL":
        return CertificateError(f"TLS failed: {text}", path=where, hint="check security, ca_file and the clocks")
    if name.endswith("_AUTHORIZATION_FAILED"):
        return PrivilegeError(
            f"not allowed: {text}", path=where, hint="grant the ACL on topic, group or transactional id"
        )
    if name in _GONE:
        return NotFoundError(text, path=where, hint="check the topic's name and the prefix")
    if name in _FENCED:
        return FencedError(
            "another process has taken over this stream of the topic; this one stopped without writing more",
            hint="let the other process finish, or stop it and run this sync again",
        )
    retriable = hasattr(told, "retriable") and told.retriable()
    if name in _PASSING or retriable:
        hint = "check host, port, security and the brokers' logs"
        return ConnectError(f"the connection failed: {text}", path=where, hint=hint)
    kind: type[ConnectorError] = WriteError if writing else ReadError
    return kind(f"{name}: {text}" if name else text, path=where)


def unsupported(error: Any) -> bool:
    """Whether an error says that the server has no transactions."""
    told = error.args[0] if error.args else error
    return hasattr(told, "name") and told.name() in _UNSUPPORTED
