"""How a delimited text is written: delimiter, quote, header, and what stands for null."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

DELIMITERS = (",", "\t", ";", "|")
_VALUE = re.compile(
    r"\s*([+-]?[\d.,]*\d[\d.,eE%]*|\d{4}[-/]\d\d?[-/]\d\d?([ T].*)?|true|false|null|na|n/a)\s*", re.IGNORECASE
)


@dataclass(frozen=True)
class Dialect:
    """How a delimited text is written. `quote` and `escape` may be empty: then there is none."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    header: bool = True
    null: tuple[str, ...] = ("",)
    decimal: str = "."
    skip_rows: int = 0
    """Lines above the header (or the first row) that are no data."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a split's spec."""
        return {**asdict(self), "null": list(self.null)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Dialect:
        """The opposite of `to_json`."""
        known = {field.name for field in fields(cls)}
        kept: dict[str, Any] = {k: tuple(v) if k == "null" else v for k, v in values.items() if k in known}
        return cls(**kept)


def detect(text: str, given: dict[str, Any]) -> Dialect:
    """The dialect of a text's beginning; `given` values are kept.

    Delimiter: of `, tab ; |` the one that gives most records the same number of fields, then more fields; one
    column only if none ever gives two. Quote: `'` if fields begin and end with it and none does with `"`. Header:
    absent if a field of the first record is empty where others are not, or looks like a number, date or truth value;
    else present.
    """
    text = "\n".join(text.split("\n")[given.get("skip_rows", 0) :])
    base = Dialect(**{k: v for k, v in given.items() if v is not None})
    quote = base.quote if given.get("quote") is not None else _quote(text)
    delimiter = given.get("delimiter") or _delimiter(text, quote)
    header = given.get("header")
    if header is None:
        first = next(iter(records(text, delimiter, quote, base.escape, 1)), [])
        header = bool(first) and not any(_VALUE.fullmatch(value) for value in first) and any(first)
    return replace(base, delimiter=delimiter, quote=quote, header=header)


def records(text: str, delimiter: str, quote: str, escape: str = "", most: int = 200) -> list[list[str]]:
    """The first records of a text as fields, blank lines left out; for looking at a sample only."""
    options: dict[str, Any] = {"quotechar": quote, "doublequote": True} if quote else {"quoting": csv.QUOTE_NONE}
    if escape:
        options["escapechar"] = escape
    found: list[list[str]] = []
    try:
        for record in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, **options):
            if record:
                found.append(record)
            if len(found) == most:
                break
    except csv.Error:
        pass  # a field beyond the module's limit: what was read so far is the sample
    return found


def _quote(text: str) -> str:
    if "'" not in text:
        return '"'
    double = len(re.findall(r'(?m)(?:^|[,\t;|])"', text))
    single = re.findall(r"(?m)(?:^|[,\t;|])'[^'\n]*'(?=$|[,\t;|\r])", text)
    return "'" if len(single) > 3 and not double else '"'


def _delimiter(text: str, quote: str) -> str:
    best, chosen = (0.0, 0), ","
    for delimiter in DELIMITERS:
        found = records(text, delimiter, quote)
        if len(found) > 1 and not text.endswith("\n"):
            found.pop()
        widths = Counter(len(record) for record in found)
        wide = [(count / len(found), width) for width, count in widths.items() if width > 1]
        if wide and max(wide) > best:
            best, chosen = max(wide), delimiter
    return chosen


def column_names(first: list[str], header: bool) -> list[str]:
    """Column names from the first record: as written; without a header, and for an empty heading, `column_<n>`
    (counting from 1); a repeated heading gets `_2`, `_3`… (the next that is free)."""
    names: list[str] = []
    wanted = {name for name in first if name} if header else set()
    for number, heading in enumerate(first, 1):
        name = heading if header and heading else f"column_{number}"
        candidate, count = name, 2
        while candidate in names or (candidate != name and candidate in wanted):
            candidate, count = f"{name}_{count}", count + 1
        names.append(candidate)
    return names
