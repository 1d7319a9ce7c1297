"""Versions of rows: from when to when each of them holds, and which one holds at an instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import field_validator, model_validator

from tongqu.core.arrow import pa
from tongqu.core.columns import need_columns
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.settings import Settings, titled
from tongqu.meaning.event_time import micros
from tongqu.meaning.sandbox import DUPLICATE, quoted

SINCE, UNTIL = "_tongqu_since", "_tongqu_until"
"""The columns of kept versions that tell from when (included) to when (not included) each held; null: it still does."""
EVER = -62_135_596_800_000_000
"""Before every instant that rows have: the beginning of the year 1, in microseconds since 1970."""
_LATENESS = "1s"


class AsOf(Settings):
    """Look up what held at the instant of the row (SQL:2011's FOR SYSTEM_TIME AS OF, Flink's temporal join).

    Either the dataset has its versions itself: `valid_from` with `valid_to`, or alone, when the next version of the key
    ends the one before. A version holds from `valid_from` on until just before `valid_to`; without a `valid_to` until
    further notice, without a `valid_from` never. Or its log is followed (its source has `mode: cdc`), and `retention`
    says how long versions are kept, by the instants at which they were committed.
    """

    on: str = titled("事件时间字段", "Event time")
    """The column here with the row's instant (a timestamp or date); a row without one has no match."""
    valid_from: str = titled("生效时间字段", "Valid from", "")
    """The column there from whose instant on a version holds."""
    valid_to: str = titled("失效时间字段", "Valid to", "")
    """The column there at whose instant a version holds no more."""
    retention: str = titled("历史保留时长", "Retention", "")
    """Instead of columns: how long a version is kept after it ended, less than the newest row looked up (1h, 7d)."""
    lateness: str = titled("允许乱序", "Lateness", "")
    """With `retention`: by how much the clocks of the systems differ at most, and how late a commit is told by the log
    (1s; to be said where the log is a queue or a broker)."""
    late: Literal["quarantine", "drop", "missing"] = titled("历史之外的行", "Late rows", "quarantine")
    """With `retention`: a row older than the history goes to quarantine as `lookup.late`, one that the history has not
    come to after `wait` as `lookup.early`; or they are dropped (counted as filtered), or have no match."""
    initial: Literal["unknown", "always"] = titled("最初的版本", "Initial versions", "unknown")
    """With `retention`: from when that holds which is there when the history begins: from then on, so that earlier rows
    are late, or since ever."""

    @field_validator("retention", "lateness")
    @classmethod
    def _span(cls, value: str) -> str:
        if value:
            micros(value)
        return value

    @model_validator(mode="after")
    def _sound(self) -> AsOf:
        if self.valid_to and not self.valid_from:
            raise ValueError("`valid_to` goes with `valid_from`")
        if bool(self.valid_from) == bool(self.retention):
            raise ValueError(
                "say `valid_from` (and maybe `valid_to`) where the dataset has its versions itself, or `retention` "
                "where its log is followed"
            )
        if self.retention and not micros(self.retention):
            raise ValueError("`retention` is longer than nothing")
        alone = [name for name in ("lateness", "late", "initial") if name in self.model_fields_set]
        if self.valid_from and alone:
            raise ValueError(f"`{alone[0]}` goes with `retention`")
        return self

    @property
    def slack(self) -> int:
        """Microseconds of `lateness`."""
        return micros(self.lateness or _LATENESS)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns there that are read."""
        return tuple(name for name in (self.valid_from, self.valid_to) if name)

    def check(self, main: Dataset, other: Dataset) -> None:
        """Raise UnknownNameError or InvalidPlanError unless the columns are instants that can be compared."""
        need_columns(main, [self.on])
        need_columns(other, list(self.columns))
        mine = _kind(main, self.on)
        if self.retention and mine != "TIMESTAMPTZ":
            raise InvalidPlanError(
                f"the event time {self.on!r} has no time zone, and commits are instants",
                hint="say the `timezone` of its connection, or cast it to timestamptz",
            )
        for name in self.columns:
            if _kind(other, name) != mine:
                raise InvalidPlanError(
                    f"the event time {self.on!r} ({main.schema.field(self.on).type}) cannot be compared with {name!r} "
                    f"({other.schema.field(name).type})",
                    hint="cast one: both with a time zone, or both without",
                )

    def instant(self, column: str, dataset: Dataset) -> str:
        """The SQL of the row's instant; `column` is its SQL name."""
        return f"CAST({column} AS {_kind(dataset, self.on)})"

    def versions(self, dataset: Dataset, names: Mapping[str, str], keys: Sequence[str]) -> tuple[str, str]:
        """The SQL of when a row of `dataset` begins to hold, and of when it ends; `names` are the columns' names inside
        DuckDB, `keys` the SQL of what is looked up by."""
        if self.retention:
            return quoted(SINCE), quoted(UNTIL)
        since = f"CAST({quoted(names[self.valid_from])} AS {_kind(dataset, self.valid_from)})"
        if self.valid_to:
            return since, f"CAST({quoted(names[self.valid_to])} AS {_kind(dataset, self.valid_to)})"
        return since, (  # those that begin at the same instant end together
            f"first_value({since}) OVER (PARTITION BY {', '.join(keys)} ORDER BY {since} "
            "GROUPS BETWEEN 1 FOLLOWING AND 1 FOLLOWING)"
        )


