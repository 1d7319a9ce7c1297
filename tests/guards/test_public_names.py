"""Everything public says what it promises."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def public_without_docstring(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    missing = [] if ast.get_docstring(tree) or not tree.body else [f"{path.relative_to(ROOT)}: module"]
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            missing.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
        if isinstance(node, ast.ClassDef) and not node.bases:  # an overriding method keeps the contract it overrides
            missing += [
                f"{path.relative_to(ROOT)}:{item.lineno} {node.name}.{item.name}"
                for item in node.body
                if isinstance(item, ast.FunctionDef)
                and not item.name.startswith(("_", "test_"))  # a check's name is a sentence
                and not ast.get_docstring(item)
            ]
    return missing


def test_public_names_have_contracts() -> None:
    assert [line for path in SOURCES for line in public_without_docstring(path)] == []
