"""Bring two inputs together by equal keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import pyarrow as pa

from tongqu.core.columns import need_columns
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError
from tongqu.core.operator import Lineage, Operator
from tongqu.core.settings import Pairs, titled
from tongqu.meaning.event_time import TimeBound, need_instants
from tongqu.meaning.joint import comparable
from tongqu.meaning.sandbox import quoted, relation_names

_SQL = {"inner": "JOIN", "left": "LEFT JOIN", "right": "RIGHT JOIN", "full": "FULL JOIN", "semi": "SEMI JOIN",
        "anti": "ANTI JOIN"}  # fmt: skip


class Join(Operator):
    """Join two inputs: `join: {left: r, right: l, on: line_id, how: left}`.

    `on` is a column of both, a list of such, or a mapping left column → right column. Null keys match nothing. Columns
    of the left come first, then the right's without its keys; a name that both have is refused unless `suffix` is
    given for the right's. `semi` and `anti` keep the left's rows that have (have not) a match. With
    `within: {left: sent_at, right: paid_at, after: 10m}` rows match only if they are so close in time.
    """

    verb = "join"
    title: ClassVar[Mapping[str, str]] = {"zh": "连接", "en": "Join"}
    row_wise = False
    arity = (2, 2)

    left: str = titled("左输入", "Left input")
    """Name of the left source or step."""
    right: str = titled("右输入", "Right input")
    """Name of the right source or step."""
    on: Pairs = titled("键", "Keys", min_length=1)
    """Left column with right column."""
    how: Literal["inner", "left", "right", "full", "semi", "anti"] = titled("方式", "How", "inner")
    """Which rows without a match stay."""
    suffix: str = titled("后缀", "Suffix", "")
    """Added to the right's column names that the left has too."""
    within: TimeBound | None = titled("时间范围", "Within", None)
    """How far apart rows may be that match; needed where messages are followed, which would be kept for ever."""

    @property
    def input_names(self) -> tuple[str, ...]:
        return (self.left, self.right)

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        left, right = inputs
        need_columns(left, list(self.on))
        need_columns(right, list(self.on.values()))
        for mine, theirs in self.on.items():
            first, second = left.schema.field(mine).type, right.schema.field(theirs).type
            if comparable(first) != comparable(second):
                raise InvalidPlanError(
                    f"the keys {mine!r} ({first}) and {theirs!r} ({second}) are of different kinds", hint="cast one"
                )
        if self.within:
            need_instants(left, self.within.left)
            need_instants(right, self.within.right)
        fields = [left.schema.field(c) for c in left.columns]
        names = self._right_names(left, right)
        taken = set(left.columns)
        for old, new in names.items():
            if new in taken:
                raise InvalidPlanError(f"both inputs of the join have a column {new!r}", hint='give `suffix: "_right"`')
            taken.add(new)
            fields.append(right.schema.field(old).with_name(new))
        plain = [field.with_nullable(True) for field in fields]
        return Dataset(left.name, pa.schema(plain), key=left.key if self.how in ("semi", "anti") else ())

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        left, right = inputs
        made: Lineage = {c: {(0, c)} for c in left.columns}
        made |= {new: {(1, old)} for old, new in self._right_names(left, right).items()}
        if self.how in ("right", "full"):
            for mine, theirs in self.on.items():
                made[mine].add((1, theirs))
        return made

    def matches(self, inputs: Sequence[Dataset]) -> Sequence[tuple[tuple[int, str], tuple[int, str]]]:
        return [((0, mine), (1, theirs)) for mine, theirs in self.on.items()]

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        times = {(0, self.within.left), (1, self.within.right)} if self.within else set()
        return times | {(0, c) for c in self.on} | {(1, c) for c in self.on.values()}

    def sql(self, relations: Sequence[str], inputs: Sequence[Dataset]) -> str:
        left, right = inputs
        mine, theirs = relation_names(left.columns), relation_names(right.columns)
        match = " AND ".join(f"l.{quoted(mine[a])} = r.{quoted(theirs[b])}" for a, b in self.on.items())
        if self.within:
            first, second = quoted(mine[self.within.left]), quoted(theirs[self.within.right])
            match += f" AND {self.within.sql(f'l.{first}', f'r.{second}')}"
        out = relation_names(self.output(inputs).columns)
        items = []
        for c in left.columns:
            sql = f"l.{quoted(mine[c])}"
            if c in self.on and self.how in ("right", "full"):
                kind = f"coalesce({sql}, r.{quoted(theirs[self.on[c]])})"
                sql = kind
            items.append(f"{sql} AS {quoted(out[c])}")
        for old, new in self._right_names(left, right).items():
            items.append(f"r.{quoted(theirs[old])} AS {quoted(out[new])}")
        return f"SELECT {', '.join(items)} FROM {relations[0]} AS l {_SQL[self.how]} {relations[1]} AS r ON {match}"

    def _right_names(self, left: Dataset, right: Dataset) -> dict[str, str]:
        if self.how in ("semi", "anti"):
            return {}
        keys = set(self.on.values())
        both = set(left.columns)
        return {c: c + self.suffix if c in both else c for c in right.columns if c not in keys}


operator = Join
