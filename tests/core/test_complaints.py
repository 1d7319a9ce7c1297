"""What is wrong with a value of a setting is said in plain words, in both languages, and never with a secret."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field

from tongqu.app.messages import translated, use
from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Secret, Settings


class Tank(Settings):
    """Settings of every kind."""

    columns: tuple[str, ...] = Field(default=("a",), min_length=1)
    units: dict[str, str] = Field(default_factory=dict)
    level: int = Field(default=1, ge=0)
    open: bool = True
    name: str = ""
    kind: Literal["oil", "water"] = "oil"
    token: Secret | None = None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"columns": []}, "columns: needs 1 or more entries, got []"),
        ({"columns": {"a": 1}}, "columns: must be a list, got {…}"),
        ({"units": ["kg"]}, "units: must be a mapping, got […]"),
        ({"level": "much"}, "level: must be a whole number, got 'much'"),
        ({"level": -1}, "level: must be at least 0, got -1"),
        ({"open": "perhaps"}, "open: must be true or false, got 'perhaps'"),
        ({"name": None}, "name: must be a text, got null"),
        ({"kind": "air"}, "kind: must be one of 'oil' or 'water', got 'air'"),
        ({"kind": "x://me:4713/@h/a"}, "kind: must be one of 'oil' or 'water', got 'x://***@h/a'"),
        ({"token": 4713}, "token: must be a text, got ***"),
    ],
)
def test_a_value_that_is_wrong(values: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        Tank.parse(values)
    assert caught.value.message == said
    use("zh")
    try:
        shown = translated(caught.value.problem())["message"]
    finally:
        use("en")
    assert shown.startswith("设置有误：")
    assert "must" not in shown
    assert "needs" not in shown
