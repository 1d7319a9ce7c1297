"""Turns a profile into a draft entry of the data dictionary, for a person to read and correct."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ENUM = 12
_SURE = 0.8
_TYPES = (
    (r"bool", "boolean"), (r"(tiny|small|medium)?int\b|integer|int(8|16|32|64)|bigint|ubigint|uinteger", "bigint"),
    (r"double|float|real", "double"), (r"timestamp.*(with time zone|tz)|timestamptz", "timestamptz"),
    (r"timestamp|datetime", "timestamp"), (r"date\b", "date"), (r"time\b", "time"), (r"blob|bytea|binary", "blob"),
)  # fmt: skip


def draft(profile: Mapping[str, Any], known_unit: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The `datasets` section with one entry: types, required, enums, patterns, units and classes as they seem to be.

    `known_unit` names, by column, units that are accepted; suspected units that are not are left out.
    """
    name = re.sub(r"[^\w]+", "_", profile["dataset"].rpartition(".")[2]) or "dataset"
    keys = profile["keys"]
    entry: dict[str, Any] = {"key": keys[0]} if keys else {}
    whole = not profile["sampled"] and profile["rows"] > 0
    entry["fields"] = {
        column["name"]: _field(column, whole, (known_unit or {}).get(column["name"], ""))
        for column in profile["columns"]
    }
    return {"datasets": {name: entry}}


def _field(column: Mapping[str, Any], whole: bool, unit: str) -> dict[str, Any]:
    field: dict[str, Any] = {"type": _type(column["type"])}
    if column["title"]:
        field["title"] = {"zh" if re.search(r"[\u4e00-\u9fff]", column["title"]) else "en": column["title"]}
    if whole and column["nulls"] == 0:
        field["required"] = True
    if unit:
        field["unit"] = unit
    personal = column["personal"]
    if personal and personal["confidence"] >= 0.5:
        field["class"] = personal["class"]
    elif whole and field["type"] == "string":
        field |= _values(column)
    return field


def _values(column: Mapping[str, Any]) -> dict[str, Any]:
    """The values allowed, if they are few and come often; else the pattern, if all have one."""
    top = column["top"]
    filled = sum(entry["count"] for entry in top)
    if (
        column["distinct_exact"]
        and 1 < column["distinct"] <= min(_ENUM, len(top))
        and filled >= 10 * column["distinct"]
    ):
        return {"enum": sorted(str(entry["value"]) for entry in top)}
    if (
        len(column["patterns"]) == 1
        and column["patterns"][0]["share"] == 1.0
        and "{" not in column["patterns"][0]["pattern"]
    ):
        return {"pattern": _regex(column["patterns"][0]["pattern"])}
    return {}


def _regex(mask: str) -> str:
    """`AA9999` as `^[A-Za-z]{2}[0-9]{4}$`; the mask does not tell small letters where values mix them."""
    parts = []
    for found in re.finditer(r"(.)\1*", mask):
        sign, times = found[1], len(found[0])
        one = {"A": "[A-Z]", "a": "[a-z]", "9": "[0-9]", "中": r"\p{Han}"}.get(sign, re.escape(sign))
        parts.append(one if times == 1 else f"{one}{{{times}}}")
    return f"^{''.join(parts)}$"


def _type(native: str) -> str:
    lowered = native.lower()
    decimal = re.match(r"(?:decimal|numeric)\s*\((\d+)(?:\s*,\s*(\d+))?\)", lowered)
    if decimal and int(decimal[1]) <= 38:
        return f"decimal({decimal[1]},{decimal[2] or 0})"
    if lowered.endswith("]"):
        return "string"
    return next((ours for pattern, ours in _TYPES if re.match(pattern, lowered)), "string")
