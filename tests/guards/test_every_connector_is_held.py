"""Every connector has its line in the conformance tests, under its own name."""

from __future__ import annotations

import ast
from pathlib import Path

from tongqu.core import registry

LINES = Path(__file__).parents[1] / "connectors" / "test_conformance.py"


def held() -> set[str]:
    """The names that the conformance tests are made for."""
    calls = [node for node in ast.walk(ast.parse(LINES.read_text())) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "conformance"]
    return {str(ast.literal_eval(call.args[0])) for call in made}


def test_every_connector_is_held_by_the_kit() -> None:
    free = set(registry.names()) - held()
    assert not free, f"connectors without a line in {LINES.name}: {', '.join(sorted(free))}"


def test_no_line_is_for_a_connector_that_is_gone() -> None:
    assert held() <= set(registry.names())
