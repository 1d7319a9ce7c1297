"""What the cells `rule` and `code map` of a mapping sheet mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_RULES = {
    "required": ("required", "必填"), "unique": ("unique", "唯一"), "type": ("type", "类型"),
    "min": ("min", "最小", "最小值"), "max": ("max", "最大", "最大值"), "pattern": ("pattern", "模式", "格式"),
    "enum": ("enum", "枚举", "取值"),
}  # fmt: skip
_FLAGS = ("required", "unique")
_BETWEEN = re.compile(r"\s*[;；\n]\s*")
_ARROW = re.compile(r"\s*(?:=>|->|→|=)\s*")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def rules_of(text: str) -> dict[str, Any]:
    """`required; type=decimal(12,3); min=0; max=500; enum=A|B; pattern=^L\\d+$` (必填; 类型=…) as rules of a check;
    raises ValueError. Parts are separated by `;` or line ends."""
    words = {word: key for key, names in _RULES.items() for word in names}
    found: dict[str, Any] = {}
    for part in filter(None, _BETWEEN.split(text.strip())):
        name, given, value = (piece.strip() for piece in part.partition("="))
        key = words.get(name.lower())
        if key is None:
            raise ValueError(f"unknown rule {name!r}; rules: {', '.join(_RULES)}")
        if key in found:
            raise ValueError(f"the rule {name!r} comes twice")
        if key in _FLAGS:
            if given:
                raise ValueError(f"{name} takes no value")
            found[key] = True
        elif not value:
            raise ValueError(f"{name} needs a value: {name}=…")
        elif key == "enum":
            found[key] = [piece.strip() for piece in re.split(r"[|｜]", value)]
        else:
            found[key] = _number(value) if key in ("min", "max") else value
    return found


def _number(text: str) -> Any:
    if not _NUMBER.fullmatch(text):
        return text
    return int(text) if text.lstrip("-").isdigit() else float(text)


def codes_of(text: str, lists: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """`1=开; 2=关` (also `→`) as the map of a code_map step; `*=其他` is the default for all others. The name of a
    code list's sheet in the workbook, a CSV file (`codes/status.csv`) or a code list of the dictionary
    (`inspection.status`) may stand instead. Raises ValueError."""
    plain = text.strip()
    if plain in lists:
        return {"map": dict(lists[plain])}
    if not _ARROW.search(plain):
        if plain.lower().endswith(".csv"):
            return {"file": plain}
        if re.fullmatch(r"[^\s.;]+\.[^\s.;]+", plain):
            return {"codes": plain}
        raise ValueError(f"{plain!r} is neither a map (1=open; 2=closed) nor a code list")
    pairs: dict[str, str] = {}
    for part in filter(None, _BETWEEN.split(plain)):
        pieces = _ARROW.split(part, maxsplit=1)
        if len(pieces) != 2:
            raise ValueError(f"{part!r} maps to nothing")
        if pieces[0] in pairs:
            raise ValueError(f"the code {pieces[0]!r} comes twice")
        pairs[pieces[0]] = pieces[1]
    found: dict[str, Any] = {}
    if "*" in pairs:
        found["default"] = pairs.pop("*")
    if not pairs:
        raise ValueError("the map is empty")
    return {"map": pairs, **found}
