"""Looks at differing rows value by value: which columns differ, and whether they do where texts prove nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tongqu.catalog.agreement import Agreement
from tongqu.catalog.reconcile import Found, Pair
from tongqu.core.compare import Canon, Form

_EXAMPLES = 20
_SAMPLE = 100


@dataclass
class Seen:
    """Some differing rows in full, and how often each column (by the left's name) differs in those looked at."""

    examples: list[dict[str, Any]] = field(default_factory=list)
    columns: Counter[str] = field(default_factory=Counter)
    looked_at: int = 0


def verified(pair: Pair, agreement: Agreement, found: Found, seen: Seen) -> tuple[Found, int]:
    """What is found without the rows that are equal as values (JSON, floats within the tolerance), and their number.

    Where every difference is real, only as many rows are looked at as examples need.
    """
    soft = bool(agreement.soft)
    room = _EXAMPLES - len(seen.examples)
    asked = found.different if soft else found.different.slice(0, max(room, 0))
    if not asked.num_rows or pair.bag:
        _others(pair, found, seen)
        return found, 0
    names = list(pair.names)
    both = _side_by_side(pair, asked)
    equal = []
    for row in both.to_pylist():
        differing = _differing(agreement.left.columns, row)
        if not differing:
            equal.append({name: row[name] for name in names})
            continue
        seen.looked_at += 1
        seen.columns.update(name for name, _, _ in differing)
        if len(seen.examples) < _EXAMPLES:
            values = {name: {"left": left, "right": right} for name, left, right in differing}
            seen.examples.append({"key": [row[name] for name in names], "kind": "different", "columns": values})
    _others(pair, found, seen)
    if not equal:
        return found, 0
    keys = pa.Table.from_pylist(equal, schema=found.different.schema)
    rest = found.different.join(keys, keys=names, join_type="left anti")
    return Found(found.missing, found.extra, rest), keys.num_rows


def unstable(pair: Pair, agreement: Agreement) -> list[str]:
    """JSON columns (by the left's name) whose texts differ on both sides although the values are equal, in a sample:
    their sums would say that everything differs."""
    numbers = [n for n, column in enumerate(agreement.left.columns) if column.form is Form.JSON]
    if not numbers or pair.bag:
        return []
    both = _side_by_side(pair, pair.left.some(_SAMPLE))
    found = []
    for number in numbers:
        texts = [(row[f"c{number}"], row[f"c{number}_right"]) for row in both.to_pylist()]
        if any(left != right and _same_json(left, right) for left, right in texts):
            found.append(agreement.left.columns[number].name)
    return found


def _side_by_side(pair: Pair, keys: pa.Table) -> pa.Table:
    names = list(pair.names)
    left, right = pair.both(lambda side: side.texts_of(keys))
    return left.join(right, keys=names, right_suffix="_right", join_type="inner")


def _others(pair: Pair, found: Found, seen: Seen) -> None:
    """Keys that only one side has, as examples."""
    for kind, keys in (("missing", found.missing), ("extra", found.extra)):
        for row in keys.slice(0, max(_EXAMPLES - len(seen.examples), 0)).to_pylist():
            example = {"key": [row[name] for name in pair.names], "kind": kind}
            seen.examples.append(example | ({"times": row["times"]} if "times" in row else {}))


def _differing(columns: Sequence[Canon], row: dict[str, Any]) -> list[tuple[str, str | None, str | None]]:
    found = []
    for number, column in enumerate(columns):
        left, right = row[f"c{number}"], row[f"c{number}_right"]
        if left != right and not _alike(column, left, right):
            found.append((column.name, left, right))
    return found


def _alike(column: Canon, left: str | None, right: str | None) -> bool:
    if left is None or right is None:
        return False
    if column.form is Form.JSON:
        return _same_json(left, right)
    return column.form is Form.FLOAT and _same_float(float(left), float(right), column.tolerance)


def _same_float(left: float, right: float, tolerance: float) -> bool:
    return left == right or abs(left - right) <= tolerance


def _same_json(left: str | None, right: str | None) -> bool:
    if left is None or right is None:
        return left is right
    try:
        return bool(_strict(json.loads(left)) == _strict(json.loads(right)))
    except ValueError:
        return False


def _strict(value: Any) -> Any:
    """A JSON value in which `true` is not 1."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    return (type(value) is bool, value)
