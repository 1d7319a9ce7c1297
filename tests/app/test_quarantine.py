"""`tongqu quarantine`: dirty rows are mended by rule and go in again, each exactly once."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sqlite3
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from tongqu.app.cli.main import main
from tongqu.testing.command_line import Done, make, query, tongqu

PROJECT = """\
project: workshop
connections:
  qms: {type: sqlite, path: qms.db}
  lake: {type: sqlite, path: lake.db}
  ducks: {type: duckdb, path: lake.duckdb}
  out: {type: file, path: out/}
datasets:
  thing:
    key: [id]
    rules: [{name: order, expression: "shipped >= ordered", message: {zh: 先发货, en: shipped first}}]
    fields:
      kg: {min: 0, max: 40}
      line: {reference: {connection: qms, dataset: lines, field: line}}
      name: {required: true, pattern: "n[0-9]+"}
pipelines:
  clean:
    source: {connection: qms, dataset: t, as: thing}
    steps:
      - rename: {weight: kg}
      - check: thing
      - derive: {grams: "kg * 1000"}
    sink: {connection: SINK, dataset: thing, WRITE}
  unique:
    source: {connection: qms, dataset: t}
    steps: [{check: {name: {unique: true}}}]
    sink: {connection: lake, dataset: names, write: upsert, key: [id]}
  summed:
    source: {connection: qms, dataset: t}
    steps:
      - check: {weight: {min: 0}}
      - aggregate: {by: [line], n: "count(*)"}
    sink: {connection: lake, dataset: summed}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return things(tmp_path)


def things(tmp_path: Path) -> Path:
    """A hundred things: id 10, 20 … have no good name, 30, 60, 90 a bad weight too, 7 an unknown line, 5 bad dates."""
    rows = [
        (n, "?" if n % 10 == 0 else f"n{n}", -1 if n % 30 == 0 else n / 4, "Z" if n == 7 else "AB"[n % 2],
         n, n - (n == 5))
        for n in range(1, 101)
    ]  # fmt: skip
    columns = "id INTEGER PRIMARY KEY, name TEXT, weight REAL, line TEXT, ordered INTEGER, shipped INTEGER"
    make(tmp_path / "qms.db", "t", columns, rows)
    make(tmp_path / "qms.db", "lines", "line TEXT PRIMARY KEY", [("A",), ("B",)])
    return project(tmp_path)


def project(folder: Path, sink: str = "lake", write: str = "write: upsert") -> Path:
    (folder / "tongqu.yaml").write_text(PROJECT.replace("SINK", sink).replace("WRITE", write), encoding="utf-8")
    return folder


