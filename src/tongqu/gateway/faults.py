"""What a caller is told when something fails that is no refusal: never more than the kind of failure."""

from __future__ import annotations

from collections.abc import Collection

from tongqu.core.errors import (
    AccessError,
    AnswerError,
    BusyError,
    CastError,
    ConnectorError,
    DuplicateError,
    ExpressionError,
    NotFoundError,
    PeerFailedError,
    RateLimitedError,
    RefusedRowsError,
    RestingError,
    SupersededError,
    TimedOutError,
    TongquError,
    UnknownOutcomeError,
)
from tongqu.gateway.problems import Kind, Problem, declare

declare(
    {
        "outcome.unknown": Kind(
            503, "whether the change was made is not known: ask again with the same Idempotency-Key",
            "变更结果未知，请使用相同的 Idempotency-Key 重试", retryable=True,
        ),
        "value.unfit": Kind(
            422, "a value of the rows cannot be given in this form", "数据中的值无法按所要求的形式给出"
        ),
    }
)  # fmt: skip

_KINDS: tuple[tuple[type[TongquError], str], ...] = (
    (TimedOutError, "source.slow"),
    (SupersededError, "key.reused"),
    (DuplicateError, "row.conflict"),
    (RefusedRowsError, "row.conflict"),
    (CastError, "value.unfit"),
    (ExpressionError, "value.invalid"),
    (AccessError, "access.denied"),
    (AnswerError, "answer.too_large"),
    (UnknownOutcomeError, "outcome.unknown"),
    (NotFoundError, "source.unavailable"),
    (RateLimitedError, "source.unavailable"),
    (BusyError, "overloaded"),
    (RestingError, "source.unavailable"),
    (PeerFailedError, "source.unavailable"),
    (ConnectorError, "source.unavailable"),
)
"""The first that fits. An expression of a caller's is a pattern that this database does not take. A table that
is gone is the source's trouble: a caller named no table."""


def naming(error: CastError, fields: Collection[str]) -> CastError:
    """The error; the caller is told of its field, if it is one of these, which it may see."""
    error.params["shown"] = error.field in fields
    return error


def told(error: Exception) -> Problem:
    """The refusal that an error becomes; its own text stays inside."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, CastError) and error.params.get("shown"):
        detail = f"a value of {error.field!r} cannot be given in this form"
        return Problem("value.unfit", detail, errors=[{"parameter": error.field, "code": "value.unfit"}])
    for kind, code in _KINDS:
        if isinstance(error, kind):
            return Problem(code)
    if isinstance(error, TimeoutError):
        return Problem("source.slow")
    return Problem("internal")


def expected(problem: Problem) -> bool:
    """Whether such an answer is part of normal life, and no operator need look."""
    return problem.code not in ("internal", "source.unavailable", "outcome.unknown")
