"""Help is quick, complete and in the reader's language, and reading it imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tongqu.app.cli.group import COMMANDS, GROUPS

HEAVY = ("pyarrow", "duckdb", "tongqu.core.settings", "sqlglot", "rich", "ruamel", "sqlite3", "psycopg")
COMMON = ("--project", "--env", "--json", "--lang", "--progress", "--debug")


def tongqu(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tongqu", *arguments], capture_output=True, text=True, encoding="utf-8", check=False
    )


@pytest.mark.parametrize("arguments", [("--help",), ("sync", "--help"), ("--version",)])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys, json\nfrom tongqu.app.cli.main import main\n"
        f"try:\n    main({list(arguments)!r})\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = json.loads(done.stderr.splitlines()[-1])
    assert [name for name in HEAVY if name in modules] == []


def test_help_lists_every_command() -> None:
    done = tongqu("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert f"\n  {name} " in done.stdout


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in GROUPS])
def test_every_command_takes_the_common_options(command: str) -> None:
    done = tongqu(command, "--help", "--lang", "en")
    assert done.returncode == 0, done.stderr
    for option in COMMON:
        assert option in done.stdout


def test_help_speaks_chinese() -> None:
    assert "在两个系统之间同步数据" in tongqu("--lang", "zh", "--help").stdout
    assert "读取的位置" in tongqu("sync", "--help", "--lang", "zh").stdout


def test_every_message_file_is_sorted() -> None:
    from tongqu.app.messages import LANGUAGES, catalogue

    for language in LANGUAGES:
        assert list(catalogue(language)) == sorted(catalogue(language))
