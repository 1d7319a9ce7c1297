"""What changed between two profiles of a dataset: rows, columns, types, emptiness, ranges, values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHARE = 0.05
"""Shares that moved by less than this are the same."""
_ROWS = 0.2


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The changes from one profile's document to a later one's, each with `column` (empty: the dataset), `what`, `old`
    and `new`, in the order of the columns."""
    found: list[dict[str, Any]] = []
    if abs(new["rows"] - old["rows"]) > _ROWS * max(old["rows"], 1):
        found.append(_change("", "rows", old["rows"], new["rows"]))
    if old["keys"] != new["keys"]:
        found.append(_change("", "keys", old["keys"], new["keys"]))
    before = {column["name"]: column for column in old["columns"]}
    after = {column["name"]: column for column in new["columns"]}
    found += [_change(name, "dropped", column["type"], None) for name, column in before.items() if name not in after]
    for name, column in after.items():
        if name not in before:
            found.append(_change(name, "added", None, column["type"]))
        else:
            found += _column(name, before[name], column, (old["rows"], new["rows"]))
    return found


def _column(name: str, old: Mapping[str, Any], new: Mapping[str, Any], rows: tuple[int, int]) -> list[dict[str, Any]]:
    found = []
    if old["type"] != new["type"]:
        found.append(_change(name, "type", old["type"], new["type"]))
    empty = [round(column["nulls"] / max(count, 1), 4) for column, count in zip((old, new), rows, strict=True)]
    if abs(empty[0] - empty[1]) > _SHARE or (empty[0] == 0) != (empty[1] == 0):
        found.append(_change(name, "nulls", empty[0], empty[1]))
    found += _numbers(name, old, new)
    for what in ("patterns", "top"):
        found += _shares(name, what, _of(old, what, rows[0]), _of(new, what, rows[1]))
    if old["distinct_exact"] and new["distinct_exact"] and 1 < new["distinct"] <= 50 and old["distinct"] <= 50:
        gone, come = _values(old) - _values(new), _values(new) - _values(old)
        if gone or come:
            found.append(_change(name, "values", sorted(gone), sorted(come)))
    for what in ("personal", "unit"):
        if _value(old[what]) != _value(new[what]):
            found.append(_change(name, what, _value(old[what]), _value(new[what])))
    return found


def _numbers(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A mean that moved by a quarter of a standard deviation, and a range that grew by as much as its half."""
    if not all(isinstance(column.get("mean"), int | float) for column in (old, new)):
        return []
    found = []
    spread = old.get("deviation") or 0.0
    if isinstance(spread, int | float) and abs(new["mean"] - old["mean"]) > max(spread / 4, abs(old["mean"]) * 1e-9):
        found.append(_change(name, "mean", old["mean"], new["mean"]))
    try:
        ends = [float(column[end]) for column in (old, new) for end in ("min", "max")]
    except (TypeError, ValueError):
        return found
    width = max(ends[1] - ends[0], abs(ends[1]) * 1e-9)
    if ends[0] - ends[2] > width / 2 or ends[3] - ends[1] > width / 2:
        found.append(_change(name, "range", [old["min"], old["max"]], [new["min"], new["max"]]))
    return found


def _of(column: Mapping[str, Any], what: str, rows: int) -> dict[str, float]:
    if what == "patterns":
        return {entry["pattern"]: entry["share"] for entry in column["patterns"]}
    if column["top_sampled"] or column["distinct"] > 50:
        return {}
    filled = max(rows - column["nulls"], 1)
    return {str(entry["value"]): entry["count"] / filled for entry in column["top"]}


def _shares(name: str, what: str, old: Mapping[str, float], new: Mapping[str, float]) -> list[dict[str, Any]]:
    """Patterns or values whose share moved."""
    if not old or not new:
        return []
    moved = [entry for entry in {**old, **new} if abs(old.get(entry, 0) - new.get(entry, 0)) > _SHARE]
    if not moved:
        return []
    before, after = ({entry: round(side.get(entry, 0), 4) for entry in moved} for side in (old, new))
    return [_change(name, what, before, after)]


def _values(column: Mapping[str, Any]) -> set[str]:
    return {str(entry["value"]) for entry in column["top"]} if len(column["top"]) >= column["distinct"] else set()


def _value(suspicion: Mapping[str, Any] | None) -> Any:
    return suspicion["value"] if suspicion else None


def _change(column: str, what: str, old: Any, new: Any) -> dict[str, Any]:
    return {"column": column, "what": what, "old": old, "new": new}
