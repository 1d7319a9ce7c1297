"""What the guide shows is accepted as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tongqu.kit.http.auth.signature import Signer
from tongqu.kit.http.auth_settings import Auth
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.settings import HttpSettings

PUT = {"headers": {"X-Sign": "{signature}"}}
DOCS = Path(__file__).parents[3] / "docs"


def blocks(guide: str) -> list[dict[str, Any]]:
    text = (DOCS / guide).read_text(encoding="utf-8")
    return [YAML(typ="safe").load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize("guide", ["http.md", "http.zh-CN.md"])
def test_examples(guide: str) -> None:
    (first, tokens, signature, record) = blocks(guide)
    for values in [*first["connections"].values(), *tokens.values()]:
        HttpSettings.parse({name: value for name, value in values.items() if name != "type"})
    HttpSettings.parse({"base_url": "https://host.example", **record})
    parsed = Auth.parse(signature).signature
    assert parsed is not None
    Signer(parsed, Clock())
    rows = re.findall(r"^\| [^|]+ \| `(text: .*)` \|$", (DOCS / guide).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == 4
    for row in rows:
        parts = row.replace("`，`", ", ").replace("`, `", ", ").replace("\\|", "|")
        settings = Auth.parse(
            {"signature": {"secret": "s", "put": PUT, **YAML(typ="safe").load("{" + parts + "}")}}
        ).signature
        assert settings is not None
        Signer(settings, Clock())
