"""dlt's resources through the runner's messages; real ones in `tests/connectors/test_foreign_packages.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tongqu.connectors.dlt.settings import DltSettings
from tongqu.connectors.dlt.source import DltSource
from tongqu.core.data import Mode, Read, Split
from tongqu.core.errors import InvalidSettingsError
from tongqu.testing.foreign import DLT, furnished


@pytest.fixture(name="source")
def opener(tmp_path: Path) -> Iterator[Callable[..., DltSource]]:
    """Opens the mock source with arguments."""
    installed, made = furnished(tmp_path / "foreign"), list[DltSource]()

    def opened(**config: Any) -> DltSource:
        made.append(DltSource(DltSettings(source="mock:source", package=DLT, installed=str(installed), config=config)))
        return made[-1]

    yield opened
    for one in made:
        one.close()


def test_a_resource_is_sampled_for_what_it_does_not_say(source: Callable[..., DltSource]) -> None:
    one = source()
    first, egress, *rest = one.check()
    assert (first, egress.partition(",")[0]) == ("installed", "egress: not enforced")
    assert rest == ["streams (1)", "sample items"]
    (dataset,) = one.datasets()
    assert dataset.key == ("id",)
    assert [(field.name, str(field.type)) for field in dataset.schema] == [
        ("id", "int64"), ("at", "timestamp[us, tz=UTC]"),
    ]  # fmt: skip


def test_an_empty_resource_has_the_fields_that_are_known(source: Callable[..., DltSource]) -> None:
    (dataset,) = source(rows=0).datasets()
    assert dataset.columns == ("at",)


def test_the_state_is_carried_both_ways(source: Callable[..., DltSource]) -> None:
    def read(one: DltSource, after: Any) -> tuple[list[Any], Any]:
        (dataset,) = one.datasets()
        split = Split("0", dataset.name, {"after": after, "until": one.horizon(dataset, "", after)})
        batches = list(one.read(Read(dataset, split, mode=Mode.INCREMENTAL)))
        return [n for batch in batches for n in batch.rows.column("id").to_pylist()], batches[-1].position

    first, position = read(source(rows=3), None)
    assert first == [1, 2, 3]
    assert read(source(rows=5), position)[0] == [4, 5]


def test_credentials_are_no_part_of_what_it_is_and_are_never_said() -> None:
    settings = DltSettings(source="a.b:c", credentials={"sources.x": "tok"}, config={"api_key": "sesame", "site": "s1"})
    assert settings.identity() == DltSettings(source="a.b:c", config={"site": "s1"}).identity()
    assert settings.identity() != DltSettings(source="a.b:c", config={"site": "s2"}).identity()
    assert set(settings.secrets()) == {"tok", "sesame"}
    with pytest.raises(InvalidSettingsError):
        DltSettings.parse({"source": "os; system:x"})
