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

from tongqu.app import operator_page, schema_page, type_table
from tongqu.app.messages import catalogue
from tongqu.core import errors, operator, registry
from tongqu.core.connector import Can, Connector
from tongqu.kit.faults import POINTS

_TESTED = "tested.json"
_MADE_OF_TESTS = "<!-- Made by `make tables` from tests that ran (tested.json); change the tests instead. -->\n\n"
_MADE = "<!-- Made by `make docs` from the code; edit the code instead. -->\n\n"


def pages(folder: Path) -> dict[str, str]:
    """Every reference page by file name. The folder has what tests noted (`tested.json`)."""
    tested = json.loads((folder / _TESTED).read_text(encoding="utf-8"))
    return {
        "connectors.md": _MADE + _connectors(),
        "operators.md": _MADE + _operators(),
        "cli.md": _MADE + _cli(),
        "errors.md": _MADE + _errors(),
        "operator-tests.md": _MADE_OF_TESTS + operator_page.page(tested, "en"),
        "operator-tests.zh-CN.md": _MADE_OF_TESTS + operator_page.page(tested, "zh"),
        "schema-changes.md": _MADE_OF_TESTS + schema_page.page(tested),
        "types.md": _MADE + type_table.page(),
    }


# ---- connectors


def _connectors() -> str:
    found = [registry.connector(name) for name in registry.names()]
    parts = [
        "# Connectors 连接器\n\nHow far each system was tried: *real* (the system itself), *compatible* (another "
        "server that speaks its protocol), *mock*, *compile-only* (no server could be had; SQL and driver calls are "
        "written for it).\n\n",
        "| connector | extra | URL | capabilities |\n|---|---|---|---|\n",
    ]
    for connector in found:
        able = ", ".join(str(flag.name).lower() for flag in Can if flag in connector.can)
        urls = " ".join(f"`{scheme}:`" for scheme in connector.schemes)
        parts.append(f"| [{connector.name}](#{connector.name}) | {connector.extra or '–'} | {urls} | {able} |\n")
    parts += [_connector(connector) for connector in found]
    return "".join(parts)


def _connector(connector: Connector) -> str:
    lines = [f"\n## {connector.name}\n\n{connector.title['en']} · {connector.title['zh']}\n\n"]
    lines += [f"* {system}\n" for system in connector.systems]
    lines.append(f"\n{connector.guarantee['en']}.\n\n{connector.guarantee['zh']}。\n")
    lines.append("\n| setting | 名称 | type | default | meaning |\n|---|---|---|---|---|\n")
    schema = connector.settings.model_json_schema()
    required = set(schema.get("required", ()))
    for name, entry in schema["properties"].items():
        title = entry.get("x-i18n", {}).get("zh", "")
        default = "required" if name in required else _shown(entry.get("default"))
        meaning = _cell(entry.get("description", ""))
        lines.append(f"| `{name}` | {title} | {_type(entry)} | {default} | {meaning} |\n")
    return "".join(lines)


def _type(entry: dict[str, Any]) -> str:
    if "enum" in entry:
        return " · ".join(f"`{value}`" for value in entry["enum"])
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(_type(option) for option in entry["anyOf"] if option.get("type") != "null"))
    kind = str(entry.get("type", "any"))
    return "secret" if entry.get("format") == "password" else kind


def _shown(value: Any) -> str:
    return "–" if value in (None, "") else f"`{value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# ---- operators


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
            parts.append(f"| `{name}` | {_type(entry)} | {default} | {_cell(entry.get('description', ''))} |\n")
    return "".join(parts)


def _text(docstring: str | None) -> str:
    return cleandoc(docstring or "")


# ---- command line

_COMMANDS = (
    "", "sync", "run", "undo", "check", "connectors", "schema", "quarantine list", "quarantine show", "runs list",
    "runs show", "runs logs", "drill", "demo",
)  # fmt: skip


def _cli() -> str:
    from tongqu.app.cli.main import main

    os.environ["COLUMNS"] = "80"  # the page must not depend on somebody's terminal
    parts = [
        "# Command line 命令行\n\n"
        "Exit codes: 0 done · 1 failed · 2 refused before any connection · 3 done, look at it.\n"
    ]
    for command in _COMMANDS:
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
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return different


if __name__ == "__main__":
    checking = "--check" in sys.argv[1:]
    stale = write(Path("docs/reference"), check=checking)
    if stale and checking:
        sys.stderr.write(f"docs/reference is not what the code says: {', '.join(stale)}; run `make docs`\n")
        sys.exit(1)
