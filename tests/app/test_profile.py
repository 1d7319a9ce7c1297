"""`tongqu profile`: what is in a dataset, kept without personal values, compared with earlier looks, drafted."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from tongqu.app.project.load import load
from tongqu.testing.command_line import Done, inside, make

PEOPLE = [
    (n, f"{'王李张刘'[n % 4]}伟", 13800000000 + n, "11010519491231002X", f"u{n}@x.cn", 1000 + n, n % 3,
     None if n == 1 else "ok")
    for n in range(1, 301)
]  # fmt: skip
COLUMNS = "id INTEGER PRIMARY KEY, 姓名 TEXT, mobile BIGINT, id_no TEXT, email TEXT, weight_g INT, grade INT, note TEXT"


def column(done: Done, name: str) -> dict[str, Any]:
    assert done.code == 0, done.err + done.out
    found: list[dict[str, Any]] = [column for column in done.document["columns"] if column["name"] == name]
    return found[0]


@pytest.fixture
def people(tmp_path: Path) -> str:
    make(tmp_path / "p.db", "people", COLUMNS, PEOPLE)
    return "sqlite:p.db"


def test_columns_are_counted_and_understood(tmp_path: Path, people: str) -> None:
    done = inside(tmp_path, "profile", people, "--table", "people", "--json")
    assert (done.document["rows"], done.document["sampled"], done.document["keys"][0]) == (300, False, ["id"])
    assert {"name", "type", "nulls", "distinct", "min", "max", "top", "patterns"} <= column(done, "id").keys()
    weight = column(done, "weight_g")
    assert (weight["min"], weight["max"], weight["distinct"], weight["mean"]) == (1001, 1300, 300, 1150.5)
    assert (weight["unit"]["value"], weight["unit"]["confidence"]) == ("g", 0.85)
    assert column(done, "grade")["top"] == [{"value": n, "count": 100} for n in (0, 1, 2)]
    assert column(done, "note")["nulls"] == 1
    email = column(done, "email")
    assert email["kinds"] == {"email": 1.0}
    assert {found["pattern"] for found in email["patterns"]} == {"a9@a.aa", "a99@a.aa", "a999@a.aa"}
    suspected = {found["name"]: found["personal"] for found in done.document["columns"] if found["personal"]}
    assert {name: found["class"] for name, found in suspected.items()} == {
        "姓名": "personal", "mobile": "personal", "email": "personal", "id_no": "sensitive",
    }  # fmt: skip
    assert suspected["id_no"]["confidence"] > 0.95


def test_personal_values_are_hidden_and_never_kept(tmp_path: Path, people: str) -> None:
    hidden = inside(tmp_path, "profile", people, "--html", "r.html", "--json")
    assert "11010519491231002X" not in hidden.out
    assert column(hidden, "id_no")["top"] == [{"value": "1********", "count": 300}]
    shown = inside(tmp_path, "profile", people, "--show-personal", "--html", "s.html", "--json")
    assert column(shown, "id_no")["top"] == [{"value": "11010519491231002X", "count": 300}]
    stored = sqlite3.connect(tmp_path / "home/profiles.db").execute("SELECT document FROM profiles").fetchall()
    assert len(stored) == 2
    for text in (*(row[0] for row in stored), (tmp_path / "r.html").read_text(), (tmp_path / "s.html").read_text()):
        assert "11010519491231002X" not in text
        assert "13800000001" not in text


def test_the_report_needs_nothing_else(tmp_path: Path, people: str) -> None:
    done = inside(tmp_path, "profile", people, "--html", "r.html", "--lang", "zh")
    assert "已写出" in done.out
    page = (tmp_path / "r.html").read_text()
    assert page.count("<svg") > 8
    assert "疑似个人信息" in page
    assert not any(word in page for word in ("<script", "http://", "https://", "src=", "@import"))


def test_the_draft_is_an_entry_that_loads(tmp_path: Path, people: str) -> None:
    assert inside(tmp_path, "profile", people, "--draft", "project/tongqu.yaml").code == 0
    entry = load(tmp_path / "project").dictionary["people"]
    assert entry.keys == ("id",)
    assert (entry.fields["weight_g"].type, entry.fields["weight_g"].unit) == ("bigint", "g")
    assert (entry.fields["id_no"].class_, entry.fields["note"].required) == ("sensitive", False)


def test_changes_since_the_last_profile(tmp_path: Path, people: str) -> None:
    first = inside(tmp_path, "profile", people, "--json").document["id"]
    same = inside(tmp_path, "profile", people, "--compare", "last", "--json").document
    assert (same["compared"]["id"], same["changes"]) == (first, [])
    database = sqlite3.connect(tmp_path / "p.db")
    with database:
        database.execute("UPDATE people SET weight_g = weight_g / 1000.0, note = NULL WHERE id % 2")
        database.execute("UPDATE people SET grade = 7 WHERE id % 3 = 0")
        database.execute("ALTER TABLE people ADD extra TEXT")
    database.close()
    wrong = inside(tmp_path, "profile", people, "--compare", first[:20])
    assert "150 rows could not be read" in wrong.out  # a real number stands in a column of integers
    (tmp_path / "p.db").unlink()
    rows = [(*row[:5], row[5] / 1000, 7 if n % 3 == 0 else row[6], None, "x") for n, row in enumerate(PEOPLE)]
    make(tmp_path / "p.db", "people", COLUMNS.replace("weight_g INT", "weight_g REAL") + ", extra TEXT", rows)
    changed = inside(tmp_path, "profile", people, "--compare", first, "--json")
    found = {(change["column"], change["what"]) for change in changed.document["changes"]}
    wanted = {("extra", "added"), ("weight_g", "type"), ("weight_g", "mean"), ("grade", "values"), ("note", "nulls")}
    assert wanted <= found
    assert ("id", "mean") not in found


def test_parquet_duckdb_and_postgres_tell_the_same(tmp_path: Path, pg_url: str) -> None:
    with psycopg.connect(pg_url, autocommit=True) as database:
        database.execute(b"""CREATE TABLE m (
            plant text, line int, day date, at timestamptz, qty numeric(9,2), ok boolean);
            COMMENT ON COLUMN m.qty IS '\xe9\x87\x8d\xe9\x87\x8f(kg)';
            INSERT INTO m SELECT 'P' || n % 3, n / 3, date '2026-01-01' + n % 7, timestamptz '2026-01-01 00:00+00' + n *
            interval '1 minute', n / 8.0, n % 5 > 0 FROM generate_series(0, 599) n""")
    assert inside(tmp_path, "sync", pg_url, "duckdb:m.duckdb", "--table", "m").code == 0
    with duckdb.connect(str(tmp_path / "m.duckdb")) as own:
        own.execute(f"COPY m TO '{tmp_path}/m.parquet'")
    kept = ("name", "nulls", "distinct", "min", "max", "top")
    places = (pg_url, "duckdb:m.duckdb", "file:m.parquet")
    documents = [inside(tmp_path, "profile", place, "--json").document for place in places]
    profiles = [[{name: c[name] for name in kept} for c in document["columns"]] for document in documents]
    assert profiles[0] == profiles[1] == profiles[2]
    assert documents[0]["keys"] == [["at"]]
    assert documents[0]["columns"][4]["unit"]["value"] == "kg"


def test_a_sample_says_so(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "m.duckdb")) as database:
        database.execute("CREATE TABLE m AS SELECT n // 10 AS a, n % 10 AS b, 'same' AS c FROM range(60000) r(n)")
    whole = inside(tmp_path, "profile", "duckdb:m.duckdb", "--json").document
    assert (whole["rows"], whole["sampled"], whole["keys"]) == (60_000, False, [["a", "b"]])
    part = inside(tmp_path, "profile", "duckdb:m.duckdb", "--sample", "1000", "--json").document
    assert (part["rows"], part["sampled"]) == (1000, True)


def test_wrong_arguments(tmp_path: Path, people: str) -> None:
    make(tmp_path / "two.db", "a", "x INT", [(1,)])
    sqlite3.connect(tmp_path / "two.db").execute("CREATE TABLE b (y INT)")
    several = inside(tmp_path, "profile", "sqlite:two.db", "--json")
    assert (several.code, several.document["problems"][0]["hint"]) == (1, "there are: a, b")
    assert inside(tmp_path, "profile", people, "--sample", "0", "--json").code == 2
    never = inside(tmp_path, "profile", people, "--compare", "last", "--json")
    assert "never profiled" in never.document["problems"][0]["message"]
    assert json.loads(inside(tmp_path, "profile", "sqlite:none.db", "--json").out)["ok"] is False


def test_an_empty_table(tmp_path: Path) -> None:
    make(tmp_path / "e.db", "e", "x INT, y TEXT", [])
    done = inside(tmp_path, "profile", "sqlite:e.db", "--html", "e.html", "--json")
    assert (column(done, "x")["distinct"], column(done, "y")["top"], done.document["keys"]) == (0, [], [])
