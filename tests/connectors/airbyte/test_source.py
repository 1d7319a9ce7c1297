"""Airbyte's protocol, spoken by a source of our own; real ones are in `tests/connectors/test_foreign_packages.py`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tongqu.connectors.airbyte.protocol import Airbyte
from tongqu.connectors.airbyte.settings import AirbyteSettings, from_url
from tongqu.connectors.airbyte.source import AirbyteSource
from tongqu.core.data import Mode, Read, Split
from tongqu.core.errors import AuthError, InvalidPlanError, InvalidSettingsError, NotFoundError, ReadError
from tongqu.kit.foreign.messages import State
from tongqu.testing.foreign import SOURCE, furnished


@pytest.fixture(name="source")
def opener(tmp_path: Path) -> Iterator[Callable[..., AirbyteSource]]:
    """Opens the mock source with a configuration."""
    installed, made = furnished(tmp_path / "foreign"), list[AirbyteSource]()

    def opened(**config: Any) -> AirbyteSource:
        settings = AirbyteSettings(source=SOURCE, installed=str(installed), config=config)
        made.append(AirbyteSource(settings))
        return made[-1]

    yield opened
    for one in made:
        one.close()


def rows(source: AirbyteSource, mode: Mode = Mode.FULL, after: Any = None) -> tuple[list[dict[str, Any]], Any]:
    dataset = source.datasets(["orders"])[0]
    spec = {"after": after} if mode is Mode.INCREMENTAL else {}
    batches = list(source.read(Read(dataset, Split("0", dataset.name, spec), mode=mode)))
    assert not [bad for batch in batches for bad in batch.bad]
    return [row for batch in batches for row in batch.rows.to_pylist()], batches[-1].position


def test_a_source_is_checked_discovered_and_read(source: Callable[..., AirbyteSource]) -> None:
    one = source()
    first, egress, *rest = one.check()
    assert (first, egress.partition(",")[0]) == ("installed", "egress: not enforced")
    assert rest == ["connected", "streams (2)", "sample orders"]
    orders, plants = one.datasets()
    assert (orders.name, plants.name, orders.key) == ("orders", "plants", ("id",))
    assert str(orders.schema.field("at").type) == "timestamp[us]"
    found, _ = rows(one)
    assert [row["id"] for row in found] == [1, 2, 3, 4, 5]
    assert json.loads(found[0]["of"]) == {"a": [1]}


def test_the_state_is_carried_both_ways(source: Callable[..., AirbyteSource]) -> None:
    _, position = rows(source(), Mode.INCREMENTAL)
    assert position["state"][0]["stream"]["stream_state"] == {"id": 5}
    assert "sourceStats" not in position["state"][0]
    found, _ = rows(source(rows=7), Mode.INCREMENTAL, position)
    assert [row["id"] for row in found] == [6, 7]


def test_states_of_other_kinds_are_given_back_as_they_want_it() -> None:
    def given_back(state: dict[str, Any]) -> list[Any]:
        line = json.dumps({"type": "STATE", "state": state}).encode() + b"\n"
        return [event.value for event in Airbyte("s", "source").events(iter([line])) if isinstance(event, State)]

    whole = {"type": "GLOBAL", "global": {"shared_state": {"lsn": 1}, "stream_states": []}}
    assert given_back(whole) == [[whole]]
    assert given_back({"data": {"s": {"at": 1}}}) == [{"s": {"at": 1}}]
    other = {"type": "STREAM", "stream": {"stream_descriptor": {"name": "t"}, "stream_state": {}}}
    assert given_back(other) == []


def test_a_stream_without_increments_is_refused(source: Callable[..., AirbyteSource]) -> None:
    one = source()
    (plants,) = one.datasets(["plants"])
    with pytest.raises(InvalidPlanError, match="plants"):
        one.horizon(plants, "", None)


def test_failures_are_told_by_kind(source: Callable[..., AirbyteSource]) -> None:
    with pytest.raises(AuthError, match="401"):
        list(source(status="FAILED").check())
    with pytest.raises(ReadError, match="no such site") as caught:
        rows(source(fails="system_error"))
    assert "secret internals" not in str(caught.value)
    with pytest.raises(AuthError, match="no such site"):
        rows(source(fails="config_error"))


def test_a_manifest_must_be_there_and_be_the_only_program(tmp_path: Path) -> None:
    one = AirbyteSource(from_url(f"airbyte:{tmp_path}/none.yaml?installed={tmp_path}"))
    with pytest.raises(NotFoundError, match=r"none\.yaml"):
        one.datasets()
    one.close()
    with pytest.raises(InvalidSettingsError, match="either"):
        AirbyteSettings.parse({"source": "source-x", "manifest": "m.yaml"})
