"""Rows go through a target's program, and count as written only when it says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tongqu.connectors.singer_target import connector
from tongqu.connectors.singer_target.settings import TargetSettings, from_url
from tongqu.connectors.singer_target.sink import TargetSink
from tongqu.core.data import WriteMode
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, MissingDriverError, ReadError
from tongqu.testing.conformance.place import Place, items
from tongqu.testing.foreign import TARGET, furnished
from tongqu.testing.pour import pour


@pytest.fixture(name="place")
def in_place(tmp_path: Path) -> Iterator[Place]:
    """The mock target, which writes `rows.json`."""
    installed = furnished(tmp_path / "foreign")
    yield Place(
        connector,
        f"singer-target:{TARGET}?installed={installed}&config.into={tmp_path}/rows.json",
        tmp_path / "lodging",
    )


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((tmp_path / "rows.json").read_text())
    return found


def test_check_starts_the_program(place: Place) -> None:
    with place.sink() as sink:
        first, egress, *rest = sink.check()
        assert (first, egress.partition(",")[0]) == ("installed", "egress: not enforced")
        assert rest == ["started"]


def test_rows_are_appended(place: Place, tmp_path: Path) -> None:
    counts = place.put([items([1, 2]), items([3])], place.ask(items([]), WriteMode.APPEND, key=()))
    assert counts.inserted == 3
    assert rows(tmp_path) == [{"id": n, "v": f"v{n}"} for n in (1, 2, 3)]


def test_rows_are_merged_by_key_and_unchanged_ones_are_not_sent(place: Place, tmp_path: Path) -> None:
    place.change(items([1, 2]), run="run 1")
    counts = place.change(items([2, 3]), run="run 2")
    assert (counts.written, counts.unchanged) == (2, 1)
    assert sorted(row["id"] for row in rows(tmp_path)) == [1, 2, 3]


def with_behaviour(place: Place, behaviour: str) -> TargetSettings:
    return from_url(f"{place.url}&config.behaviour={behaviour}")


@pytest.mark.parametrize(
    ("behaviour", "said"), [("fail", "the disk is full"), ("lose", "without giving the last STATE")]
)
def test_rows_whose_outcome_nobody_knows_are_set_aside(place: Place, behaviour: str, said: str) -> None:
    with place.sink(with_behaviour(place, behaviour)) as sink:
        counts = pour(sink, place.ask(items([]), WriteMode.APPEND, key=()), [items([1, 2])])
    assert (counts.inserted, counts.quarantined) == (0, 2)
    assert {(row["code"], said in row["message"]) for row in place.quarantined()} == {("call.unknown", True)}


def test_a_target_that_gives_no_states_back_is_believed_by_its_exit_code(place: Place) -> None:
    with place.sink(with_behaviour(place, "forget")) as sink:
        assert pour(sink, place.ask(items([]), WriteMode.APPEND, key=()), [items([1, 2])]).inserted == 2


def test_replace_is_refused(place: Place) -> None:
    with place.sink() as sink, pytest.raises(InvalidPlanError, match="replace"):
        sink.start("s", "r", False)
        sink.open(place.ask(items([]), WriteMode.REPLACE))


def test_what_is_wrong_is_told(place: Place, tmp_path: Path) -> None:
    with pytest.raises(MissingDriverError):
        list(TargetSink(TargetSettings(target="target-none", installed=str(tmp_path))).check())
    with place.sink(with_behaviour(place, "fail")) as sink, pytest.raises(ReadError, match="the disk is full"):
        list(sink.check())
    with pytest.raises(InvalidSettingsError):
        from_url("singer-target:")
