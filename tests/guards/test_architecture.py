"""ARCHITECTURE.md shows the layers that import-linter holds, and every package has a line in it."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_shows_the_layers_that_are_held() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["id"] == "layers")
    assert "\n".join(layers) in (ROOT / "ARCHITECTURE.md").read_text()
