"""Undoing a replace of files where the file system cannot exchange two names in one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.errors import InvalidPlanError
from tongqu.kit import files

OLD = pa.table({"id": [1, 2], "name": ["old", "old"]})
NEW = pa.table({"id": [2, 3, 4], "name": ["new", "new", "new"]})


@pytest.fixture(autouse=True)
def _no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "exchange", lambda one, other: False)


def replaced(desk: Any, place: str, options: str = "") -> Any:
    """Replace the target by the old rows and then by the new ones."""
    desk.put(place, OLD, options, run="r1")
    desk.put(place, NEW, options, run="r2")
    return desk.sink(place, options)


def test_a_file_is_put_back_by_renames(desk: Any, tmp_path: Path) -> None:
    place = tmp_path / "orders.csv"
    sink = replaced(desk, str(place))
    for rows in (OLD, NEW, OLD):
        assert sink.undo("orders") == rows.num_rows
        assert desk.rows(place) == rows.to_pylist()
    assert [path.name for path in tmp_path.glob(".*undo*")] == []


def test_an_undo_cut_off_between_the_renames_is_completed_by_the_next(desk: Any, tmp_path: Path) -> None:
    place = tmp_path / "orders.csv"
    sink = replaced(desk, str(place))
    place.with_name(".orders.csv.tongqu-undo").hardlink_to(place)
    place.with_name(".orders.csv.previous").replace(place)
    assert desk.rows(place) == OLD.to_pylist()
    assert sink.undo("orders") == 3
    assert desk.rows(place) == NEW.to_pylist()


def test_an_undo_cut_off_before_the_renames_left_everything(desk: Any, tmp_path: Path) -> None:
    place = tmp_path / "orders.csv"
    sink = replaced(desk, str(place))
    place.with_name(".orders.csv.tongqu-undo").hardlink_to(place)
    assert sink.undo("orders") == 2
    assert desk.rows(place) == OLD.to_pylist()


def test_a_folder_of_partitions_is_refused(desk: Any, tmp_path: Path) -> None:
    sink = replaced(desk, f"{tmp_path}/", "?partition=name")
    with pytest.raises(InvalidPlanError, match="cannot exchange"):
        sink.undo("orders")
    assert [row["id"] for row in desk.rows(tmp_path / "orders")] == [2, 3, 4]
