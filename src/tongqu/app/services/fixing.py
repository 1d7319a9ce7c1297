"""`quarantine fix`: mends dirty rows by rule, and refuses a rule that would make a row no better."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tongqu.app.project.load import Project
from tongqu.app.services.ends import End, Ends
from tongqu.app.services.mending import Mended, mend_rows
from tongqu.app.services.quarantine import distinct, missing, opened
from tongqu.app.services.reentering import Group, Ways, groups
from tongqu.core.connector import Can, Sink
from tongqu.core.dirty import DISCARDED, FIXED, OPEN, Dirty, Fix
from tongqu.core.errors import ConfigError
from tongqu.core.operator import Operator
from tongqu.engine.faults import Rule, broken
from tongqu.engine.replay import Entry, tried
from tongqu.kit.originals import restored, schema_of
from tongqu.meaning.mending import Mend

_MOST = 200_000
_SHOWN = 1000
"""Rows of which the document shows before and after."""


@dataclass
class Fixing:
    """What fixing is given, and what it does to all sinks together."""

    mends: Sequence[Mend]
    project: Callable[[], Project]
    ends: Ends
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    who: str
    dry: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    fixed: int = 0
    refused: int = 0
    discarded: int = 0

    def run(self, where: Sequence[str], which: Dirty) -> dict[str, Any]:
        """Mend the rows that are meant. The document has the numbers of design §7 and, row by row, `before`, `after`
        and, where the rule was refused, `reason`. Raises NotFoundError for an id that no sink knows."""
        wanted = replace(which, arrival=True, limit=_MOST, states=which.states or OPEN)
        known: set[str] = set()
        for end in distinct(where, self.ends):
            with opened(end) as sink:
                if sink is None:
                    continue
                found = [row for row in sink.dirty(wanted) if row["state"] in OPEN]
                known |= {str(row["id"]) for row in sink.dirty(Dirty(ids=which.ids))} if which.ids else set()
                ways = Ways(end, sink, self.project, self.ends, self.now)
                try:
                    for group in groups(found):
                        self._group(end, sink, ways, group)
                finally:
                    ways.close()
        lost = [id for id in which.ids if id not in known]
        if lost:
            raise missing(lost[0], where)
        return {
            "fixed": self.fixed,
            "replayed": 0,
            "written": 0,
            "still_bad": self.refused,
            "discarded": self.discarded,
            "dry_run": self.dry,
            "rows": self.rows,
        }

    def _group(self, end: End, sink: Sink, ways: Ways, group: Group) -> None:
        if any(mend.verb == "discard" for mend in self.mends):
            self.discarded += len(group.rows)
            self._show(group, [Mended(str(row["fixed"] or row["original"]), "") for row in group.rows])
            self._store(sink, [Fix(str(row["id"]), DISCARDED, None, self._history(row)) for row in group.rows])
            return
        mended = mend_rows(self.mends, [str(row["fixed"] or row["original"]) for row in group.rows], group.shape)
        if group.shape:
            self._judge(end, ways, group, mended)
        self._show(group, mended)
        good = [(row, one) for row, one in zip(group.rows, mended, strict=True) if not one.reason]
        self.fixed += len(good)
        self.refused += len(mended) - len(good)
        self._store(sink, [Fix(str(row["id"]), FIXED, one.row, self._history(row)) for row, one in good])

    def _store(self, sink: Sink, fixes: Sequence[Fix]) -> None:
        if fixes and not self.dry:
            sink.fix(fixes)

    def _history(self, row: Any) -> str:
        at = self.now().isoformat(timespec="milliseconds")
        done = json.loads(row["history"] or "[]")
        done += [{"rule": mend.text, "by": self.who, "at": at} for mend in self.mends]
        return json.dumps(done, ensure_ascii=False)

    def _show(self, group: Group, mended: Sequence[Mended]) -> None:
        for row, one in zip(group.rows, mended, strict=True):
            if len(self.rows) < _SHOWN:
                shown = {"id": row["id"], "stream": group.stream, "before": row["fixed"] or row["original"]}
                self.rows.append({**shown, "after": one.row, **({"reason": one.reason} if one.reason else {})})

    # ---- whether a row is any better

    def _judge(self, end: End, ways: Ways, group: Group, mended: list[Mended]) -> None:
        """Give the rows that would be no better their reason."""
        try:
            way, operator = ways.way(group)
        except ConfigError as error:
            error.exit_code = 1
            raise
        partly = self._by_rules(operator, group, mended) if operator is not None else set()
        if Can.TRANSACTIONS not in end.connector.can:
            return
        left = [n for n, one in enumerate(mended) if not one.reason and n not in partly]
        entries = [Entry(str(n), mended[n].row) for n in left]
        if entries:
            for id, settled in tried(way, entries, self.new_id).items():
                mended[int(id)] = replace(mended[int(id)], reason=f"it would be refused again: {settled.message}")

    def _by_rules(self, operator: Operator, group: Group, mended: list[Mended]) -> set[int]:
        """Hold old and new versions to each rule of the step alone. Returns the rows that are better and not yet good:
        rules that were broken before still are."""
        schema = schema_of(group.shape)
        places = [n for n, one in enumerate(mended) if not one.reason]
        before = restored([str(group.rows[n]["fixed"] or group.rows[n]["original"]) for n in places], schema)
        after = restored([mended[n].row for n in places], schema)
        old = dict(zip(before.places, broken(operator, group.stream, before.rows), strict=True))
        new = dict(zip(after.places, broken(operator, group.stream, after.rows), strict=True))
        partly: set[int] = set()
        for at, n in enumerate(places):
            reason, better = _compared(old.get(at, {}), new.get(at, {}), group.rows[n])
            if reason:
                mended[n] = replace(mended[n], reason=reason)
            elif not better:
                partly.add(n)
        return partly


def _compared(old: dict[Rule, str], new: dict[Rule, str], row: Any) -> tuple[str, bool]:
    """Why a new version is refused, or "" and whether it is good; rules with what is wrong."""
    for rule, words in new.items():
        code, name, message = rule
        if (code, name) == (row["code"], row["field"]) and str(row["message"]).endswith(message):
            return f"it still breaks the rule: {words}", False
    worse = [words for rule, words in new.items() if rule not in old]
    if worse:
        return f"it would break another rule: {worse[0]}", False
    return "", not new
