"""What the guide shows is accepted as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tongqu.kit.profiles.expanding import expanded
from tongqu.kit.profiles.profile import profile

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("guide", ["profiles.md", "profiles.zh-CN.md"])
def test_examples(guide: str, tmp_path: Path) -> None:
    connection, own = re.findall(r"```yaml\n(.*?)```", (DOCS / guide).read_text(encoding="utf-8"), re.DOTALL)
    assert "profile: dingtalk" in connection
    file = tmp_path / "ours.yaml"
    file.write_text(own, encoding="utf-8")
    made = expanded(profile(str(file)), {"key": "x", "base_url": "https://hours.plant.example"})
    assert made["datasets"]["hours"]["units"] == {"hours": "h"}