def periods(versions: str, keys: int, fields: int) -> str:
    """For each key the periods in which the same versions hold, each from its `since` until the next: `many` versions
    (0: a gap), the fields of the one whose `id` is the least, and `clash`, which names two where there are several.

    `versions` is a SELECT of keys `k0 …` without nulls, fields `f0 …`, a whole number `id` of each version's own,
    `since` and `until`, of which a null one never begins or never ends. Beginnings and ends are summed up in their
    order: where one version holds, the sum of the ids is its id.
    """
    names = [f"k{n}" for n in range(keys)]
    by = ", ".join(names)
    same = " AND ".join(f"v.{name} = p.{name}" for name in names)
    shown = [f"'from ' || {one}.since || coalesce(' to ' || {one}.until, ' on')" for one in ("a", "b")]
    items = [*(f"p.{name}" for name in names), *(f"a.f{n}" for n in range(fields)), "p.since", "p.many"]
    return f"""
        WITH v AS MATERIALIZED (
            SELECT * FROM ({versions}) WHERE since IS NOT NULL AND (until IS NULL OR since < until)
        ), turns AS (
            SELECT {by}, since AS moment, 1 AS step, id FROM v
            UNION ALL SELECT {by}, until, -1, -id FROM v WHERE until IS NOT NULL
        ), sums AS (
            SELECT {by}, moment, sum(step) AS step, sum(id) AS id FROM turns GROUP BY {by}, moment
        ), p AS MATERIALIZED (
            SELECT {by}, moment AS since, CAST(sum(step) OVER w AS BIGINT) AS many, sum(id) OVER w AS id
            FROM sums WINDOW w AS (PARTITION BY {by} ORDER BY moment ROWS UNBOUNDED PRECEDING)
        ), several AS (
            SELECT {", ".join(f"p.{name}" for name in names)}, p.since, min(v.id, 2) AS ids
            FROM p JOIN v ON {same} AND v.since <= p.since AND (v.until IS NULL OR v.until > p.since)
            WHERE p.many > 1 GROUP BY ALL
        )
        SELECT {", ".join(items)},
            CASE WHEN p.many > 1 THEN {shown[0]} || ' and ' || {shown[1]} END AS clash
        FROM p
        LEFT JOIN several AS o ON {same.replace("v.", "o.")} AND o.since = p.since
        LEFT JOIN v AS a ON a.id = CASE WHEN p.many = 1 THEN p.id ELSE o.ids[1] END
        LEFT JOIN v AS b ON b.id = o.ids[2]"""


def clashing(several: str, what: str, value: str, clash: str) -> str:
    """SQL that is 0 as an integer, and that raises an error if `several` is true: "`what` `value` has versions that
    overlap: `clash`". All but `what` are SQL."""
    text = (DUPLICATE + what + " ").replace("'", "''")
    shown = f"left(coalesce(CAST({value} AS VARCHAR), 'null'), 80)"
    message = f"'{text}' || {shown} || ' has versions that overlap: ' || {clash}"
    return f"CASE WHEN {several} THEN CAST(error({message}) AS INTEGER) ELSE 0 END"


def _kind(dataset: Dataset, name: str) -> str:
    """DuckDB's type in which the column's instants are compared."""
    kind = dataset.schema.field(name).type
    if pa.types.is_date(kind):
        return "TIMESTAMP"
    if not pa.types.is_timestamp(kind):
        raise InvalidPlanError(f"{name!r} is {kind}, no instant", hint="cast it to timestamp")
    if kind.unit == "ns":
        raise InvalidPlanError(f"{name!r} has nanoseconds, which are not compared", hint="cast it to timestamp")
    return "TIMESTAMPTZ" if kind.tz else "TIMESTAMP"
