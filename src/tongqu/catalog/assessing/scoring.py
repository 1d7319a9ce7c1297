"""Puts an assessment together: weights, scores of the axes, findings in order, everything as one document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.catalog.assessing.findings import AXES, SEVERITIES, Check, Evidence, Finding, found
from tongqu.catalog.assessing.measured import Measured
from tongqu.catalog.assessing.path_keys import path_keys
from tongqu.catalog.assessing.scenarios import Coverage, Verdict
from tongqu.catalog.assessing.security import security
from tongqu.catalog.assessing.shapes import Interface
from tongqu.catalog.assessing.technical import technical
from tongqu.catalog.assessing.vendor_evidence import Given

WEIGHTS: Mapping[str, float] = {"business": 0.4, "technical": 0.35, "security": 0.25}
"""What an axis counts for in the whole."""


@dataclass(frozen=True)
class Assessment:
    """A vendor's interface, judged. Scores are 0 to 100 with one decimal; None where nothing was measured."""

    interface: Interface
    checks: tuple[Check, ...]
    coverages: tuple[Coverage, ...]
    findings: tuple[Finding, ...]
    measured: Measured | None = None
    vendor: tuple[Given, ...] = ()
    scores: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """The weighted mean of the axes that were measured."""
        there = {axis: score for axis, score in self.scores.items() if score is not None}
        whole = sum(WEIGHTS[axis] for axis in there)
        return round(sum(score * WEIGHTS[axis] for axis, score in there.items()) / whole, 1) if whole else None

    def to_json(self) -> dict[str, Any]:
        """Plain values, the same for the same document and measurements."""
        counts = {level: sum(one.severity == level for one in self.findings) for level in SEVERITIES}
        return {
            "interface": {
                "title": self.interface.title,
                "version": self.interface.version,
                "protocol": self.interface.protocol,
                "document": self.interface.where,
                "operations": len(self.interface.operations),
                "fields": sum(len(shape.members) for shape in self.interface.shapes()),
            },
            "score": self.score,
            "axes": {axis: {"score": self.scores[axis], "weight": WEIGHTS[axis]} for axis in AXES},
            "coverage": [_coverage(one) for one in self.coverages],
            "checks": [one.to_json() for one in self.checks],
            "findings": [one.to_json() for one in self.findings],
            "severities": counts,
            "vendor": [one.to_json() for one in self.vendor],
            "calls": [
                {"operation": one.operation, "status": one.status, "ms": [round(s * 1000, 1) for s in one.seconds],
                 "deviations": [{"path": path, "what": what} for path, what in one.deviations]}
                for one in (self.measured.calls if self.measured else ())
            ],
        }  # fmt: skip


def assess(
    interface: Interface,
    coverages: Sequence[Coverage],
    measured: Measured | None = None,
    vendor: Sequence[Given] = (),
) -> Assessment:
    """Judge an interface. An axis is the weighted mean of its checks that could be measured; the business axis is the
    mean of its checklists, and not measured without one."""
    keys = path_keys(interface).union(*(one.key_places for one in coverages))
    business = [
        Check(f"coverage.{one.checklist}", "business", 1, one.score, _counts(one), (), tuple(_missing(one)))
        for one in coverages
    ]
    checks = (*business, *technical(interface, measured, keys), *security(interface, measured))
    findings = [note for check in checks for note in check.findings]
    findings += [found("vendor.missing", "business", "low", (), proof=one.kind) for one in vendor if not one.given]
    findings.sort(key=lambda one: (SEVERITIES.index(one.severity), AXES.index(one.axis)))
    scores = {axis: _mean([one for one in checks if one.axis == axis]) for axis in AXES}
    return Assessment(interface, checks, tuple(coverages), tuple(findings), measured, tuple(vendor), scores)


def _mean(checks: Sequence[Check]) -> float | None:
    there = [one for one in checks if one.score is not None]
    whole = sum(one.weight for one in there)
    return round(100 * sum((one.score or 0.0) * one.weight for one in there) / whole, 1) if whole else None


def _counts(coverage: Coverage) -> dict[str, int]:
    states = [one.state for one in coverage.verdicts]
    return {"count": len(states), **{state: states.count(state) for state in ("covered", "partial", "missing")}}


def _missing(coverage: Coverage) -> list[Finding]:
    notes = []
    for one in coverage.verdicts:
        if one.state == "missing":
            notes.append(
                found("scenario.missing", "business", "high", (), title=dict(one.title), scenario=one.scenario)
            )
        elif one.state == "partial":
            places = (one.place,) if one.place else ()
            notes.append(
                found(
                    "scenario.partial", "business", "medium", places,
                    title=dict(one.title), scenario=one.scenario, operation=one.operation, lacks=", ".join(one.lacks),
                )
            )  # fmt: skip
    return notes


def _coverage(one: Coverage) -> dict[str, Any]:
    return {
        "checklist": one.checklist,
        "title": dict(one.title),
        "score": round(100 * one.score, 1),
        **_counts(one),
        "scenarios": [_verdict(verdict) for verdict in one.verdicts],
    }


def _verdict(one: Verdict) -> dict[str, Any]:
    return {
        "scenario": one.scenario,
        "title": dict(one.title),
        "weight": one.weight,
        "state": one.state,
        "operation": one.operation,
        "evidence": [Evidence(one.place).to_json()] if one.place else [],
        "because": list(one.because),
        "fields": {name: {"field": f.path, "place": f.place, "why": f.why} for name, f in one.fields.items()},
        "lacks": list(one.lacks),
    }
