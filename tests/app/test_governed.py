"""Connections with a budget: what the files may say, that runs keep to it, and where it can be seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from time import monotonic

import psycopg
import pytest

from tongqu.app.project.rules import ConnectionRules
from tongqu.app.wire import Wire
from tongqu.store.home import Home
from tongqu.testing.command_line import inside, make, query

PROJECT = """
project: plant
connections:
  a: {{type: sqlite, path: a.db{rules}}}
  b: {{type: sqlite, path: b.db}}
pipelines:
  t: {{source: {{connection: a, dataset: t}}, sink: {{connection: b}}, limit: {{chunk_rows: 500}}}}
"""
SHANGHAI = timezone(timedelta(hours=8))


def plant(folder: Path, rules: str) -> None:
    (folder / "tongqu.yaml").write_text(PROJECT.format(rules=rules), encoding="utf-8")
    make(folder / "a.db", "t", "id INTEGER PRIMARY KEY", [(number,) for number in range(3_000)])


def test_a_run_keeps_to_the_rate_of_its_source(tmp_path: Path) -> None:
    plant(tmp_path, ", max_rate: 4000, max_splits: 1, adapt: true, quiet: []")
    began = monotonic()
    done = inside(tmp_path, "run", "t", "--json")
    assert done.code == 0, done.err
    assert monotonic() - began > 0.5
    assert query(tmp_path / "b.db", "SELECT count(*) FROM t") == [(3_000,)]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (', quiet: ["8-12"]', "no time of day"),
        (', quiet: ["08:00-08:00"]', "begins when it ends"),
        (", max_rate: 0", "max_rate"),
        (", adapt: {latency: 0.5}", "latency"),
        (", alternatives: [c]", "there is no other connection 'c'"),
        (", alternatives: [a]", "there is no other connection 'a'"),
        (", max_spilts: 2", "unknown key 'max_spilts'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, rules: str, told: str) -> None:
    plant(tmp_path, rules)
    done = inside(tmp_path, "check", "--json")
    assert done.code == 2
    assert any(told in problem["message"] or told in problem["path"] for problem in done.document["problems"])


@pytest.mark.parametrize(
    ("clock", "quiet"),
    [("07:59", False), ("08:00", True), ("11:59", True), ("12:00", False), ("23:30", True), ("01:00", True)],
)
def test_quiet_times_are_of_the_project_s_zone_and_may_pass_midnight(clock: str, quiet: bool) -> None:
    rules = ConnectionRules(quiet=("08:00-12:00", "22:00-02:00"))
    at = datetime.fromisoformat(f"2026-03-01T{clock}:00+08:00").astimezone(UTC)
    assert rules.quieted(SHANGHAI)(at) is quiet


REPLICAS = """
project: plant
connections:
  a: {{type: postgres, url: "{dead}", connect_seconds: 2, alternatives: [c], take_when: {when}}}
  c: {{type: postgres, url: "{alive}"}}
  b: {{type: sqlite, path: b.db}}
pipelines:
  t: {{source: {{connection: a, dataset: t}}, sink: {{connection: b}}}}
"""


def _replicas(folder: Path, url: str, *, dead: str, when: str) -> None:
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 100) AS g")
    (folder / "tongqu.yaml").write_text(REPLICAS.format(dead=dead, alive=url, when=when), encoding="utf-8")


@pytest.mark.parametrize(("when", "slow"), [("{failed: true}", False), ("{latency_ms: 0.000001}", True)])
def test_an_alternative_is_read_when_the_first_is_in_trouble(
    tmp_path: Path, pg_url: str, when: str, *, slow: bool
) -> None:
    dead = pg_url if slow else "postgresql://nobody@127.0.0.1:1/nothing"
    _replicas(tmp_path, pg_url, dead=dead, when=when)
    if slow:  # the alternative is as slow, so it is not taken
        assert "read_from" not in inside(tmp_path, "run", "t", "--json").document["streams"][0]
        return
    done = inside(tmp_path, "run", "t", "--json")
    assert done.code == 0, done.err
    [stream] = done.document["streams"]
    assert stream["read_from"] == "c"
    assert query(tmp_path / "b.db", "SELECT count(*) FROM t") == [(100,)]
    wire = Wire(tmp_path, "", lambda *_, **params: None)
    wire.home = Home(tmp_path / "home")
    assert wire.governing.shown()["alternatives"] == [{"connection": "a", "alternative": "c", "times": 1}]


def test_one_that_is_well_is_read_itself(tmp_path: Path, pg_url: str) -> None:
    _replicas(tmp_path, pg_url, dead=pg_url, when="{failed: true, latency_ms: 60000}")
    done = inside(tmp_path, "run", "t", "--json")
    assert done.code == 0, done.err
    assert "read_from" not in done.document["streams"][0]


def test_what_follows_a_log_is_never_read_elsewhere(tmp_path: Path, pg_url: str) -> None:
    _replicas(tmp_path, pg_url, dead="postgresql://nobody@127.0.0.1:1/nothing", when="{failed: true}")
    text = (tmp_path / "tongqu.yaml").read_text(encoding="utf-8").replace("dataset: t}", "dataset: t, mode: cdc}")
    (tmp_path / "tongqu.yaml").write_text(text, encoding="utf-8")
    done = inside(tmp_path, "run", "t", "--json", "--until-caught-up")
    assert done.code == 1
    assert done.document["problems"][0]["code"] == "connector.connect"
