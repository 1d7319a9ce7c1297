"""How an API wants instants written is read off its document, and UTC stands where it says no zone."""

from __future__ import annotations

from typing import Any

import pytest

from tongqu.kit.answers.increments import IncrementalSettings
from tongqu.kit.openapi.times import written


@pytest.mark.parametrize(
    ("parameter", "schema", "said"),
    [
        ({"description": "更新时间, 格式 yyyy-MM-dd HH:mm:ss"}, {}, "%Y-%m-%d %H:%M:%S"),
        ({"example": "2026-01-01 00:00:00"}, {}, "%Y-%m-%d %H:%M:%S"),
        ({"description": "YYYYMMDD"}, {"type": "string"}, "%Y%m%d"),
        ({}, {"example": "20260101"}, "%Y%m%d"),
        ({"description": "yyyy-MM-dd'T'HH:mm:ss"}, {}, "%Y-%m-%dT%H:%M:%S"),
        ({}, {"type": "string", "format": "date"}, "date"),
        ({"description": "since 2026, see the guide"}, {"type": "string"}, ""),
        ({}, {"type": "string", "format": "date-time"}, ""),
    ],
)
def test_a_pattern_or_an_example(parameter: Any, schema: Any, said: str) -> None:
    told = written(parameter, schema)
    assert told == ({"format": said, "timezone": "UTC"} if said else {})
    IncrementalSettings.parse({"cursor": "at", "param": "since", **told})


@pytest.mark.parametrize(
    ("parameter", "schema", "said"),
    [
        ({"description": "修改时间(毫秒)"}, {"type": "integer"}, {"format": "epoch_ms"}),
        ({"example": 1772352000000}, {"type": "integer"}, {"format": "epoch_ms"}),
        ({"description": "Unix timestamp"}, {"type": "integer"}, {"format": "epoch"}),
        ({"description": "version"}, {"type": "integer"}, {}),
    ],
)
def test_numbers(parameter: Any, schema: Any, said: Any) -> None:
    assert written(parameter, schema) == said
