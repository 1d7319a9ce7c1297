"""`tongqu run`, `check` and `quarantine` over a project: a chain, a graph, several sinks, dirty rows."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tongqu.testing.command_line import Done, inside, make, query, tongqu

PROJECT = """\
project: workshop
connections:
  qms: {type: sqlite, path: qms.db}
  lake: {type: sqlite, url: "sqlite:${env:LAKE}"}
datasets:
  thing:
    key: [id]
    owner: quality
    fields:
      kg: {unit: kg, min: 0, max: 40, title: {zh: 重量}}
      name: {required: true, pattern: "n[0-9]+"}
pipelines:
  clean:
    source: {connection: qms, dataset: t, as: thing}
    steps:
      - rename: {grams: kg}
      - convert: {kg: {from: g, to: kg}}
      - check: thing
    sink: {connection: lake}
  strict:
    source: {connection: qms, dataset: t}
    steps: [{check: {name: {required: true, pattern: "n[0-9]+"}}}]
    sink: {connection: lake, dataset: strict}
    limit: {quarantined: 5}
  changes:
    source: {connection: qms, dataset: t, mode: incremental, cursor: id}
    sink: {connection: lake, dataset: changes}
  twice:
    source: {connection: qms, dataset: t}
    steps:
      - {id: heavy, filter: "grams > 100"}
      - {id: light, from: source, filter: "grams <= 100"}
    sinks:
      heavy: {from: heavy, connection: lake, dataset: heavy}
      light: {from: light, connection: lake, dataset: light}
  by_line:
    sources: {t: {connection: qms, dataset: t}, l: {connection: qms, dataset: l}}
    steps:
      - {id: joined, join: {left: t, right: l, on: line}}
      - {id: summed, from: joined, aggregate: {by: [label], n: "count(*)"}}
    sinks: {table: {from: summed, connection: lake, dataset: by_line, write: upsert, key: [label]}}
  all: {source: {connection: qms, datasets: ["*", "!l"]}, sink: {connection: lake}}
