"""Commands that change something stand in the audit trail: who did what to what, how it ended, and no password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tongqu.testing.command_line import inside, make, query


def actions(folder: Path) -> list[tuple[Any, ...]]:
    """What was done, oldest first: action, thing, outcome."""
    records = inside(folder, "audit", "show", "--kind", "action", "--json").document["records"]
    return [(one["what"], one["on"], one["outcome"]) for one in reversed(records)]


def test_undo_and_repairs_are_told_and_comparing_is_not(tmp_path: Path) -> None:
    make(tmp_path / "a.db", "lots", "id INTEGER PRIMARY KEY, kg INTEGER", [(1, 5), (2, 6)])
    move = ("sync", "sqlite:a.db", "sqlite:b.db", "--table", "lots", "--write", "replace")
    assert inside(tmp_path, *move).code == 0
    assert inside(tmp_path, *move).code == 0
    assert inside(tmp_path, "undo", "sqlite:b.db", "--table", "lots").code == 0
    make(tmp_path / "c.db", "lots", "id INTEGER PRIMARY KEY, kg INTEGER", [(1, 5)])
    compare = ("diff", "sqlite:a.db", "sqlite:c.db", "--table", "lots")
    assert inside(tmp_path, *compare).code == 3
    assert actions(tmp_path) == [("undo", "sqlite:b.db", "begun"), ("undo", "sqlite:b.db", "done")]
    assert inside(tmp_path, *compare, "--repair").code == 0
    assert query(tmp_path / "c.db", "SELECT id, kg FROM lots") == [(1, 5), (2, 6)]
    assert actions(tmp_path)[2:] == [("diff", "sqlite:a.db sqlite:c.db", word) for word in ("begun", "done")]


def test_a_password_in_an_address_is_not_in_the_trail(tmp_path: Path) -> None:
    done = inside(tmp_path, "undo", "postgres://mes:geheim9@127.0.0.1:1/plant", "--table", "lots", "--json")
    assert done.code != 0
    (begun, failed) = actions(tmp_path)
    assert begun[0] == "undo"
    assert "geheim9" not in begun[1]
    assert failed[2] == done.document["problems"][0]["code"]
    assert not [file for file in tmp_path.rglob("*.log") if "geheim9" in file.read_text(encoding="utf-8")]


def test_calls_connectors_and_drills_are_told(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text("project: plant\n", encoding="utf-8")
    assert inside(tmp_path, "connectors", "remove", "tap-nothing").code != 0
    assert inside(tmp_path, "calls", "retry", "--run", "none").code == 0
    assert inside(tmp_path, "drill", "--points").code == 0  # a list
    assert inside(tmp_path, "drill", "security", "--api", "/api/v1/lots", "--url", "http://127.0.0.1:9").code != 0
    assert inside(tmp_path, "quarantine", "replay").code == 0
    told = actions(tmp_path)
    assert [(what, on) for what, on, outcome in told if outcome == "begun"] == [
        ("connectors.remove", "tap-nothing"), ("calls.retry", ""), ("drill", "security"), ("quarantine.replay", "")
    ]  # fmt: skip
