"""Every error code and every message that is used exists in every language, with the same parameters."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

import tongqu
from tongqu.app.cli.group import COMMANDS
from tongqu.app.messages import LANGUAGES, catalogue
from tongqu.core import errors
from tongqu.engine.report import STATUSES

SOURCE = Path(tongqu.__file__).parent


def codes(kind: type[errors.TongquError] = errors.TongquError) -> set[str]:
    children = [child for child in kind.__subclasses__() if not child.__module__.startswith("tongqu.testing")]
    return {kind.code}.union(*(codes(child) for child in children))


def used() -> set[str]:
    texts = [path.read_text(encoding="utf-8") for path in (SOURCE / "app").rglob("*.py")]
    plain = {found for text in texts for found in re.findall(r'\bt\(\s*"([\w.]+)"', text)}
    helps = {found for text in texts for found in re.findall(r'@command\(app, "\w+", "([\w.]+)"\)', text)}
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


def parameters(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}
