"""Keeps `unique` rules for rows that go in again: who holds a value, in the target and among the rows themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tongqu.app.services.ends import End
from tongqu.core.bad_rows import BadRows
from tongqu.core.data import BadRow, Read
from tongqu.engine.segment import Outcome
from tongqu.kit.originals import originals, shape_of

Holder = tuple[Any, ...]


@dataclass
class Claims:
    """The values of unique fields and the keys of the rows that hold them.

    `fields` name columns at the sink, each with the step whose rule it is. A row may keep the value of its own key.
    """

    fields: Mapping[str, str]
    key: Sequence[str]
    held: dict[str, dict[Any, Holder]] = field(default_factory=dict)

    @classmethod
    def of(cls, end: End, target: str, fields: Mapping[str, str], key: Sequence[str]) -> Claims:
        """The claims of the rows that are in the target now."""
        claims = cls(fields, key, {name: {} for name in fields})
        if end.connector.source is None or not fields:
            return claims
        source = end.source()
        try:
            for dataset in source.datasets([target])[:1]:
                wanted = tuple(dict.fromkeys([*key, *fields]))
                if not set(wanted) <= set(dataset.columns):
                    continue
                for split in source.splits(dataset, 1):
                    for batch in source.read(Read(dataset, split, columns=wanted)):
                        claims.claim(pa.Table.from_batches([batch.rows]).select(list(wanted)), "")
        finally:
            source.close()
        return claims

    def claim(self, rows: pa.Table, step: str) -> BadRow | None:
        """Claim the values of these rows; the first that another row holds is a bad row, and ends the claiming."""
        texts = originals(rows) if step else []
        keys = [rows.column(name).to_pylist() for name in self.key]
        for name in self.fields:
            holders = self.held[name]
            for at, value in enumerate(rows.column(name).to_pylist()):
                me: Holder = tuple(str(column[at]) for column in keys) if keys else (texts[at] if step else None,)
                if value is not None and holders.setdefault(value, me) != me and step:
                    message = f"{name} {str(value)[:80]!r} comes more than once"
                    owner = self.fields[name]
                    shape = shape_of(rows.schema)
                    return BadRow(owner, "check.unique", name, str(value), texts[at], message, shape=shape)
        return None

    def guarded(self, through: Callable[[pa.Table], Outcome]) -> Callable[[pa.Table], Outcome]:
        """The steps, followed by the rules: where a value is taken nothing of the chunk comes out."""

        def run(rows: pa.Table) -> Outcome:
            outcome = through(rows)
            if any(row.refused for row in outcome.bad):
                return outcome
            taken = self.claim(outcome.rows, "check")
            return outcome if taken is None else Outcome(outcome.rows.slice(0, 0), BadRows([*outcome.bad, taken]))

        return run


def unique_fields(chain_lineage: Mapping[str, set[str]], checks: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Columns at the sink that come unchanged from fields that checks hold to be unique, each with its step."""
    found: dict[str, str] = {}
    for step, names in checks.items():
        for column, sources in chain_lineage.items():
            if len(sources) == 1 and next(iter(sources)) in names:
                found.setdefault(column, step)
    return found
