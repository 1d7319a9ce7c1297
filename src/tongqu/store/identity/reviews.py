"""Reviews of who may what: decisions that were signed off, and warnings that were given before something expires."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from tongqu.store.identity.database import Database

WARN_DAYS = (30, 7, 1)
"""How many days before its end a key, certificate, password or account is warned about."""
DAY = 86_400.0


@dataclass(frozen=True)
class Review:
    """A decision about one client or user: `kept`, `withdrawn` or `disabled`."""

    subject: str
    decision: str
    actor: str
    account: str
    reason: str = ""
    findings: Sequence[str] = field(default_factory=tuple)
    at: float = 0


@dataclass(frozen=True)
class Ending:
    """Something that ends: `subject` is `client:NAME`, `user:NAME` or a file, `what` its key or `account`."""

    subject: str
    what: str
    expires: float

    def days(self, at: float) -> int:
        """The smallest warning threshold that is reached, 0 where it is over, -1 where none is reached yet."""
        left = self.expires - at
        if left <= 0:
            return 0
        return min((days for days in WARN_DAYS if left <= days * DAY), default=-1)


class Reviews:
    """What was reviewed and warned about in one home; decisions are only ever added."""

    def __init__(self, database: Database):
        self._database = database

    def add(self, review: Review) -> None:
        """Record a decision."""
        with self._database.writing(rights=False) as done:
            done.execute(
                "INSERT INTO reviews (at, subject, decision, actor, account, reason, findings)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self._database.seconds(), review.subject, review.decision, review.actor, review.account, review.reason,
                 json.dumps(list(review.findings), ensure_ascii=False)),
            )  # fmt: skip

    def list(self, subject: str = "") -> Sequence[Review]:
        """Decisions, newest first."""
        rows = self._database.rows(
            "SELECT * FROM reviews WHERE subject = ? OR ? = '' ORDER BY id DESC", subject, subject
        )
        names = ("subject", "decision", "actor", "account", "reason", "at")
        return [Review(**{name: row[name] for name in names}, findings=json.loads(row["findings"])) for row in rows]

    def newly_due(self, endings: Sequence[Ending], by: str = "") -> Sequence[Ending]:
        """Those that reached a threshold (30, 7, 1 days, over) which nobody was warned about yet; now they are. `by`
        is who warns: each has its own memory."""
        now = self._database.seconds()
        with self._database.writing(rights=False) as done:
            reached = [(one, one.days(now)) for one in endings]
            return [
                one
                for one, days in reached
                if days >= 0
                and done.execute(
                    "INSERT OR IGNORE INTO warned VALUES (?, ?, ?, ?, ?)",
                    (f"{by} {one.subject}" if by else one.subject, one.what, one.expires, days, now),
                ).rowcount
            ]