def run(folder: Path, *arguments: str) -> Done:
    """The command in this process, as the entry point runs it."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
        main([*arguments, "--json", "--lang", "en"])
    return Done(int(left.value.code or 0), out.getvalue(), err.getvalue())


def states(folder: Path) -> dict[str, int]:
    return dict(query(folder / "lake.db", "SELECT state, count(*) FROM _tongqu_quarantine GROUP BY 1"))


def test_rows_are_mended_and_go_in_again(folder: Path) -> None:
    done = run(folder, "run", "clean")
    [stream] = done.document["streams"]
    assert (stream["written"], stream["quarantined"]) == (88, 12)
    listed = run(folder, "quarantine", "list").document["rows"]
    assert {row["code"] for row in listed} == {"check.range", "check.pattern", "check.reference", "check.expression"}
    assert [row["message"] for row in listed if row["code"] == "check.expression"] == ["[order] 先发货 / shipped first"]

    fixed = run(folder, "quarantine", "fix", "--code", "check.reference", "--rule", "map line Z=A")
    assert (fixed.code, fixed.document["fixed"], fixed.document["still_bad"]) == (0, 1, 0), fixed.err
    [row] = run(folder, "quarantine", "list", "--state", "fixed").document["rows"]
    assert (json.loads(row["original"])["line"], json.loads(row["fixed"])["line"]) == ("Z", "A")
    assert [(one["rule"], bool(one["by"])) for one in row["history"]] == [("map line Z=A", True)]

    replayed = run(folder, "quarantine", "replay")
    assert replayed.code == 0, replayed.err
    numbers = {name: replayed.document[name] for name in ("fixed", "replayed", "written", "still_bad")}
    assert numbers == {"fixed": 0, "replayed": 1, "written": 1, "still_bad": 0}
    assert query(folder / "lake.db", "SELECT line, kg, grams FROM thing WHERE id = 7") == [("A", 1.75, 1750.0)]
    again = run(folder, "quarantine", "replay").document
    assert (again["replayed"], again["written"]) == (0, 0)


def test_a_rule_that_makes_nothing_better_is_refused(folder: Path) -> None:
    run(folder, "run", "clean")
    for rule, reason in (
        ("set kg=-5", "it still breaks the rule: kg '-5"),
        ("set kg=-1", "the rule changes nothing"),
        ("set name=n1", "it still breaks the rule: kg '-1"),
        ("set kg=many", "it is still bad: kg 'many' is not a double"),
    ):
        done = run(folder, "quarantine", "fix", "--code", "check.range", "--rule", rule)
        assert done.code == 1, rule
        assert done.document["problems"][0]["code"] == "data.fix_refused"
        assert done.document["rows"][0]["reason"].startswith(reason)
        assert (done.document["fixed"], done.document["still_bad"]) == (0, 3)
    worse = run(
        folder, "quarantine", "fix", "--code", "check.expression", "--rule", "set shipped=9", "--rule", "set name=x"
    )
    assert worse.document["rows"][0]["reason"] == "it would break another rule: name 'x' does not match n[0-9]+"
    assert states(folder) == {"new": 12}


def test_a_row_with_two_faults_is_mended_in_two_steps_or_one(folder: Path) -> None:
    run(folder, "run", "clean")
    first = run(folder, "quarantine", "fix", "--code", "check.range", "--rule", "set kg=abs(kg)")
    assert (first.code, first.document["fixed"]) == (0, 3)
    replayed = run(folder, "quarantine", "replay")
    assert (replayed.code, replayed.document["replayed"], replayed.document["still_bad"]) == (3, 0, 3)
    [row] = run(folder, "quarantine", "list", "--state", "still_bad", "--limit", "1").document["rows"]
    assert (row["code"], row["cause"]["code"]) == ("check.pattern", "check.range")
    second = run(folder, "quarantine", "fix", "--code", "check.pattern", "--rule", "set name='n' || id")
    assert (second.code, second.document["fixed"]) == (0, 10), second.err
    replayed = run(folder, "quarantine", "replay")
    assert (replayed.document["replayed"], replayed.document["still_bad"]) == (10, 0)
    assert query(folder / "lake.db", "SELECT name, kg FROM thing WHERE id = 30") == [("n30", 1.0)]
    assert states(folder) == {"new": 2, "replayed": 10}


def test_looking_first_changes_nothing(folder: Path) -> None:
    run(folder, "run", "clean")
    looked = run(folder, "quarantine", "fix", "--rule", "set kg=1", "--field", "kg", "--dry-run").document
    assert (looked["dry_run"], looked["fixed"]) == (True, 3)
    assert [json.loads(row["before"])["kg"] for row in looked["rows"]] == [-1, -1, -1]
    assert [json.loads(row["after"])["kg"] for row in looked["rows"]] == [1, 1, 1]
    assert states(folder) == {"new": 12}


def test_rows_can_be_given_up(folder: Path) -> None:
    run(folder, "run", "clean")
    assert run(folder, "quarantine", "fix", "--rule", "discard", "--field", "kg").document["discarded"] == 3
    assert states(folder) == {"discarded": 3, "new": 9}
    assert run(folder, "quarantine", "fix", "--rule", "set kg=1", "--field", "kg").document["fixed"] == 0


def test_rows_that_a_changed_rule_lets_through_go_in_as_they_are(folder: Path) -> None:
    run(folder, "run", "clean")
    text = (folder / "tongqu.yaml").read_text(encoding="utf-8")
    (folder / "tongqu.yaml").write_text(text.replace("min: 0, max: 40", "max: 40"), encoding="utf-8")
    done = run(folder, "quarantine", "replay", "--state", "new", "--code", "check.range").document
    assert (done["replayed"], done["still_bad"]) == (0, 3)
    (folder / "tongqu.yaml").write_text(text.replace('"n[0-9]+"', '".*"'), encoding="utf-8")
    done = run(folder, "quarantine", "replay", "--state", "new", "--code", "check.pattern").document
    assert (done["replayed"], done["still_bad"]) == (7, 0)


def test_a_later_full_read_supersedes_what_an_earlier_run_kept(folder: Path) -> None:
    run(project(folder, write="write: replace"), "run", "clean")
    run(folder, "quarantine", "fix", "--code", "check.reference", "--rule", "set line=B")
    run(folder, "run", "clean")
    done = run(folder, "quarantine", "replay")
    assert (done.code, done.document["replayed"], done.document["superseded"]) == (3, 0, 1)
    assert query(folder / "lake.db", "SELECT count(*) FROM thing WHERE id = 7") == [(0,)]


def test_a_newer_row_of_the_key_is_never_overwritten(tmp_path: Path) -> None:
    make(tmp_path / "s.db", "t", "id INTEGER PRIMARY KEY, name TEXT, at INTEGER", [(1, "long", 1), (2, "long", 2)])
    make(tmp_path / "d.db", "t", "id INTEGER PRIMARY KEY, name TEXT CHECK (length(name) < 4), at INTEGER", [])
    sync = ("sync", "sqlite:s.db", "sqlite:d.db", "--mode", "incremental", "--cursor", "at", "--key", "id")
    assert run(tmp_path, *sync).document["streams"][0]["quarantined"] == 2
    refused = run(tmp_path, "quarantine", "fix", "sqlite:d.db", "--rule", "set name=longer")
    assert refused.document["rows"][0]["reason"].startswith("it would be refused again")
    assert run(tmp_path, "quarantine", "fix", "sqlite:d.db", "--rule", "truncate name=3").document["fixed"] == 2
    with sqlite3.connect(tmp_path / "s.db") as database:
        database.execute("UPDATE t SET name = 'new', at = 9 WHERE id = 1")
    assert run(tmp_path, *sync).code == 3  # the tie at the cursor is read again, and refused again
    done = run(tmp_path, "quarantine", "replay", "sqlite:d.db").document
    assert (done["replayed"], done["superseded"], done["written"]) == (1, 1, 1)
    assert query(tmp_path / "d.db", "SELECT * FROM t ORDER BY id") == [(1, "new", 9), (2, "lon", 2)]


def test_a_value_that_comes_twice_only_in_the_whole_is_set_aside(tmp_path: Path) -> None:
    rows = [(n, f"c{6 if n == 7 else n}", "2026-01-02 03:04:05.000006") for n in range(1, 11)]
    make(tmp_path / "s.db", "t", "id INTEGER PRIMARY KEY, code TEXT, made TIMESTAMP", rows)
    make(tmp_path / "d.db", "t", "id INTEGER PRIMARY KEY, code TEXT, made TIMESTAMP", [(99, "old", None)])
    with sqlite3.connect(tmp_path / "d.db") as database:
        database.execute("CREATE UNIQUE INDEX codes ON t (code)")
    with duckdb.connect(str(tmp_path / "d.duckdb")) as ducks:
        ducks.execute("CREATE TABLE t (id BIGINT PRIMARY KEY, code VARCHAR UNIQUE, made TIMESTAMP)")
        ducks.execute("INSERT INTO t VALUES (99, 'old', NULL)")
    for sink in ("sqlite:d.db", "duckdb:d.duckdb"):
        done = run(tmp_path, "sync", "sqlite:s.db", sink)
        assert done.code == 3, done.err
        [stream] = done.document["streams"]
        assert (stream["read"], stream["written"], stream["quarantined"]) == (10, 9, 1)
        [row] = run(tmp_path, "quarantine", "list", sink).document["rows"]
        assert (row["code"], row["field"], row["value"]) == ("target.unique", "code", "c6")
        assert json.loads(row["original"]) == {"id": 7, "code": "c6", "made": "2026-01-02T03:04:05.000006"}
        assert run(tmp_path, "quarantine", "fix", sink, "--rule", "set code=c7").document["fixed"] == 1
        assert run(tmp_path, "quarantine", "replay", sink).document["written"] == 1
    assert query(tmp_path / "d.db", "SELECT count(*), count(DISTINCT code) FROM t") == [(10, 10)]


@pytest.mark.parametrize("sink", ["lake", "ducks", "out"])
def test_every_kind_of_sink(folder: Path, sink: str) -> None:
    write = "write: append" if sink == "out" else "write: history"
    assert run(project(folder, sink, write), "run", "clean").code == 3
    fixed = run(folder, "quarantine", "fix", sink, "--code", "check.reference", "--rule", "set line=B")
    assert (fixed.code, fixed.document["fixed"]) == (0, 1), fixed.out
    done = run(folder, "quarantine", "replay", sink)
    assert (done.code, done.document["written"]) == (0, 1), done.out
    assert run(folder, "quarantine", "replay", sink).document["written"] == 0
    [row] = run(folder, "quarantine", "list", sink, "--state", "replayed").document["rows"]
    assert row["field"] == "line"


def test_a_row_that_went_in_stays_in_when_the_clock_is_set_back(folder: Path) -> None:
    """Beside a file the later of two notes says a row's state; that it went in is said by no clock."""
    run(project(folder, "out", "write: append"), "run", "clean")
    run(folder, "quarantine", "fix", "out", "--code", "check.reference", "--rule", "set line=B")
    assert run(folder, "quarantine", "replay", "out").document["written"] == 1
    [notes] = (folder / "out").rglob("fixes.json")
    kept = json.loads(notes.read_text())
    for fix in kept["fixes"].values():
        fix["at"] = "2999-01-01T00:00:00.000000+00:00"
    notes.write_text(json.dumps(kept))

    assert run(folder, "quarantine", "replay", "out").document["written"] == 0


