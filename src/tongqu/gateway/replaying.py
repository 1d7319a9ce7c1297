"""What is kept of a change under its Idempotency-Key, and what of it may be given again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tongqu.core.server import Change, Outcome, Page
from tongqu.gateway.problems import Problem


def stored_of(outcome: Outcome, changes: Sequence[Change]) -> dict[str, Any]:
    """What became of a change: numbers, and the rows given back as a JSON array."""
    pages: list[Page] = [page for page in outcome.pages if page is not None]
    inner = [page.body.strip()[1:-1] for page in pages if page.rows]
    body = b"[" + b",".join(inner) + b"]" if any(change.returning for change in changes) else b""
    return {"touched": sum(outcome.touched), "inserted": sum(outcome.inserted), "body": body.decode()}


def replayed(text: bytes) -> dict[str, Any]:
    """What an earlier request came to; a refusal is raised again."""
    stored: dict[str, Any] = {**orjson.loads(text), "replayed": True}
    if "problem" in stored:
        refused = stored["problem"]
        raise Problem(refused["code"], refused["detail"], headers=[("idempotent-replayed", "true")])
    return stored


def shown_again(stored: Mapping[str, Any], sight: str, wanted: bool) -> dict[str, Any]:
    """What was stored, without rows that were shown under other rights than those of `sight`; raises Problem where they
    are wanted."""
    if not stored.get("replayed") or not stored["body"] or stored.get("sight") == sight:
        return dict(stored)
    if wanted:
        raise Problem("access.denied", "the change was made; its rows are not given again: your rights differ now")
    return {**stored, "body": ""}
