"""What a project may not do, and where its errors point: file and line, exit 2 from files alone, else 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import Done, make, tongqu


def run(folder: Path, *steps: dict[str, Any], sink: dict[str, Any] | None = None) -> Done:
    """Run one pipeline with these steps over a table `t (id, line)` of 10 rows."""
    make(folder / "q.db", "t", "id INTEGER PRIMARY KEY, line TEXT", [(n, "AB"[n % 2]) for n in range(10)])
    project = {
        "connections": {"q": {"type": "sqlite", "path": "q.db"}, "lake": {"type": "sqlite", "path": "lake.db"}},
        "pipelines": {
            "p": {
                "source": {"connection": "q", "dataset": "t"},
                "steps": list(steps),
                "sink": sink or {"connection": "lake", "dataset": "p"},
            }
        },
    }
    (folder / "tongqu.yaml").write_text(json.dumps(project), encoding="utf-8")
    return tongqu(folder, "run", "p", "--json")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"filter": "id > "}, "cannot parse the expression: an operand is missing"),
        ({"filter": "id > > 1"}, "'id >> 1' is not allowed"),
        ({"sql": "select from"}, "cannot parse the query: Expected table name (line 1, column 11)"),
        ({"filter": "getenv('HOME') = 'x'"}, "'getenv' is not allowed"),
        ({"derive": {"x": "read_text('/etc/passwd')"}}, "'read_text' is not allowed"),
        ({"aggregate": {"n": "cont(*)"}}, "'cont' is not allowed"),
        ({"sql": "select * from read_csv('/etc/passwd')"}, "is not an input of the query"),
        ({"sql": "copy (select 1) to 'x.csv'"}, "not one SELECT"),
        ({"sql": "select getenv('HOME') as h from input"}, "'getenv' is not allowed"),
        ({"check": {"line": {"pattern": "((("}}}, "no regular expression"),
        ({"python": {"file": "../x.py", "function": "f"}}, "not inside the project's folder"),
        ({"python": {"file": "/etc/x.py", "function": "f"}}, "not inside the project's folder"),
        ({"python": {"file": "x.py", "function": "f"}}, "there is no Python file 'x.py'"),
    ],
)
def test_steps_that_are_refused_from_the_file_alone(tmp_path: Path, step: dict[str, Any], message: str) -> None:
    done = run(tmp_path, step)
    [problem] = done.document["problems"]
    assert (done.code, problem["path"].startswith("tongqu.yaml:1:pipelines.p.steps[0]")) == (2, True), problem
    assert message in problem["message"]
    assert not (tmp_path / "lake.db").exists()


@pytest.mark.parametrize("step", [{"derive": {"": "1"}}, {"rename": {"line": ""}}])
def test_a_column_needs_a_name(tmp_path: Path, step: dict[str, Any]) -> None:
    done = run(tmp_path, step)
    [problem] = done.document["problems"]
    assert (done.code, problem["code"]) == (1, "config.invalid_plan")
    assert "a column without a name" in problem["message"]


def test_a_project_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    make(tmp_path / "q.db", "t", "id INTEGER PRIMARY KEY", [(1,)])
    done = tongqu(tmp_path, "sync", "sqlite:q.db", "sqlite:lake.db", "--project", "typo", "--json")
    assert (done.code, done.document["problems"][0]["path"]) == (2, "--project")
    assert not (tmp_path / "typo").exists()


def test_a_column_that_is_not_there_is_learnt_from_the_source(tmp_path: Path) -> None:
    done = run(tmp_path, {"filter": "lin = 'A'"})
    [problem] = done.document["problems"]
    assert (done.code, problem["path"]) == (1, "tongqu.yaml:1:pipelines.p.steps[0].filter")
    assert problem["hint"].startswith("did you mean 'line'?")


@pytest.mark.parametrize("name", ["_tongqu_checkpoint", "main._tongqu_quarantine", "a\0b", " "])
def test_names_that_are_no_targets(tmp_path: Path, name: str) -> None:
    done = run(tmp_path, sink={"connection": "lake", "dataset": name})
    assert (done.code, done.document["problems"][0]["path"]) == (2, "tongqu.yaml:1:pipelines.p.sink.dataset")
    synced = tongqu(tmp_path, "sync", "sqlite:q.db", "sqlite:x.db", "--table", "t=_tongqu_checkpoint", "--json")
    assert (synced.code, synced.document["problems"][0]["path"]) == (2, "--table")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('no')", "f() of steps.py failed in line 2: ValueError: no"),
        ("raise SystemExit(0)", "f() of steps.py failed in line 2: SystemExit: 0"),
    ],
)
def test_a_function_that_fails_fails_the_run(tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "steps.py").write_text(f"def f(table):\n    {body}\n", encoding="utf-8")
    done = run(tmp_path, {"python": {"file": "steps.py", "function": "f"}})
    assert (done.code, done.document["problems"][0]["message"]) == (1, message)
    assert "Traceback" not in done.err


def test_what_a_function_prints_stays_out_of_the_document(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text("def f(table):\n    print('hello')\n    return table\n", encoding="utf-8")
    done = run(tmp_path, {"python": {"file": "steps.py", "function": "f"}})
    assert (done.code, done.document["status"], "hello" in done.err) == (0, "succeeded", True)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("text", [BOMB, "project: " + "[" * 900 + "]" * 900])
def test_a_file_that_unfolds_without_end_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tongqu.yaml").write_text(text, encoding="utf-8")
    done = tongqu(tmp_path, "check", "--json")
    assert (done.code, done.document["problems"][0]["path"]) == (2, "tongqu.yaml:1")
    assert "nests too deep" in done.document["problems"][0]["message"]


def test_an_entry_that_no_pipeline_checks_is_checked_too(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text("datasets:\n  d:\n    fields:\n      x: {type: strin}\n", encoding="utf-8")
    done = tongqu(tmp_path, "check", "--json")
    assert (done.code, done.document["problems"][0]["path"]) == (2, "tongqu.yaml:4:datasets.d.fields.x.type")
