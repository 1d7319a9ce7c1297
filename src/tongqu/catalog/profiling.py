"""Profiles a dataset: types, nulls, distinct values, ranges, top values, patterns, keys, and what columns may mean.

Two looks: one pass over all rows for what can be counted on the way (distinct values approximately, HyperLogLog), and
a sample for quantiles, patterns and the top values of columns with many distinct ones. What is approximate says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pyarrow as pa

from tongqu.catalog.suspicions import personal, unit
from tongqu.catalog.value_kinds import kinds_of
from tongqu.core.data import Dataset, Meta
from tongqu.core.scan import Scan

_SAMPLE = "_tongqu_sample"
_SAMPLED = 20_000
_WHOLE = 50_000
"""Tables of up to so many rows are looked at whole instead of by a sample."""
_COUNTED = 5_000
"""Columns with about so many distinct values at most have them counted exactly."""
_AT_ONCE = 60
"""Columns in one statement."""
_KINDS_OF = 500
_LONGEST = 200
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_FROM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_TO = "A" * 26 + "a" * 26 + "9" * 10


@dataclass
class Column:
    """One column's profile. Values of `least`, `greatest` and `top` are numbers, booleans or text."""

    name: str
    type: str
    kind: str
    """DuckDB's name of the type."""
    title: str = ""
    nulls: int = 0
    distinct: int = 0
    exact: bool = True
    least: Any = None
    greatest: Any = None
    numbers: dict[str, Any] = field(default_factory=dict)
    """Mean, standard deviation, quantiles; for text the lengths and how many are empty."""
    top: list[dict[str, Any]] = field(default_factory=list)
    top_sampled: bool = False
    patterns: list[dict[str, Any]] = field(default_factory=list)
    kinds: dict[str, float] = field(default_factory=dict)
    unit: dict[str, Any] | None = None
    personal: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The contract's keys, then ours."""
        return {
            "name": self.name, "type": self.type, "nulls": self.nulls, "distinct": self.distinct, "min": self.least,
            "max": self.greatest, "top": self.top, "patterns": self.patterns, "title": self.title,
            "distinct_exact": self.exact, "top_sampled": self.top_sampled, "kinds": self.kinds, **self.numbers,
            "unit": self.unit, "personal": self.personal,
        }  # fmt: skip


@dataclass
class Profile:
    """A dataset's profile; `sampled` tells that `rows` are not all of its rows."""

    dataset: str
    rows: int
    columns: list[Column]
    keys: list[list[str]]
    sampled: bool = False
    unreadable: int = 0

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return {
            "dataset": self.dataset,
            "rows": self.rows,
            "sampled": self.sampled,
            "unreadable": self.unreadable,
            "keys": self.keys,
            "columns": [column.to_json() for column in self.columns],
        }


def profile(scan: Scan, dataset: Dataset, *, sample: int | None = None, top: int = 10) -> Profile:
    """The profile of what the scan shows, or of about `sample` of its rows; `top` values a column.

    Blocking; a few statements of DuckDB, which uses all processors.
    """
    looking = _Looking(scan, dataset, top)
    return looking.profile(sample)


