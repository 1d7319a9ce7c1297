"""Every value comes back exactly as it was written, or its row is refused and kept in quarantine; nothing changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tongqu.core.connector import Can
from tongqu.core.data import WriteMode
from tongqu.testing.conformance.marks import needed
from tongqu.testing.conformance.place import Place
from tongqu.testing.types import CASES, Case, canonical


class ValueChecks:
    """The type matrix."""

    @needed(Can.READ, Can.WRITE)
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_a_type_comes_back(self, place: Place, case: Case) -> None:
        held_to(place, case, place.whole)

    @needed(Can.READ, Can.WRITE, Can.UPSERT)
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_a_type_is_merged(self, place: Place, case: Case) -> None:
        held_to(place, case, WriteMode.UPSERT)
        again = place.put([case.table()], place.ask(case.table(), WriteMode.UPSERT, run="run 2", incremental=True))
        refused = again.quarantined
        assert (again.unchanged, again.updated) == (len(case.all) - refused, 0), "equal values count as changed"


def held_to(place: Place, case: Case, mode: WriteMode) -> None:
    """Write the case's rows, read them, compare; refused rows must be among its edges."""
    rows = case.table()
    counts = place.put([rows], place.ask(rows, mode, incremental=mode is WriteMode.UPSERT))
    kept = place.quarantined()
    refused = {int(json.loads(row["original"])["id"]) for row in kept}
    assert len(kept) == len(refused) == counts.quarantined, "a refused row is quarantined once"
    assert counts.written + counts.quarantined == counts.read == len(case.all)
    must = range(1, len(case.values) + 1)
    assert not refused & set(must), f"refused: {[case.all[i - 1] for i in sorted(refused & set(must))]!r}: {kept[:1]}"
    assert len(case.all) not in refused, "null was refused"
    found = {row["id"]: canonical(row["v"], case) for row in _pylist(place)}
    written = dict(enumerate(rows.column("v").to_pylist(), 1))
    wanted = {number: canonical(value, case) for number, value in written.items() if number not in refused}
    lost = "(lost)"
    changed = [(written[n], found.get(n, lost)) for n in wanted if found.get(n, lost) != wanted[n]]
    assert not changed, f"written and read back: {changed}"
    assert set(found) == set(wanted)


def _pylist(place: Place) -> list[dict[str, Any]]:
    return place.table().select(["id", "v"]).to_pylist()
