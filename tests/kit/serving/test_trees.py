"""Trees of questions with thousands of values are written in a time that grows as they do."""

from __future__ import annotations

import time

import pytest
import sqlglot
from sqlglot import exp

from tongqu.connectors.mysql.serving.sql import marked
from tongqu.connectors.postgres.serving.sql import numbered
from tongqu.kit.serving.statements import Statements
from tongqu.kit.serving.trees import WIDE, holes, put


def asking(values: int) -> exp.Query:
    """`id IN (…)` with so many placeholders."""
    tree = sqlglot.parse_one("SELECT id FROM items WHERE id IN (1)")
    assert isinstance(tree, exp.Query)
    found = tree.find(exp.In)
    assert found is not None
    found.set("expressions", [exp.Placeholder(this=f"p{number}") for number in range(values)])
    return tree


def test_a_node_is_put_in_the_place_of_another() -> None:
    tree = asking(3)
    second = list(holes(tree))[1]
    put(second, exp.Literal.number(7))
    put(list(holes(tree))[1], exp.Placeholder(this="last"))
    assert tree.sql() == "SELECT id FROM items WHERE id IN (:p0, 7, :last)"
    assert second.parent is None


@pytest.mark.parametrize("write", [numbered, marked])
def test_thousands_of_values_do_not_hold_everybody_up(write: object) -> None:
    tree = asking(5000)
    began = time.process_time()
    statement = write(tree)  # type: ignore[operator]  # either of the two
    assert time.process_time() - began < 1.0  # it took four seconds where each value moved all others
    assert statement.names[:2] == ("p0", "p1") and len(statement.names) == 5000


def test_the_sql_of_wide_questions_is_not_kept() -> None:
    statements = Statements("sqlite", lambda name: None)
    narrow, wide = asking(WIDE), asking(WIDE + 1)
    assert len(statements.of(narrow).names) == WIDE and len(statements.of(wide).names) == WIDE + 1
    assert statements.kept(narrow) is not None and statements.kept(wide) is None
