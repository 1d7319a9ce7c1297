"""The pages made of tests that ran say what the committed facts say, and the facts leave no change of a schema out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tongqu.app import operator_page, schema_page
from tongqu.core.schema_changes import OUTCOMES, Kind, SchemaChanges
from tongqu.testing.tested import merged, written

FOLDER = Path(__file__).parents[2] / "docs/reference"
FACTS: dict[str, list[dict[str, Any]]] = json.loads((FOLDER / "tested.json").read_text(encoding="utf-8"))
PAGES = {
    "operator-tests.md": operator_page.page(FACTS, "en"),
    "operator-tests.zh-CN.md": operator_page.page(FACTS, "zh"),
    "schema-changes.md": schema_page.page(FACTS),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_made_of_the_facts(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8").endswith(PAGES[name]), "run `make docs`"


def test_facts_are_written_in_one_way() -> None:
    again = merged((table, fact) for table, facts in reversed(FACTS.items()) for fact in reversed(facts))
    assert written(again) == (FOLDER / "tested.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("system", ["postgres", "mysql", "sqlite", "duckdb"])
def test_every_outcome_that_is_promised_was_seen(system: str) -> None:
    facts = [fact for fact in FACTS["schema_changes"] if system in fact["systems"]]
    seen = {(fact["mode"], fact["outcome"]) for fact in facts}
    promised = {(mode.value, OUTCOMES[kind][mode].value) for kind in Kind for mode in SchemaChanges}
    assert promised - seen == set()


def test_facts_that_differ_only_in_lists_are_one() -> None:
    facts = [("t", {"verb": "b", "lane": "x", "counts": ["in"]}), ("t", {"verb": "a", "lane": "x", "counts": []}),
             ("t", {"verb": "b", "lane": "x", "counts": ["filtered", "in"]})]  # fmt: skip
    assert merged(facts) == {
        "t": [{"verb": "a", "lane": "x", "counts": []}, {"verb": "b", "lane": "x", "counts": ["filtered", "in"]}]
    }