alerts: {late: {when: "x > 1"}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with 1,000 things, 20 of them dirty."""
    rows = [(n, f"n{n}" if n % 100 else "?", n * 10 if n % 90 else -1, "AB"[n % 2]) for n in range(1, 1001)]
    make(tmp_path / "qms.db", "t", "id INTEGER PRIMARY KEY, name TEXT, grams INTEGER, line TEXT", rows)
    make(tmp_path / "qms.db", "l", "line TEXT PRIMARY KEY, label TEXT", [("A", "一线"), ("B", "二线")])
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str) -> Done:
    return tongqu(folder, *arguments, "--json", LAKE=str(folder / "lake.db"))


def test_a_chain_with_dirty_rows_needs_attention(folder: Path) -> None:
    done = run(folder, "run", "clean")
    assert done.code == 3, done.err
    [stream] = done.document["streams"]
    assert done.document["status"] == "attention"
    assert (stream["name"], stream["read"], stream["written"], stream["quarantined"]) == ("clean", 1000, 980, 20)
    assert query(folder / "lake.db", "SELECT count(*), max(CAST(kg AS REAL)) FROM thing") == [(980, 9.99)]

    listed = run(folder, "quarantine", "list").document["rows"]
    assert len(listed) == 20
    assert {row["code"] for row in listed} == {"check.pattern", "check.range"}
    [row] = run(folder, "quarantine", "show", listed[0]["id"]).document["rows"]
    assert set(row) >= {"id", "run", "stream", "step", "code", "field", "value", "original", "message", "state"}
    assert row["run"] == done.document["run"]
    assert len(run(folder, "quarantine", "list", "lake", "--limit", "5").document["rows"]) == 5
    missing = run(folder, "quarantine", "show", "nope")
    assert (missing.code, missing.document["problems"][0]["code"]) == (1, "connector.not_found")


def test_too_many_dirty_rows_stop_the_run(folder: Path) -> None:
    done = run(folder, "run", "strict")
    assert done.code == 1
    assert (done.document["ok"], done.document["status"]) == (False, "failed")
    assert done.document["problems"][0]["code"] == "data.quality"


def test_only_changes_are_read(folder: Path) -> None:
    assert run(folder, "run", "changes").document["streams"][0]["read"] == 1000
    database = sqlite3.connect(folder / "qms.db")
    with database:
        database.execute("INSERT INTO t VALUES (2000, 'n2000', 5, 'A')")
    database.close()
    done = run(folder, "run", "changes")
    [stream] = done.document["streams"]
    assert (stream["mode"], stream["write"]) == ("incremental", "upsert")
    assert query(folder / "lake.db", "SELECT count(*) FROM changes") == [(1001,)]
    assert stream["read"] < 1000
    assert run(folder, "run", "changes", "--full").document["streams"][0]["mode"] == "full"


def test_several_sinks_are_runs_of_their_own(folder: Path) -> None:
    done = run(folder, "run", "twice")
    assert done.code == 0, done.err
    assert [stream["name"] for stream in done.document["streams"]] == ["twice.heavy", "twice.light"]
    assert len(done.document["runs"]) == 2
    assert query(folder / "lake.db", "SELECT (SELECT count(*) FROM heavy), (SELECT count(*) FROM light)") == [(979, 21)]


def test_a_sink_that_fails_does_not_keep_the_others_from_their_rows(folder: Path) -> None:
    project = folder / "tongqu.yaml"
    text = project.read_text(encoding="utf-8")
    broken = "heavy: {from: heavy, connection: lake, dataset: heavy, write: upsert, key: [nope]}"
    project.write_text(text.replace("heavy: {from: heavy, connection: lake, dataset: heavy}", broken), encoding="utf-8")
    done = run(folder, "run", "twice", "all")
    assert (done.code, done.document["status"]) == (1, "failed"), done.err
    assert query(folder / "lake.db", "SELECT count(*) FROM light") == [(21,)]
    assert done.document["problems"][0]["path"].startswith("tongqu.yaml:34:pipelines.twice.sinks.heavy")
    assert "all" not in [stream["name"] for stream in done.document["streams"]]

    project.write_text(text, encoding="utf-8")
    assert run(folder, "run", "twice").code == 0
    assert query(folder / "lake.db", "SELECT (SELECT count(*) FROM heavy), (SELECT count(*) FROM light)") == [(979, 21)]


def test_a_graph_joins_and_aggregates(folder: Path) -> None:
    done = run(folder, "run", "by_line")
    assert done.code == 0, done.err
    [stream] = done.document["streams"]
    assert (stream["read"], stream["generated"], stream["written"]) == (1002, -1000, 2)
    assert [(step["id"], step["in"], step["out"]) for step in stream["steps"]] == [
        ("joined", 1002, 1000),
        ("summed", 1000, 2),
    ]
    assert sorted(query(folder / "lake.db", "SELECT label, n FROM by_line")) == [("一线", 500), ("二线", 500)]


def test_many_datasets_by_pattern(folder: Path) -> None:
    done = run(folder, "run", "all")
    assert [stream["name"] for stream in done.document["streams"]] == ["all"]
    assert query(folder / "lake.db", "SELECT count(*) FROM t") == [(1000,)]


def test_names_that_do_not_exist(folder: Path) -> None:
    done = run(folder, "run", "claen")
    assert done.code == 2
    [problem] = done.document["problems"]
    assert (problem["code"], problem["hint"].split("?")[0]) == ("config.unknown_name", "did you mean 'clean'")
    missing = tongqu(folder, "run", "clean", "--json")
    assert missing.code == 2
    assert missing.document["problems"][0]["path"].startswith("tongqu.yaml:4:connections.lake")


def test_check_tests_every_connection(folder: Path) -> None:
    done = run(folder, "check")
    assert done.code == 0, done.err
    document = done.document
    assert document["ok"] is True
    assert [(found["name"], found["ok"]) for found in document["connections"]] == [("qms", True), ("lake", True)]
    assert document["connections"][0]["stages"]
    assert [(problem["code"], problem["level"]) for problem in document["problems"]] == [("project.not_run", "info")]
    assert "一切正常" in tongqu(folder, "check", "qms", "--lang", "zh").out


def test_check_tells_every_reference_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text(
        "project: p\nconnections:\n"
        '  a: {type: postgres, url: "postgresql://u:${env:TQ_NO_A}@127.0.0.1/${secret:no_b}"}\n'
        '  b: {type: sqlite, path: "${file:no_c}"}\n'
        "  c: {type: sqlite, path: c.db}\n"
    )
    done = inside(tmp_path, "check", "--json")
    assert done.code == 2
    assert [problem["path"].rpartition(":")[2] for problem in done.document["problems"]] == [
        "connections.a.url", "connections.a.url", "connections.b.path",
    ]  # fmt: skip


def test_check_names_the_stage_that_failed(folder: Path) -> None:
    (folder / "qms.db").unlink()
    done = run(folder, "check", "qms")
    assert done.code == 1
    assert done.document["ok"] is False
    assert done.document["problems"][0]["path"].startswith("qms")


def test_wrong_files_are_refused_before_any_connection(folder: Path) -> None:
    (folder / "tongqu.yaml").write_text(PROJECT.replace("type: sqlite, path", "type: sqlite, pth"), encoding="utf-8")
    done = run(folder, "check")
    assert done.code == 2
    assert {problem["path"] for problem in done.document["problems"]} == {
        "tongqu.yaml:3:connections.qms.pth",
        "tongqu.yaml:3:connections.qms.path",
    }


def test_connectors_and_schema_are_documents(folder: Path) -> None:
    listed = run(folder, "connectors").document["connectors"]
    assert {"sqlite", "postgres"} <= {found["name"] for found in listed}
    assert set(listed[0]) >= {"name", "label", "reads", "writes", "cdc", "serves", "guarantees"}
    schema = run(folder, "schema").document
    assert schema["$schema"].endswith("2020-12/schema")
    assert {"connections", "datasets", "pipelines"} <= set(schema["properties"])
    assert schema["$defs"]["connection_sqlite"]["properties"]["type"] == {
        "const": "sqlite",
        "description": "The system's type.",
    }
    assert "step_filter" in schema["$defs"]


def test_a_pipeline_that_would_append_a_table_to_itself_is_refused(folder: Path) -> None:
    text = """\
project: loop
connections: {a: {type: sqlite, path: qms.db}, b: {type: sqlite, path: ./qms.db}}
pipelines:
  loop: {source: {connection: a, dataset: t}, sink: {connection: b, write: append}}
  mend:
    source: {connection: a, dataset: t}
    steps: [{filter: "id > 990"}]
    sink: {connection: a, write: append}
"""
    (folder / "tongqu.yaml").write_text(text, encoding="utf-8")
    for command in ("plan", "run"):
        refused = inside(folder, command, *(["loop"] if command == "run" else []), "--json")
        assert "written onto itself" in refused.out, command
    assert query(folder / "qms.db", "select count(*) from t") == [(1000,)]
