"""What an assessment is made of: checks with a score, findings with a severity, and the evidence of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SEVERITIES = ("high", "medium", "low", "info")
AXES = ("business", "technical", "security")


@dataclass(frozen=True)
class Evidence:
    """Where it can be seen: a path in the document (`#/paths/…`), or a call that was made (`GET /orders → 200`)."""

    place: str
    kind: str = "document"
    """`document` or `call`."""

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return {"kind": self.kind, "place": self.place}


@dataclass(frozen=True)
class Finding:
    """Something that somebody should know before buying. `id` names its text, `params` fill it."""

    id: str
    axis: str
    severity: str
    params: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "id": self.id,
            "axis": self.axis,
            "severity": self.severity,
            "params": dict(self.params),
            "evidence": [one.to_json() for one in self.evidence],
        }


@dataclass(frozen=True)
class Check:
    """One measured property. `score` is 0 to 1; None means that nothing was there to measure it by."""

    id: str
    axis: str
    weight: float
    score: float | None
    params: Mapping[str, Any] = field(default_factory=dict)
    """The numbers it rests on."""
    evidence: tuple[Evidence, ...] = ()
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "id": self.id,
            "axis": self.axis,
            "weight": self.weight,
            "score": None if self.score is None else round(self.score, 4),
            "params": dict(self.params),
            "evidence": [one.to_json() for one in self.evidence],
        }


def found(
    id: str, axis: str, severity: str, places: tuple[str, ...] = (), kind: str = "document", **params: Any
) -> Finding:
    """A finding with up to ten places."""
    return Finding(id, axis, severity, params, tuple(Evidence(one, kind) for one in places[:10]))
