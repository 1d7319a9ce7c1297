"""What is different between two assessments: scores, scenarios, findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tongqu.core.errors import InvalidSettingsError


def compared(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The differences of two assessments' documents (see `Assessment.to_json`): `score`, `axes` and `checks` with both
    values, `scenarios` whose state changed, `findings` that are `new` or `gone`. Raises InvalidSettingsError if the old
    one is no assessment."""
    if not isinstance(old.get("axes"), Mapping) or not isinstance(old.get("checks"), list):
        raise InvalidSettingsError(
            "this is no assessment", path="--against", hint="give the JSON that an assessment wrote"
        )
    before, after = _findings(old), _findings(new)
    return {
        "against": {"title": old.get("interface", {}).get("title", ""), "at": old.get("at", "")},
        "score": {"old": old.get("score"), "new": new.get("score")},
        "axes": {
            axis: {"old": old["axes"].get(axis, {}).get("score"), "new": value["score"]}
            for axis, value in new["axes"].items()
        },
        "checks": _checks(old, new),
        "scenarios": _scenarios(old, new),
        "findings": {
            "new": [value for key, value in after.items() if key not in before],
            "gone": [value for key, value in before.items() if key not in after],
        },
    }


def _checks(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    before = {one["id"]: one["score"] for one in old["checks"]}
    after = {one["id"]: one["score"] for one in new["checks"]}
    return [
        {"id": id, "old": before.get(id), "new": after.get(id)}
        for id in (*after, *(id for id in before if id not in after))
        if before.get(id) != after.get(id)
    ]


def _scenarios(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    before, after = _states(old), _states(new)
    return [
        {
            "checklist": key[0],
            "scenario": key[1],
            "title": after[key][1],
            "old": before.get(key, ("—",))[0],
            "new": after[key][0],
        }
        for key in after
        if key in before and before[key][0] != after[key][0]
    ]


def _states(document: Mapping[str, Any]) -> dict[tuple[str, str], tuple[str, Any]]:
    return {
        (one["checklist"], each["scenario"]): (each["state"], each["title"])
        for one in document.get("coverage", ())
        for each in one["scenarios"]
    }


def _findings(document: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """Findings by what they are about; numbers in them may differ."""
    found: dict[tuple[str, ...], Any] = {}
    for one in document.get("findings", ()):
        params = one.get("params", {})
        about = str(params.get("scenario") or params.get("operation") or params.get("proof") or "")
        found[(one["id"], about)] = one
    return found
