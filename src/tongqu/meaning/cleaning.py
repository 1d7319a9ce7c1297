"""Spellings brought to one form: spaces and widths, dates written in many ways, numbers with signs around them.

Everything here takes and gives SQL text in DuckDB's dialect over quoted column names; `parsed` makes the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from tongqu.meaning.surveys import PREFIX

if TYPE_CHECKING:
    from sqlglot import exp

Spelling = Literal["trim", "collapse", "half_width", "full_width", "upper", "lower"]
Order = Literal["dmy", "mdy"]
Levels = list[dict[str, str]]
"""Columns with their SQL; those of a level see the ones of the levels before it."""

SPACES = " \t\n\r\f\v\u00a0\u200b\u3000\ufeff"
"""What counts as space: also the no-break, zero-width and ideographic ones, and the byte order mark."""
_FULL = "".join(chr(0xFF01 + n) for n in range(94)) + "\u3000"
_HALF = "".join(chr(0x21 + n) for n in range(94)) + " "
_SPACE_CLASS = r"[ \t\n\r\f\v\x{00a0}\x{200b}\x{3000}\x{feff}]+"

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NAMES = (
    "(?i:(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|"
    "oct(?:ober)?|nov(?:ember)?|dec(?:ember)?))"
)
_TIME = r"\d{1,2}:\d{1,2}(?::\d{1,2}(?:\.\d{1,6})?)?"
_YEAR = r"([1-9]\d{3})"
_EITHER_YEAR = r"([1-9]\d{3}|\d{2})"
_TWO = r"(\d{1,2})"

UNITS = {"亿": 8, "千万": 7, "百万": 6, "万": 4, "千": 3}
"""Chinese units of number with their powers of ten, longer names first where one ends in another."""
_SIGNS = r"(?:￥|¥|\$|€|£|RMB|CNY|USD|EUR|GBP|JPY|HKD)"
_AFTER = r"(?:元|圆|RMB|CNY|USD|EUR|GBP|JPY|HKD)"


def text(value: str) -> str:
    """An SQL text literal."""
    return "'" + value.replace("'", "''") + "'"


@lru_cache(maxsize=256)
def parsed(sql: str) -> exp.Expr:
    """The tree of SQL text made here; not to be changed in place."""
    import sqlglot

    tree: exp.Expr = sqlglot.parse_one(sql, read="duckdb")
    return tree


def spelled(value: str, actions: Sequence[Spelling]) -> str:
    """The text after the actions, one after the other."""
    for action in actions:
        value = {
            "trim": f"trim({value}, {text(SPACES)})",
            "collapse": f"regexp_replace({value}, {text(_SPACE_CLASS)}, ' ', 'g')",
            "half_width": _translated(value, _FULL, _HALF, r"[\x{ff01}-\x{ff5e}\x{3000}]"),
            "full_width": f"translate({value}, {text(_HALF)}, {text(_FULL)})",
            "upper": f"upper({value})",
            "lower": f"lower({value})",
        }[action]
    return value


def _translated(value: str, old: str, new: str, pattern: str) -> str:
    """`translate` of the texts that need it: looking first is some fifty times faster where few do."""
    made = f"translate({value}, {text(old)}, {text(new)})"
    return f"(CASE WHEN regexp_matches({value}, {text(pattern)}) THEN {made} ELSE {value} END)"


def blank(value: str) -> str:
    """True, never null, for null and for text that is only spaces."""
    return f"(coalesce({spelled(value, ['trim'])}, '') = '')"


def instant(value: str, at: str, order: Order | None, *, excel: bool) -> tuple[Levels, str]:
    """The timestamp that a text spells, or null: columns to compute level by level, and the SQL over them.

    Read are year-month-day with `-`, `/`, `.` or 年月日, `yyyymmdd`, day-month name-year, with `order` also two numbers
    and a year, each with or without a time, and with `excel` serial day numbers of the 1900 calendar. Years of two
    digits below 70 are 20xx. Full width digits are digits.
    """
    source, plain, day, time, ymd = (f"{PREFIX}{part}{at}" for part in ("narrow", "text", "day", "time", "ymd"))
    made = _translated(source, "年月日时点分秒", "-- :::", "[年月日时点分秒]")
    made = f"regexp_replace(trim(regexp_replace({made}, '\\s*-\\s*', '-', 'g')), ':$', '')"
    parts = text(f"^(.*?)(?:[T ]+({_TIME}))?$")
    short = r"'\d{1,2}:\d{1,2}'"
    full = (
        f"CASE WHEN {time} = '' THEN ' 00:00:00' WHEN regexp_full_match({time}, {short}) THEN ' ' || {time} || ':00' "
    )
    full += f"ELSE ' ' || {time} END"
    packed = rf"regexp_replace({plain}, '^(\d{{4}})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)$', '\1-\2-\3 \4:\5:\6')"
    cases = [f"WHEN regexp_full_match({plain}, '[1-9]\\d{{13}}') THEN TRY_CAST({packed} AS TIMESTAMP)"]
    if excel:
        cases.append(f"WHEN regexp_full_match({plain}, '\\d{{1,7}}(\\.\\d+)?') THEN {_serial(plain)}")
    levels = [
        {source: spelled(value, ["half_width", "trim"])},
        {plain: made},
        {day: f"regexp_extract({plain}, {parts}, 1)", time: f"regexp_extract({plain}, {parts}, 2)"},
        {ymd: _calendar_day(day, order)},
    ]
    return levels, f"(CASE {' '.join(cases)} ELSE TRY_CAST({ymd} || ({full}) AS TIMESTAMP) END)"


def _calendar_day(day: str, order: Order | None) -> str:
    """`yyyy-m-d` of a text that spells a day, or null."""
    forms = [
        (rf"{_YEAR}[-/.]{_TWO}[-/.]{_TWO}", r"\1-\2-\3"),
        (r"([1-9]\d{3})(\d\d)(\d\d)", r"\1-\2-\3"),
    ]
    cases = [f"WHEN regexp_full_match({day}, {text(p)}) THEN regexp_replace({day}, {text(f'^{p}$')}, '{r}')"
             for p, r in forms]  # fmt: skip
    named = rf"{_TWO}[-/ .]*{_MONTH_NAMES}[-/ .,]*{_EITHER_YEAR}"
    name = f"lower(left(regexp_extract({day}, {text(f'^{named}$')}, 2), 3))"
    months = " ".join(f"WHEN '{month}' THEN '{number}'" for number, month in enumerate(_MONTHS, start=1))
    cases.append(_in_parts(day, named, (3, f"CASE {name} {months} END", 1)))
    if order is not None:
        numbers = rf"{_TWO}[-/.]{_TWO}[-/.]{_EITHER_YEAR}"
        cases.append(_in_parts(day, numbers, (3, 2, 1) if order == "dmy" else (3, 1, 2)))
    return f"CASE {' '.join(cases)} END"


def _in_parts(day: str, pattern: str, groups: tuple[int, int | str, int]) -> str:
    def group(number: int | str) -> str:
        return number if isinstance(number, str) else f"regexp_extract({day}, {text(f'^{pattern}$')}, {number})"

    year = group(groups[0])
    century = f"CASE WHEN length({year}) = 4 THEN '' WHEN {year} < '70' THEN '20' ELSE '19' END"
    parts = f"({century}) || {year} || '-' || ({group(groups[1])}) || '-' || {group(groups[2])}"
    return f"WHEN regexp_full_match({day}, {text(pattern)}) THEN {parts}"


def _serial(value: str) -> str:
    """The instant of an Excel day number, to the second. Day 60 is 29 February 1900, which never was."""
    number = f"TRY_CAST({value} AS DOUBLE)"
    seconds = f"to_seconds(CAST(round({number} * 86400) AS BIGINT))"
    return (
        f"CASE WHEN {number} >= 1 AND {number} < 60 THEN TIMESTAMP '1899-12-31 00:00:00' + {seconds} "
        f"WHEN {number} >= 61 AND {number} < 2958466 THEN TIMESTAMP '1899-12-30 00:00:00' + {seconds} END"
    )


def day(moment: str) -> str:
    """The date of a timestamp, or null if it is not midnight: a time is not thrown away."""
    return f"(CASE WHEN {moment} = CAST(CAST({moment} AS DATE) AS TIMESTAMP) THEN CAST({moment} AS DATE) END)"


@dataclass(frozen=True)
class Form:
    """How numbers are spelled, see Numbers of the step."""

    thousands: str = ","
    decimal: str = "."
    currency: bool = False
    percent: bool = False
    units: bool = False


def number(value: str, at: str, kind: str, form: Form, *, exact: bool) -> tuple[Levels, str]:
    """The number of type `kind` that a text spells, or null: columns to compute level by level, and SQL over them.

    Thousands separators must stand between groups of three digits. `currency` takes a currency's sign or code before
    or after it, `percent` reads `12%` as 0.12, `units` reads 千 万 百万 千万 亿. With `exact` a value with more digits
    than the type holds is null, else it is rounded as doubles are.
    """
    plain, power, body, digits = (f"{PREFIX}{part}{at}" for part in ("text", "power", "body", "digits"))
    made = spelled(value, ["half_width", "trim"])
    if form.currency:
        made = f"regexp_replace({made}, {text(rf'^([-+]?)[ ]*{_SIGNS}[ ]*')}, '\\1')"
        made = f"regexp_replace({made}, {text(rf'[ ]*{_AFTER}$')}, '')"
    powers = {**(UNITS if form.units else {}), **({"%": -2, "‰": -3} if form.percent else {})}
    ends = " ".join(f"WHEN ends_with({plain}, '{end}') THEN 'e{ten}'" for end, ten in powers.items())
    without = f"regexp_replace({plain}, '[ ]*({'|'.join(powers)})$', '')" if powers else plain
    bare = f"replace({body}, {text(form.thousands)}, '')" if form.thousands else body
    bare = f"replace({bare}, {text(form.decimal)}, '.')" if form.decimal != "." else bare
    mark, point = _class(form.thousands), _class(form.decimal)
    whole = rf"(\d{{1,3}}(?:{mark}\d{{3}})+|\d+)" if form.thousands else r"(\d+)"
    pattern = rf"[-+]?(?:{whole}(?:{point}\d+)?|{point}\d+)"
    if exact:
        bounded = f"regexp_full_match({digits}, '[-+]?\\d{{0,18}}(?:\\.\\d{{1,9}})?')"
        wide = f"TRY_CAST({digits} || {power} AS DECIMAL(38, 12))"
        found = f"CASE WHEN {bounded} AND TRY_CAST({wide} AS {kind}) = {wide} THEN TRY_CAST({wide} AS {kind}) END"
    else:
        found = f"TRY_CAST({digits} || {power} AS {kind})"
    levels = [
        {plain: made},
        {power: f"CASE {ends} ELSE '' END" if ends else "''", body: without},
        {digits: f"CASE WHEN regexp_full_match({body}, {text(pattern)}) THEN {bare} END"},
    ]
    return levels, f"({found})"


def _class(sign: str) -> str:
    return "[" + sign.replace("\\", r"\\").replace("]", r"\]").replace("^", r"\^") + "]"
