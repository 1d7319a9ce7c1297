"""Who resolved which reference is written down, without values, and does not grow for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tongqu.store.home import Home
from tongqu.store.secrets import usage
from tongqu.store.secrets.usage import Usage, last_uses, uses


def test_a_use_has_its_command_and_run(tmp_path: Path) -> None:
    home = Home(tmp_path)
    mine = Usage(home, command="sync")
    mine.note([("secret", "mes"), ("env", "URL")])
    mine.began("r1")
    mine.note([("vault", "secret/plant#password")])
    Usage(home, command="check").note([("secret", "mes")])
    found = [(use["kind"], use["name"], use["command"], use["run"]) for use in uses(home)]
    assert found == [
        ("secret", "mes", "check", ""),
        ("vault", "secret/plant#password", "sync", "r1"),
        ("env", "URL", "sync", "r1"),
        ("secret", "mes", "sync", "r1"),
    ]
    assert [use["command"] for use in uses(home, "mes")] == ["check", "sync"]
    assert list(last_uses(home)) == ["mes"]
    assert home.secret_usage.stat().st_mode & 0o777 == 0o600


def test_the_home_is_not_made_for_it_and_what_came_before_is_not_lost(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    mine = Usage(home, command="sync")
    mine.note([("env", "URL")])
    assert not home.path.exists()
    assert uses(home) == []
    home.ensure()
    mine.began("r1")
    assert [(use["name"], use["run"]) for use in uses(home)] == [("URL", "r1")]


def test_it_is_bounded_by_number_and_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "KEEP", 10)
    then = datetime(2026, 1, 1, tzinfo=UTC)
    old = Usage(Home(tmp_path), clock=lambda: then)
    for number in range(30):
        old.note([("secret", f"s{number}")])
    assert [use["name"] for use in uses(Home(tmp_path))] == [f"s{number}" for number in range(29, 19, -1)]
    Usage(Home(tmp_path), clock=lambda: then + timedelta(days=181)).note([("secret", "new")])
    assert [use["name"] for use in uses(Home(tmp_path))] == ["new"]


def test_a_log_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.secret_usage.write_bytes(b"this is no database" * 100)
    told: list[str] = []
    mine = Usage(home, warn=told.append)
    mine.note([("secret", "mes")])
    mine.note([("secret", "mes")])
    assert told == ["file is not a database"]