class _Looking:
    def __init__(self, scan: Scan, dataset: Dataset, top: int):
        self._connection, self._relation, self._scan = scan.connection, scan.relation, scan
        self._dataset, self._top = dataset, top
        self._rows = 0
        self._sampled_rows = 0

    def profile(self, sample: int | None) -> Profile:
        sampled = self._scan.sampled
        if sample is not None and not sampled:
            sampled = self._cut(sample)
        described = {name: kind for name, kind, *_ in self._ask(f"DESCRIBE FROM {self._relation}")}
        columns = [_column(name, described[name], self._dataset) for name in described]
        for start in range(0, len(columns), _AT_ONCE):
            self._count(columns[start : start + _AT_ONCE], described)
        self._take_sample()
        self._quantiles([column for column in columns if _number(column.kind)])
        for column in columns:
            self._values(column, described[column.name])
        keys = self._keys(columns)
        for column in columns:
            _suspect(column)
        return Profile(self._dataset.name, self._rows, columns, keys, sampled, self._scan.unreadable)

    def _ask(self, sql: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        return found

    def _cut(self, rows: int) -> bool:
        """Look at a random sample of so many rows from now on."""
        total = int(self._ask(f"SELECT count(*) FROM {self._relation}")[0][0])
        if total <= rows:
            return False
        sampled = f"FROM {self._relation} USING SAMPLE {rows} ROWS (reservoir, 42)"
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE _tongqu_cut AS {sampled}")
        self._relation = "_tongqu_cut"
        return True

    # ---- all rows

    def _count(self, columns: Sequence[Column], types: Mapping[str, str]) -> None:
        """Fill in what one pass over the rows tells."""
        wanted = [_measures(column.name, types[column.name]) for column in columns]
        listed = ", ".join(sql for measures in wanted for sql in measures.values())
        found = list(self._ask(f"SELECT count(*), {listed} FROM {self._relation}")[0])
        self._rows = int(found.pop(0))
        for column, measures in zip(columns, wanted, strict=True):
            values = dict(zip(measures, found[: len(measures)], strict=True))
            del found[: len(measures)]
            column.nulls = self._rows - int(values.pop("filled"))
            column.distinct = min(int(values.pop("distinct")), self._rows - column.nulls)
            column.exact = column.distinct == 0
            kind = types[column.name]
            column.least, column.greatest = (_plain(values.pop(name, None), kind) for name in ("least", "greatest"))
            column.numbers = {name: _finite(value) for name, value in values.items()}

    # ---- values

    def _take_sample(self) -> None:
        share = 100 * _SAMPLED / max(self._rows, 1)
        sampling = "" if self._rows <= _WHOLE else f" USING SAMPLE {share:.6f}% (bernoulli, 42)"
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {_SAMPLE} AS FROM {self._relation}{sampling}")
        self._sampled_rows = int(self._ask(f"SELECT count(*) FROM {_SAMPLE}")[0][0])

    def _quantiles(self, columns: Sequence[Column]) -> None:
        """Fill in quantiles, from the sample: exact where that is the whole table."""
        if not columns:
            return
        shares = ", ".join(map(str, _QUANTILES))
        asked = []
        for column in columns:
            value = f"CAST({_quoted(column.name)} AS DOUBLE)"
            asked.append(f"quantile_cont({value}, [{shares}]) FILTER (isfinite({value}))")
        for column, found in zip(columns, self._ask(f"SELECT {', '.join(asked)} FROM {_SAMPLE}")[0], strict=True):
            if found:
                named = zip(_QUANTILES, found, strict=True)
                column.numbers["quantiles"] = {f"p{round(share * 100)}": value for share, value in named}

    def _values(self, column: Column, kind: str) -> None:
        """Fill in the top values, exact distinct counts where they are cheap, and patterns of text."""
        name = _quoted(column.name)
        filled = self._rows - column.nulls
        if not filled:
            return
        few = column.distinct <= _COUNTED
        table = self._relation if few else _SAMPLE
        shown = name if _simple(kind) else f"CAST({name} AS VARCHAR)"
        found = self._ask(
            f"SELECT CAST({shown} AS VARCHAR), n, count(*) OVER () FROM (SELECT {name}, count(*) AS n FROM {table} "
            f"WHERE {name} IS NOT NULL GROUP BY 1) ORDER BY n DESC, 1 LIMIT {self._top}"
        )
        if few:
            column.distinct, column.exact = int(found[0][2]) if found else 0, True
        elif column.distinct >= 0.9 * filled and column.nulls == 0 and _may_be_key(kind):
            one = f"hash({name})" if kind == "VARCHAR" else name  # two texts of one hash only hide a candidate key
            column.distinct = int(self._ask(f"SELECT count(DISTINCT {one}) FROM {self._relation}")[0][0])
            column.exact = kind != "VARCHAR" or column.distinct == filled
        column.top_sampled = not few and self._sampled_rows < self._rows
        if column.distinct < filled or self._sampled_rows == self._rows:
            column.top = [{"value": _plain(value, kind), "count": int(n)} for value, n, _ in found]
        if kind == "VARCHAR":
            self._patterns(column, name)
        elif kind in ("BIGINT", "INTEGER", "HUGEINT") and column.least is not None:
            column.kinds = _numeric_kinds(kinds_of(self._sample_of(name)))

    def _patterns(self, column: Column, name: str) -> None:
        masked = f"translate(left(v, 64), '{_FROM}', '{_TO}')"
        mask = (
            f"CASE WHEN strlen(v) = length(v) THEN {masked} ELSE regexp_replace({masked}, '\\p{{Han}}', '中', 'g') END"
        )
        found = self._ask(
            f"SELECT {mask} AS m, sum(n) AS n, sum(sum(n)) OVER () FROM (SELECT {name} AS v, count(*) AS n "
            f"FROM {_SAMPLE} WHERE {name} IS NOT NULL GROUP BY v) GROUP BY m ORDER BY 2 DESC, m LIMIT 8"
        )
        column.patterns = [
            {"pattern": _short(m), "share": round(int(n) / int(total), 4)} for m, n, total in found if n / total >= 0.01
        ]
        column.kinds = kinds_of(self._sample_of(name))

    def _sample_of(self, name: str) -> list[tuple[str, int]]:
        return [
            (str(value).strip(), int(n))
            for value, n in self._ask(
                f"SELECT CAST({name} AS VARCHAR), count(*) AS n FROM {_SAMPLE} WHERE {name} IS NOT NULL GROUP BY 1 "
                f"ORDER BY n DESC, hash(CAST({name} AS VARCHAR)) LIMIT {_KINDS_OF}"
            )
        ]

    # ---- keys

    def _keys(self, columns: Sequence[Column]) -> list[list[str]]:
        """Single columns that identify a row; if there is none, pairs that do (checked on all rows)."""
        if not self._rows:
            return []
        able = [c for c in columns if c.nulls == 0 and c.distinct > 0 and _may_be_key(c.kind)]
        single = [[c.name] for c in able if c.exact and c.distinct == self._rows]
        if single or self._rows < 2:
            return single
        good = sorted((c for c in able if c.distinct > 1), key=lambda c: -c.distinct)[:8]
        pairs = [(a, b) for a, b in combinations(good, 2) if a.distinct * b.distinct >= 0.9 * self._rows]
        found = []
        for a, b in pairs[:10]:
            both = f"{_quoted(a.name)}, {_quoted(b.name)}"
            if self._unique(both, _SAMPLE, self._sampled_rows) and self._unique(both, self._relation, self._rows):
                found.append([a.name, b.name])
        return found

    def _unique(self, columns: str, table: str, rows: int) -> bool:
        return int(self._ask(f"SELECT count(*) FROM (SELECT DISTINCT {columns} FROM {table})")[0][0]) == rows


# ---- one column


def _column(name: str, kind: str, dataset: Dataset) -> Column:
    known = dataset.schema.field(name) if name in dataset.schema.names else pa.field(name, pa.string())
    meta = {key.decode(): value.decode() for key, value in (known.metadata or {}).items()}
    native = meta.get(Meta.NATIVE, "").partition(":")[2]
    return Column(name, native or kind.lower(), kind, meta.get(Meta.TITLE, ""))


def _measures(name: str, kind: str) -> dict[str, str]:
    """What is asked of a column in the one pass, by what it is called afterwards."""
    column = _quoted(name)
    if _nested(kind):
        column = f"CAST({column} AS VARCHAR)"
    asked = {"filled": f"count({column})", "distinct": f"approx_count_distinct({column})"}
    if kind == "BLOB":
        return asked | {"longest": f"max(octet_length({column}))"}
    if kind == "VARCHAR":
        asked |= {"least": f"left(min({column}), {_LONGEST})", "greatest": f"left(max({column}), {_LONGEST})"}
        return asked | {"shortest": f"min(length({column}))", "longest": f"max(length({column}))",
                        "empty": f"count(*) FILTER ({column} = '')"}  # fmt: skip
    asked |= {"least": f"CAST(min({column}) AS VARCHAR)", "greatest": f"CAST(max({column}) AS VARCHAR)"}
    if not _number(kind):
        return asked
    finite = f" FILTER (isfinite({column}))" if kind in ("FLOAT", "DOUBLE") else ""
    return asked | {
        "mean": f"CAST(avg({column}){finite} AS DOUBLE)",
        "deviation": f"CAST(stddev_samp(CAST({column} AS DOUBLE)){finite} AS DOUBLE)",
        "negative": f"count(*) FILTER ({column} < 0)",
        "zero": f"count(*) FILTER ({column} = 0)",
    }


def _suspect(column: Column) -> None:
    numbers = column.numbers
    median = (numbers.get("quantiles") or {}).get("p50")
    if "mean" in numbers:
        found = unit(column.name, column.title, _float(column.least), median, _float(column.greatest))
        column.unit = found.to_json() if found else None
    suspected = personal(column.name, column.title, column.kinds)
    if suspected:
        column.personal = suspected[0].to_json() | {"class": suspected[1]}


def _numeric_kinds(kinds: Mapping[str, float]) -> dict[str, float]:
    """Of whole numbers only what a number can well be."""
    return {
        name: share for name, share in kinds.items() if name in ("mobile", "id_card", "date_compact") and share > 0.9
    }


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _number(kind: str) -> bool:
    whole = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
    return kind in (*whole, *(f"U{name}" for name in whole), "FLOAT", "DOUBLE") or kind.startswith("DECIMAL")


def _nested(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION"))


def _may_be_key(kind: str) -> bool:
    """Whole numbers, text, moments; amounts and measurements are unique by accident."""
    return not _nested(kind) and kind not in ("FLOAT", "DOUBLE", "BLOB") and not kind.startswith("DECIMAL")


def _simple(kind: str) -> bool:
    return kind != "BLOB"


def _plain(value: str | None, kind: str) -> Any:
    """A value's text as JSON has it: whole numbers, doubles and booleans as such, everything else as text."""
    if value is None:
        return None
    if kind == "BOOLEAN":
        return value == "true"
    if _number(kind) and kind not in ("FLOAT", "DOUBLE") and not kind.startswith("DECIMAL"):
        return int(value)
    if kind in ("FLOAT", "DOUBLE"):
        return _finite(float(value))
    return value[:_LONGEST]


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _float(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _short(mask: str) -> str:
    """A long mask with its runs counted: `A{3}-9{18}`."""
    if len(mask) <= 24:
        return mask
    shown, run = "", 1
    for at, sign in enumerate(mask):
        if at + 1 < len(mask) and mask[at + 1] == sign:
            run += 1
        else:
            shown += sign if run == 1 else f"{sign}{{{run}}}"
            run = 1
    return shown
