"""What people see of two-way sync: the commands' own words, the management API, schedules, and what is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tongqu.app.http.table import OPERATIONS
from tongqu.app.project.load import load
from tongqu.app.services.tasks import Tasks
from tongqu.testing.command_line import inside

HEAD = "project: p\nconnections: {a: {type: sqlite, path: a.db}, b: {type: sqlite, path: b.db}}\nsync:\n  s:\n"
BETWEEN = "    between: [{connection: a, dataset: t}, {connection: b, dataset: t}]\n"


def folder_of(folder: Path, more: str = "") -> Path:
    (folder / "tongqu.yaml").write_text(HEAD + BETWEEN + more)
    for number, name in enumerate("ab"):
        with closing(sqlite3.connect(folder / f"{name}.db")) as database:
            database.execute("CREATE TABLE t (k text, n int, v text, PRIMARY KEY (k, n))")
            database.execute("INSERT INTO t VALUES ('x', 1, ?)", (f"v{number}",))
            database.commit()
    return folder


def test_people_are_told_what_waits_and_what_became_of_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "    conflict: manual\n")
    assert "s" in inside(folder, "twoway", "list").out
    assert "1" in inside(folder, "twoway", "run", "s").out
    waits = inside(folder, "twoway", "conflicts")
    assert waits.out == "1  s  x, 1: the sides changed it differently\n  a: k=x, n=1, v=v0\n  b: k=x, n=1, v=v1\n"
    assert "下一轮" in inside(folder, "twoway", "resolve", "s", "1", "--use", "b", "--lang", "zh").out
    inside(folder, "twoway", "run", "s")
    assert inside(folder, "twoway", "read", "s").out.splitlines()[1].split()[:4] == ["x", "1", "v1", "1"]
    assert inside(folder, "twoway", "show", "s").code == 0
    assert inside(folder, "twoway", "forget", "s").out == "s: 1 records forgotten\n"
    audit = inside(folder, "audit", "show", "--kind", "action", "--json").document
    assert {"twoway.resolve", "twoway.run", "twoway.forget"} <= {one["what"] for one in audit["records"]}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("    master: c\n", "the master 'c' is no side"),
        ("    conflict: newest\n", "needs a `version`"),
        ("    mode: incremental\n", "needs a `cursor`"),
        ("    stage: both\n", "shadow"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_connection(tmp_path: Path, more: str, told: str) -> None:
    (tmp_path / "tongqu.yaml").write_text(HEAD + BETWEEN + more)
    done = inside(tmp_path, "check", "--json")
    assert done.code == 2
    assert told in done.document["problems"][0]["message"] + done.document["problems"][0]["hint"]


def test_a_schedule_makes_rounds_and_logs_are_followed_all_the_time(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "    schedule: {every: 5m}\n")
    [task] = Tasks.of(load(folder), "").scheduled()
    assert (task.name, task.kind, task.kept) == ("sync.s", "twoway", False)
    (folder / "tongqu.yaml").write_text(HEAD + BETWEEN + "    mode: cdc\n")
    assert [task.kept for task in Tasks.of(load(folder), "").scheduled()] == [True]


def test_fields_that_change_are_told_and_not_guessed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    assert inside(folder, "twoway", "run", "s").code == 0
    for name in "ab":
        with closing(sqlite3.connect(folder / f"{name}.db")) as database:
            database.execute("ALTER TABLE t ADD COLUMN more int")
            database.commit()
    done = inside(folder, "twoway", "run", "s", "--json")
    assert (done.code, done.document["problems"][0]["hint"][:22]) == (1, "tongqu twoway forget s")
    inside(folder, "twoway", "forget", "s")
    assert inside(folder, "twoway", "run", "s").code == 0


def test_everything_can_be_managed_over_http() -> None:
    assert {name for name in OPERATIONS if name.startswith("twoway.")} == {
        f"twoway.{word}" for word in ("list", "show", "read", "conflicts", "resolve", "advance", "forget")
    }
