"""Steps of project files: short forms, and what is said about wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from tongqu.core.errors import ConfigError, ExpressionError, InvalidSettingsError, UnknownNameError
from tongqu.core.operator import operator, parse_step, verbs
from tongqu.core.settings import description

DICTIONARY = {
    "inspection": {"fields": {"lot_no": {"required": True, "title": {"zh": "批号"}}, "plant": {"type": "string"}}}
}


def test_every_file_is_a_verb() -> None:
    assert verbs() == (
        "aggregate", "cast", "check", "clean", "code_map", "compare", "convert", "decrypt", "deduplicate", "derive",
        "drop", "encrypt", "fill", "filter", "join", "lookup", "mask", "model", "parse", "pivot", "python", "rename",
        "route", "select", "sort", "split_columns", "split_rows", "sql", "to_json", "union", "unpivot", "window",
    )  # fmt: skip


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_has_titles_and_a_schema_with_descriptions(verb: str) -> None:
    kind = operator(verb)
    assert kind.verb == verb and set(kind.title) == {"zh", "en"}
    assert kind.yaml_schema()["description"]
    assert all(description(kind, name) for name in kind.model_fields)


@pytest.mark.parametrize(
    ("raw", "settings"),
    [
        ({"rename": {"LOT": "lot_no"}}, {"columns": {"LOT": "lot_no"}}),
        ({"filter": "weight is not null"}, {"where": "weight is not null"}),
        ({"select": ["a", "b"]}, {"columns": ("a", "b")}),
        ({"deduplicate": ["k"]}, {"by": ("k",), "keep": "first", "order": None, "expire": None}),
        ({"aggregate": {"by": "a", "n": "count(*)"}}, {"by": ("a",), "measures": {"n": "count(*)"}, "window": None}),
        (
            {"join": {"left": "r", "right": "l", "on": "line_id"}},
            {"left": "r", "right": "l", "on": {"line_id": "line_id"}, "how": "inner", "suffix": "", "within": None},
        ),
    ],
)
def test_short_form(raw: dict[str, Any], settings: dict[str, Any]) -> None:
    assert parse_step(raw, "steps[0]").operator.model_dump() == settings


def test_id_and_from() -> None:
    step = parse_step({"id": "daily", "from": "joined", "aggregate": {"by": ["a"]}}, "steps[1]")
    assert (step.id, step.verb, step.inputs, step.path) == ("daily", "aggregate", ("joined",), "steps[1].aggregate")


def test_join_names_its_inputs() -> None:
    assert parse_step({"join": {"left": "r", "right": "l", "on": "x"}}, "").inputs == ("r", "l")


def test_check_takes_the_rules_of_the_dictionary() -> None:
    step = parse_step({"check": "inspection"}, "steps[3]", DICTIONARY)
    rules = step.operator.model_dump()["rules"]
    assert sorted(rules) == ["lot_no", "plant"] and rules["lot_no"]["required"]


@pytest.mark.parametrize(
    ("raw", "error", "words"),
    [
        ({"fliter": "a"}, UnknownNameError, "fliter"),
        ({"filter": "a", "drop": ["b"]}, InvalidSettingsError, "exactly one verb"),
        ({"id": "x"}, InvalidSettingsError, "exactly one verb"),
        ({"select": []}, InvalidSettingsError, "columns"),
        ({"rename": ["a"]}, InvalidSettingsError, "columns"),
        ({"deduplicate": {"by": ["a"], "keeps": "last"}}, InvalidSettingsError, "unknown key 'keeps'"),
        ({"check": "nowhere"}, UnknownNameError, "nowhere"),
        ({"check": {"a": {"requird": True}}}, InvalidSettingsError, "unknown rule 'requird'"),
        ({"cast": {"a": "dezimal"}}, ExpressionError, "unknown type 'dezimal'"),
        ({"sql": "drop table x"}, ExpressionError, "not one SELECT"),
        ({"sql": "select * from 'secret.csv'"}, ExpressionError, "not an input"),
        ({"sql": "select * from read_csv('secret.csv')"}, ExpressionError, "not"),
        ({"sql": "select getenv('HOME') from input"}, ExpressionError, "getenv"),
        ({"from": 5, "filter": "a"}, InvalidSettingsError, "from"),
        ({"from": "x", "join": {"left": "a", "right": "b", "on": "c"}}, InvalidSettingsError, "itself"),
    ],
)
def test_wrong_step_is_refused_with_its_place(raw: dict[str, Any], error: type[ConfigError], words: str) -> None:
    with pytest.raises(error) as caught:
        parse_step(raw, "pipelines.p.steps[0]", DICTIONARY)
    assert words in caught.value.message


def test_nearest_verb_is_offered() -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_step({"fliter": "a"}, "steps[0]")
    assert "did you mean 'filter'?" in caught.value.hint and caught.value.path == "steps[0].fliter"