@pytest.fixture(scope="module", params=["lake", "out"])
def mended(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project whose sink keeps one mended row."""
    sink = str(request.param)
    folder = project(things(tmp_path_factory.mktemp("mended")), sink, "write: append")
    run(folder, "run", "clean")
    done = run(folder, "quarantine", "fix", sink, "--code", "check.reference", "--rule", "set line=B")
    assert done.document["fixed"] == 1, done.out
    return folder, sink


@pytest.mark.parametrize("point", ["mid_write", "in_commit", "after_commit", "before_finish"])
def test_a_killed_replay_goes_on_and_writes_each_row_once(mended: tuple[Path, str], tmp_path: Path, point: str) -> None:
    prepared, sink = mended
    folder = Path(shutil.copytree(prepared, tmp_path / "copy"))
    assert tongqu(folder, "quarantine", "replay", sink, TONGQU_CRASH_AT=point).code == -9
    done = run(folder, "quarantine", "replay", sink)
    assert done.code == 0, done.out
    listed = run(folder, "quarantine", "list", sink, "--state", "fixed,replayed").document["rows"]
    assert [row["state"] for row in listed] == ["replayed"]
    if sink == "lake":
        assert query(folder / "lake.db", "SELECT count(*) FROM thing WHERE id = 7") == [(1,)]
    else:
        assert pq.read_table(folder / "out/thing.parquet").column("id").to_pylist().count(7) == 1


def test_steps_that_need_all_rows_take_none_back(folder: Path) -> None:
    run(folder, "run", "summed")
    done = run(folder, "quarantine", "fix", "--stream", "summed", "--rule", "set weight=1")
    assert done.code == 1
    assert "aggregate needs all rows" in done.document["problems"][0]["message"]


def test_ids_and_rules_that_are_none(folder: Path) -> None:
    run(folder, "run", "clean")
    for arguments, code, problem in (
        (("fix", "--rule", "cut name=3"), 2, "config.invalid_settings"),
        (("fix", "--rule", "set weigth=3", "--field", "kg"), 2, "config.unknown_name"),
        (("fix", "--rule", "set kg=kg +", "--field", "kg"), 2, "config.expression"),
        (("fix", "--rule", "map name missing.csv"), 2, "config.invalid_settings"),
        (("fix", "--rule", "set kg=1", "--id", "nope"), 1, "connector.not_found"),
        (("replay", "--id", "nope"), 1, "connector.not_found"),
        (("list", "--state", "broken"), 2, "config.invalid_settings"),
    ):
        done = run(folder, "quarantine", *arguments)
        assert (done.code, done.document["problems"][0]["code"]) == (code, problem), arguments


def test_a_value_that_must_be_unique_is_not_taken_twice(folder: Path) -> None:
    run(folder, "run", "unique")  # nine of the ten rows named "?" are set aside
    assert states(folder) == {"new": 9}
    done = run(folder, "quarantine", "replay", "--state", "new", "--stream", "unique").document
    assert (done["replayed"], done["still_bad"]) == (0, 9)
    for rule, reason in (("set weight=1", "comes more than once"), ("set name=n1", "name 'n1' comes more than once")):
        refused = run(folder, "quarantine", "fix", "--rule", rule).document
        assert reason in refused["rows"][0]["reason"]
    assert run(folder, "quarantine", "fix", "--rule", "set name='m' || id").document["fixed"] == 9
    assert run(folder, "quarantine", "replay").document["replayed"] == 9
    assert query(folder / "lake.db", "SELECT count(*), count(DISTINCT name) FROM names") == [(100, 100)]
