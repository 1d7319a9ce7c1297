"""The example of a case library runs as its first lines say."""

from __future__ import annotations

import shutil
from pathlib import Path

from tongqu.testing.command_line import inside

EXAMPLE = Path(__file__).parents[2] / "examples" / "api-cases"


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((folder / "cases").rglob("*.yaml"))}


def test_the_cases_are_those_of_the_document_and_pass_against_its_mock(tmp_path: Path) -> None:
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".tongqu"))
    assert inside(folder, "test", "generate", "qms").code == 0
    assert texts(folder) == texts(EXAMPLE)
    done = inside(folder, "test", "--against", "mock", "--operation", "POST *", "--html", "result.html", "--json")
    assert done.code == 0, done.out
    assert done.document["counts"]["failed"] == done.document["counts"]["skipped"] == 0
    assert "three_digits" in (folder / "result.html").read_text(encoding="utf-8")
