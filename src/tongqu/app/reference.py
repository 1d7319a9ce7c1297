"""Writes the reference pages from the code itself, or checks that they are what the code says.

`python -m tongqu.app.reference` writes docs/reference/*.md; with `--check` it changes nothing and fails when a page
differs. Pages about tests are made of docs/reference/tested.json, which `make tables` writes. No page holds a date or a
machine's name, so the same code and the same facts give the same pages.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from inspect import cleandoc
from io import StringIO
from pathlib import Path
from typing import Any

from tongqu.app import connector_page, guarantees_page, operator_page, schema_page, type_table, vendor_page
from tongqu.app.messages import catalogue
from tongqu.core import errors, operator
from tongqu.kit.faults import POINTS

_TESTED, _PROVEN = "tested.json", "proven.json"
_MADE_OF_TESTS = "<!-- Made by `make tables` from tests that ran (tested.json); change the tests instead. -->\n\n"
_PROVEN_BY = "<!-- Made by `make guarantees` from tests that ran (proven.json); change the tests instead. -->\n\n"
_MADE = "<!-- Made by `make docs` from the code; edit the code instead. -->\n\n"


def pages(folder: Path) -> dict[str, str]:
    """Every reference page by file name. The folder has what tests noted (`tested.json`, `proven.json`)."""
    tested = json.loads((folder / _TESTED).read_text(encoding="utf-8"))
    return {
        **{name: _MADE + text for name, text in connector_page.pages().items()},
        **{name: _MADE + text for name, text in vendor_page.pages().items()},
        "operators.md": _MADE + _operators(),
        "cli.md": _MADE + _cli(),
        "errors.md": _MADE + _errors(),
        "operator-tests.md": _MADE_OF_TESTS + operator_page.page(tested, "en"),
        "operator-tests.zh-CN.md": _MADE_OF_TESTS + operator_page.page(tested, "zh"),
        "schema-changes.md": _MADE_OF_TESTS + schema_page.page(tested),
        "guarantees.md": _PROVEN_BY + guarantees_page.page(json.loads((folder / _PROVEN).read_text(encoding="utf-8"))),
        "types.md": _MADE + type_table.page(),
    }


# ---- operators


def _shown(value: Any) -> str:
    return "–" if value in (None, "") else f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _operators() -> str:
    parts = ["# Operators 算子\n\nA step of a pipeline is one verb. Expressions are DuckDB's scalar SQL.\n"]
    for verb in operator.verbs():
        found = operator.operator(verb)
        kind = "row by row" if found.row_wise else "over its whole input"
        parts.append(f"\n## {verb}\n\n{found.title.get('zh', '')} · works {kind}.\n\n{_text(found.__doc__)}\n\n")
        parts.append("| setting | type | default | meaning |\n|---|---|---|---|\n")
        schema = found.model_json_schema()
        required = set(schema.get("required", ()))
        for name, entry in schema.get("properties", {}).items():
            default = "required" if name in required else _shown(entry.get("default"))
            parts.append(
                f"| `{name}` | {connector_page.kind(entry)} | {default} | {_cell(entry.get('description', ''))} |\n"
            )
    return "".join(parts)


def _text(docstring: str | None) -> str:
    return cleandoc(docstring or "")


# ---- command line


def _cli() -> str:
    from tongqu.app.cli.main import main

    os.environ["COLUMNS"] = "80"  # the page must not depend on somebody's terminal
    parts = [
        "# Command line 命令行\n\n"
        "Exit codes: 0 done · 1 failed · 2 refused before any connection · 3 done, look at it.\n"
    ]
    for command in _commands():
        words = ["--lang", "en", *command.split(), "--help"]
        out = StringIO()
        with redirect_stdout(out):
            try:
                main(words)
            except SystemExit as ended:
                assert not ended.code, command  # noqa: S101  # help never fails
        parts.append(f"\n## {f'tongqu {command}'.strip()}\n\n```text\n{out.getvalue().strip()}\n```\n")
    parts.append("\n## Crash points\n\n`TONGQU_CRASH_AT=point[:n]` kills the process there, for drills.\n\n")
    parts += [f"* `{name}`: {what}\n" for name, what in POINTS.items()]
    return "".join(parts)


def _commands() -> Iterator[str]:
    """Every command as it is typed, groups before what is in them."""
    from tongqu.app.cli.group import application

    whole = application()
    yield ""
    for name in whole.list_commands(None):
        command = whole.get_command(None, name)
        inner = sorted(getattr(command, "commands", {}))
        yield from (f"{name} {below}" for below in inner) if inner else (name,)


# ---- errors


def _errors() -> str:
    zh = catalogue("zh")
    lines = ["# Error codes 错误码\n\n| code | 含义 | exit | retried | meaning |\n|---|---|---|---|---|\n"]
    for kind in sorted(set(_kinds(errors.TongquError)), key=lambda k: k.code):
        retried = "yes" if kind.retryable else "no"
        meaning = _cell(_text(kind.__doc__).split("\n\n", maxsplit=1)[0])
        lines.append(f"| `{kind.code}` | {zh.get(kind.code, '')} | {kind.exit_code} | {retried} | {meaning} |\n")
    return "".join(lines)


def _kinds(kind: type[errors.TongquError]) -> Iterator[type[errors.TongquError]]:
    if kind.__module__ == errors.__name__:
        yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def write(folder: Path, *, check: bool) -> list[str]:
    """Write the pages into the folder, or only compare; returns the names of pages that differed."""
    different = []
    for name, text in pages(folder).items():
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        different.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return [*different, *_readmes(folder.parents[1], check=check)]


def _readmes(root: Path, *, check: bool) -> list[str]:
    """Put the table of systems into the READMEs; the names of those that differed."""
    different = []
    for name, language in (("README.md", "en"), ("README.zh-CN.md", "zh")):
        path = root / name
        before = path.read_text(encoding="utf-8")
        now = connector_page.with_systems(before, language)
        if now != before:
            different.append(name)
            if not check:
                path.write_text(now, encoding="utf-8")
    return different


if __name__ == "__main__":
    checking = "--check" in sys.argv[1:]
    stale = write(Path("docs/reference").absolute(), check=checking)
    if stale and checking:
        sys.stderr.write(f"docs/reference is not what the code says: {', '.join(stale)}; run `make docs`\n")
        sys.exit(1)
