"""The suite finds no leak in the rewriter, and finds each one that is built in."""

from __future__ import annotations

from typing import Any

import pytest
from sqlglot import exp
from tests.gateway.published import Database, actor, api, people

from tongqu.core.policy import Actor
from tongqu.gateway.leaks import suite
from tongqu.gateway.leaks.suite import actors, leaks, prove
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.rewrite import views

ACCESS: dict[str, Any] = {
    "roles": ["quality"], "write_roles": ["writer"], "rows": "plant = actor.plant",
    "fields": {"inspector": {"roles": ["hr"], "otherwise": "mask"}},
    "rules": [{"roles": ["boss"], "fields": ["id", "salary"], "rows": "weight > 1"}],
}  # fmt: skip
WHO = actor("quality", "writer", plant="A")


def items(access: dict[str, Any] = ACCESS, **more: Any) -> Api:
    """An API over people."""
    return api(Database("duckdb", "items", people(), **more), people(), access)


def test_every_caller_that_rules_tell_apart_is_tried() -> None:
    names = [who.id for who in actors(items())]
    assert names[:3] == ["anonymous", "client:no role", "client:boss"] and "client:hr+quality" in names
    proof = prove(items())
    assert proof.leaks == () and proof.callers == len(names) and proof.questions > 400


@pytest.mark.parametrize(
    "access",
    [
        {"public": True},
        {"roles": ["r"], "fields": {"weight": {"mask": {"with": "bucket",
        "to": 2}}, "plant": {"mask": {"with": "keep", "first": 1}}}},
        {"roles": ["r"], "fields": {"made": {"mask": {"with": "month"}}, "id": {"mask": {"with": "null"}}}},
        {"rules": [{"roles": ["r"], "fields": ["plant"], "rows": "salary > 40"}, {"roles": ["r"],
        "fields": ["weight"]}]},
        {"roles": ["r"], "rules": [{"effect": "deny", "rows": "plant = 'A'",
        "fields": ["weight"]}, {"effect": "deny", "rows": "id < 9"}]},
        {"roles": ["r"], "fields": {"inspector": {"purposes": ["audit"], "otherwise": "mask"}}},
    ],
)  # fmt: skip
def test_nothing_leaks(access: dict[str, Any]) -> None:
    one = items(access)
    assert [leak for who in actors(one) if len(who.roles) == 1 for leak in leaks(one, who)] == []


def test_a_mask_that_only_exists_after_the_query_cannot_be_asked() -> None:
    assert leaks(items(masks=False), WHO) == []


def test_a_mask_that_shows_the_value_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "masked", lambda mask, name, schema: exp.column(name, quoted=True))
    channels = {leak.channel for leak in leaks(items(), WHO) if leak.field == "inspector"}
    assert "select" in channels and "group" in channels and any(one.startswith("filter eq") for one in channels)


def test_a_forgotten_row_rule_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = views.View.select

    def without_rows(self: views.View, names: Any) -> Any:
        tree = whole(self, names)
        tree.set("where", None)
        return tree

    monkeypatch.setattr(views.View, "select", without_rows)
    assert {"everything", "number of rows", "page"} <= {leak.channel for leak in leaks(items(), WHO)}


def test_a_hidden_field_that_is_answered_otherwise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = views.View.seen

    def telling(self: views.View, name: str, parameter: str = "") -> Any:
        if name in self.api.dataset.columns and name not in self.fields:
            raise Problem("field.unknown", f"you may not see {name}")
        return seen(self, name, parameter)

    monkeypatch.setattr(views.View, "seen", telling)
    found = {leak.channel for leak in leaks(items(), WHO) if leak.field == "salary"}
    assert {"select", "alias", "cast", "order", "sum()", "filter eq", "filter of update", "returning"} <= found


def test_who_is_refused_is_not_answered() -> None:
    assert leaks(items(), Actor.nobody()) == []
