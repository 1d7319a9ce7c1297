"""The numbers that were measured last, scenario by scenario, in a file from which the page is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.measure import Row
from bench.report import Measured, Stage
from bench.scenarios.scenario import Scenario


def load(file: Path, scenarios: Sequence[Scenario]) -> list[Measured]:
    """What is kept of these scenarios, in their order; nothing if there is no file."""
    kept = json.loads(file.read_text(encoding="utf-8"))["scenarios"] if file.exists() else {}
    return [_measured(scenario, kept[scenario.name]) for scenario in scenarios if scenario.name in kept]


def stage(file: Path) -> Stage:
    """Where the last ones were measured."""
    told = json.loads(file.read_text(encoding="utf-8"))["stage"]
    return Stage(told["machine"], tuple(told["servers"]))


def merged(old: Iterable[Measured], new: Iterable[Measured], scenarios: Sequence[Scenario]) -> list[Measured]:
    """The new ones in the place of the old ones of the same name, in the order of the scenarios."""
    found = {one.scenario.name: one for one in (*old, *new)}
    return [found[scenario.name] for scenario in scenarios if scenario.name in found]


def save(file: Path, measured: Sequence[Measured], stage: Stage) -> None:
    """Keep them."""
    told = {
        one.scenario.name: {
            "day": one.day, "rounds": one.rounds, "size": one.size, "load": [round(value, 2) for value in one.load],
            "rows": [_plain(row) for row in one.rows],
        }
        for one in measured
    }  # fmt: skip
    text = json.dumps({"stage": asdict(stage), "scenarios": told}, indent=1, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def _plain(row: Row) -> dict[str, object]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(row).items()}


def _measured(scenario: Scenario, told: Mapping[str, Any]) -> Measured:
    first, last = told["load"]
    rows = [Row(**row) for row in told["rows"]]
    return Measured(scenario, rows, (first, last), told["day"], told["rounds"], told["size"])
