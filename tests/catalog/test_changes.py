"""What changed between two states of a project, whom it breaks, and who is downstream."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tongqu.catalog.changes import Reach, changes

PROJECT: dict[str, Any] = {
    "project": "plant",
    "connections": {"qms": {"type": "sqlite", "path": "q.db"}, "lake": {"type": "duckdb", "path": "l.duckdb"}},
    "datasets": {
        "inspection": {
            "key": ["lot"],
            "fields": {
                "lot": {"type": "string", "required": True},
                "weight": {"type": "int32", "unit": "kg", "min": 0, "max": 500, "title": {"zh": "重量"}},
            },
        }
    },
    "pipelines": {
        "load": {
            "source": {"connection": "qms", "dataset": "result", "as": "inspection"},
            "steps": [{"filter": "weight > 0"}],
            "sink": {"connection": "lake", "dataset": "inspection", "write": "upsert"},
        },
        "daily": {
            "source": {"connection": "lake", "dataset": "inspection"},
            "sink": {"connection": "lake", "dataset": "daily"},
        },
        "export": {"source": {"connection": "lake", "dataset": "daily"}, "sink": {"connection": "qms"}},
    },
    "apis": {"inspections": {"version": "v1", "source": {"connection": "lake", "dataset": "inspection"}}},
    "alerts": {"late": {"when": "pipeline.daily.lag_seconds > 300"}},
}


def changed(path: str, value: object) -> dict[str, Any]:
    """The project with one value set, or removed where it is None."""
    tree = copy.deepcopy(PROJECT)
    *above, last = path.split("/")
    inner = tree
    for part in above:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return tree


WEIGHT = "datasets/inspection/fields/weight"


@pytest.mark.parametrize(
    ("path", "value", "breaking"),
    [
        (f"{WEIGHT}/type", "int64", False),
        (f"{WEIGHT}/type", "decimal(14,3)", False),
        (f"{WEIGHT}/type", "int16", True),
        (f"{WEIGHT}/type", "date", True),
        (f"{WEIGHT}/unit", "g", True),
        (f"{WEIGHT}/min", -1, False),
        (f"{WEIGHT}/min", 1, True),
        (f"{WEIGHT}/max", 400, True),
        (f"{WEIGHT}/max", None, False),
        (f"{WEIGHT}/required", True, True),
        (f"{WEIGHT}/title", {"zh": "净重"}, False),
        (f"{WEIGHT}/class", "personal", True),
        (WEIGHT, None, True),
        ("datasets/inspection/fields/note", {"type": "string"}, False),
        ("datasets/inspection/key", ["lot", "weight"], True),
        ("datasets/inspection/closed", True, True),
        ("pipelines/load/sink/write", "append", True),
        ("pipelines/load/sink/dataset", "inspection2", True),
        ("pipelines/load/source/mode", "incremental", True),
        ("pipelines/load/steps", [], True),
        ("pipelines/load/schedule", "*/5 * * * *", False),
        ("connections/qms/path", "other.db", True),
        ("pipelines/load", None, True),
        ("pipelines/export", None, False),
    ],
)
def test_a_change_is_breaking_where_somebody_must_follow(path: str, value: object, breaking: bool) -> None:
    """`before` and `after` of one value, and whether it breaks anybody."""
    (change,) = changes(PROJECT, changed(path, value))

    assert change.breaking is breaking
    assert change.resource == ".".join(path.split("/")[:2])


def test_everything_downstream_is_named() -> None:
    """From a table to the pipelines that read it, to what reads those, to the alert and the interface."""
    (change,) = changes(PROJECT, changed("pipelines/load/steps", []))

    assert set(change.affects) == {"pipelines.daily", "pipelines.export", "apis.inspections", "alerts.late"}


def test_a_new_title_reaches_nobody() -> None:
    """Words for people change no data."""
    (change,) = changes(PROJECT, changed(f"{WEIGHT}/title", {"zh": "净重"}))

    assert change.affects == ()


def test_a_circle_of_pipelines_ends() -> None:
    """Two pipelines that feed each other are each downstream of the other, once."""
    end = {"connection": "a", "dataset": "x"}, {"connection": "a", "dataset": "y"}
    tree = {"pipelines": {"p": {"source": end[0], "sink": end[1]}, "q": {"source": end[1], "sink": end[0]}}}

    assert Reach(tree).downstream("pipelines.p") == ["pipelines.q"]


def test_nothing_changed_is_no_change() -> None:
    """Equal trees give no changes, and everything is new against nothing."""
    assert changes(PROJECT, copy.deepcopy(PROJECT)) == []
    assert {change.action for change in changes({}, PROJECT)} == {"create"}
