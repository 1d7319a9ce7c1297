"""What becomes of each change of a schema in a file that is replaced or appended to."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tongqu.core import registry
from tongqu.core.data import WriteMode
from tongqu.core.errors import SchemaError
from tongqu.core.schema_changes import OUTCOMES, Kind, Outcome, SchemaChanges
from tongqu.testing.conformance.place import Place
from tongqu.testing.schema_cases import CASES, Case, contents, told

FILES = ("parquet", "jsonl", "csv")
FILE_OUTCOMES = {Kind.OPTIONAL: Outcome.UNCHANGED}


@pytest.mark.tabled
@pytest.mark.parametrize("mode", SchemaChanges, ids=lambda mode: mode.value)
@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_replaced_file_follows_or_stays(tmp_path: Path, case: Case, form: str, mode: SchemaChanges) -> None:
    place = Place(registry.connector("file"), f"file:{tmp_path}/?format={form}")
    place.put([case.before], place.ask(case.before, WriteMode.REPLACE, name="t"))
    asked = place.ask(case.after, WriteMode.REPLACE, name="t", run="run 2", schema_changes=mode, renamed=case.renamed)
    outcome = FILE_OUTCOMES.get(case.kind) or OUTCOMES[case.kind][mode]
    if outcome is Outcome.REFUSED:
        told(case.name, form, mode, WriteMode.REPLACE, outcome)
        with pytest.raises(SchemaError):
            place.put([case.after], asked)
        assert sorted(contents(place, "t")) == [1, 2]
        return
    counts = place.put([case.after], asked)
    found = contents(place, "t")
    stays = mode in (SchemaChanges.DISCARD_COLUMN, SchemaChanges.DISCARD_ROW)
    if mode is SchemaChanges.EVOLVE:
        told(case.name, form, mode, WriteMode.REPLACE, Outcome.FOLLOWED)
        assert {id: plain(row) for id, row in found.items()} == {r["id"]: plain(r) for r in case.after.to_pylist()}
    elif stays and case.kind in (Kind.NEW, Kind.RENAMED, Kind.WIDENED, Kind.RETYPED):
        told(case.name, form, mode, WriteMode.REPLACE, outcome)
        expected = case.blanked if mode is SchemaChanges.DISCARD_COLUMN else case.quarantined
        assert {id: plain(row) for id, row in found.items()} == {row["id"]: plain(row) for row in expected}
        assert counts.discarded == (case.discarded if mode is SchemaChanges.DISCARD_COLUMN else 0)
        assert counts.quarantined == (len(case.codes) if mode is SchemaChanges.DISCARD_ROW else 0)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """Values as a text file holds them, without nulls: which of `1` and `1.00` a type is was the type's business."""
    return {
        name: str(Decimal(str(value)).normalize()) if isinstance(value, int | float | Decimal) else str(value)
        for name, value in row.items()
        if value is not None
    }


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_an_appended_file_grows(tmp_path: Path, form: str) -> None:
    place = Place(registry.connector("file"), f"file:{tmp_path}/?format={form}")
    case = next(case for case in CASES if case.name == "new column")
    for number, part in enumerate((case.before, case.after)):
        place.put([part], place.ask(part, WriteMode.APPEND, name="t", run=f"run {number}", key=()))
    rows = {row["id"]: row for row in place.table("t").to_pylist()}
    assert [rows[id].get("n") for id in (1, 2, 3, 4)] == [None, None, 7, None]
    assert [rows[id]["v"] for id in (1, 2, 3, 4)] == ["a", "b", "c", "d"]


def test_an_appended_csv_keeps_its_header(tmp_path: Path) -> None:
    place = Place(registry.connector("file"), f"file:{tmp_path}/?format=csv")
    new, moved = (
        next(case for case in CASES if case.name == name) for name in ("new column", "other order of columns")
    )
    place.put([new.before], place.ask(new.before, WriteMode.APPEND, name="t", key=()))
    with pytest.raises(SchemaError, match="keeps its header"):
        place.put([new.after], place.ask(new.after, WriteMode.APPEND, name="t", run="run 2", key=()))
    place.put([moved.before], place.ask(moved.before, WriteMode.APPEND, name="m", key=()))
    place.put([moved.after], place.ask(moved.after, WriteMode.APPEND, name="m", run="run 2", key=()))
    assert contents(place, "m")[3] == {"id": 3, "v": "c", "n": "z"}
