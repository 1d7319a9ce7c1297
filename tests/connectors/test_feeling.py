"""A source is asked how it does: small questions that stand apart, on real servers."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from tongqu.core import registry
from tongqu.core.feeling import QUESTIONS, Felt


@pytest.mark.parametrize(
    ("connector", "url"), [("postgres", "pg_url"), ("mysql", "mysql_url"), ("clickhouse", "clickhouse_url")]
)
def test_a_server_tells_how_long_small_questions_take(connector: str, url: str, request: pytest.FixtureRequest) -> None:
    asked: list[int] = []
    found: Any = registry.connector(connector)
    with closing(found.source(found.from_url(request.getfixturevalue(url)))) as source:
        assert isinstance(source, Felt)
        feeling = source.feel(lambda: asked.append(1))
    assert 0.0 < feeling.seconds < 10.0
    assert feeling.lag_seconds is None, "it has no replicas"
    assert len(asked) == QUESTIONS
