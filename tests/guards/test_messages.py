"""Every error code and every message that is used exists in every language, with the same parameters."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import tongqu
from tongqu.app.cli.group import COMMANDS
from tongqu.app.messages import LANGUAGES, catalogue, hint, translated, use
from tongqu.core import errors
from tongqu.engine.report import STATUSES

SOURCE = Path(tongqu.__file__).parent


def codes(kind: type[errors.TongquError] = errors.TongquError) -> set[str]:
    children = [child for child in kind.__subclasses__() if not child.__module__.startswith("tongqu.testing")]
    return {kind.code}.union(*(codes(child) for child in children))


def used() -> set[str]:
    texts = [path.read_text(encoding="utf-8") for path in (SOURCE / "app").rglob("*.py")]
    plain = {found for text in texts for found in re.findall(r'\bt\(\s*"([\w.]+)"', text)}
    helps = {found for text in texts for found in re.findall(r'@command\(app, "\w+", "([\w.]+)"[,)]', text)}
    warned = {found for text in texts for found in re.findall(r'\bself\._warn\(\s*"([\w.]+)"', text)}
    columns = {
        f"column.{name}"
        for text in texts
        for names in re.findall(r"names = \(([^)]*)\)", text)
        for name in re.findall(r'"(\w+)"', names)
    }
    return plain | helps | warned | columns


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_error_code_has_a_title(language: str) -> None:
    assert codes() - set(catalogue(language)) == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_that_is_used_exists(language: str) -> None:
    wanted = used() | {f"status.{status}" for status in (*STATUSES, "running", "interrupted")}
    wanted |= {f"command.{name}" for name in COMMANDS}
    assert wanted - set(catalogue(language)) == set()


def test_all_languages_have_the_same_messages_and_parameters() -> None:
    first, *others = (catalogue(language) for language in LANGUAGES)
    for other in others:
        assert set(other) == set(first)
        for id, text in first.items():
            assert parameters(other[id]) == parameters(text), id


def test_hints_are_translated_and_what_varies_stays() -> None:
    use("zh")
    try:
        assert hint("columns: id, name") == "列：id, name"
        assert hint("did you mean 'clean'? valid: clean, dirty") == "是不是 'clean'？可用：clean, dirty"
        assert hint("for example 100 or 1%") == "例如 100 or 1%"
        assert hint("a hint that nobody has translated") == "a hint that nobody has translated"
        refused = "tcp: 10.0.0.1:5432 does not answer: connection refused"
        assert hint(refused) == "tcp：10.0.0.1:5432 没有应答：连接被拒绝"
        problem = {"path": "a", "code": "config.unknown_name", "message": "no", "hint": "rules: min, max"}
        assert translated(problem)["hint"] == "规则：min, max"
    finally:
        use("en")
    assert hint("columns: id, name") == "columns: id, name"


def test_the_phrase_book_holds_only_hints_that_are_given() -> None:
    """A hint that was changed in the code must be changed in the phrase book too."""
    book = json.loads((SOURCE / "app/messages/hints.zh.json").read_text(encoding="utf-8"))
    for path in SOURCE.rglob("*.py"):
        texts = set(_texts(ast.parse(path.read_text(encoding="utf-8"))))
        book = {phrase: meant for phrase, meant in book.items() if not any(phrase in text for text in texts)}
    assert book == {}


def test_phrases_keep_what_varies() -> None:
    book = json.loads((SOURCE / "app/messages/hints.zh.json").read_text(encoding="utf-8"))
    assert {one for one, meant in book.items() if one.count("{}") != meant.count("{}")} == set()


def _texts(tree: ast.AST) -> Iterator[str]:
    """All texts of a module, with `{}` where f-strings put a value in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)


def parameters(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}
