"""Rooms stay small: files of at most 400 lines, functions of at most 60."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))

LONG_FILES: dict[str, str] = {}
"""Files that may be longer, each with its reason; the list may only shrink."""


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_files_are_at_most_400_lines() -> None:
    long = {str(p.relative_to(ROOT)): n for p in SOURCES if (n := len(p.read_text().splitlines())) > 400}
    assert {name: n for name, n in long.items() if name not in LONG_FILES} == {}


def test_functions_are_at_most_60_lines() -> None:
    long = [f"{p.relative_to(ROOT)}:{name} {n}" for p in SOURCES for name, n in functions(p) if n > 60]
    assert long == []


def test_no_room_without_a_name() -> None:
    banned = {"utils", "common", "helpers", "manager", "misc", "base"}
    assert [str(p) for p in SOURCES if p.stem in banned or p.parent.name in banned] == []
