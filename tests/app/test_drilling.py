"""A drill's oracle sees what is wrong, and `tongqu drill --faults` certifies what held."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tongqu.app.services.drilling.oracle import Invariant, judge
from tongqu.app.services.drilling.places import SqlitePlace
from tongqu.app.services.drilling.work import Ledger, Op, Workload, begin, expected
from tongqu.catalog.certificate import sha256
from tongqu.store.drills import Drills
from tongqu.testing.command_line import inside

KINDS = ("add", "batch", "count", "transfer", "poison")
TABLES = ("seen", "counter", "account", "batch", "done", "part")


@pytest.fixture
def played(tmp_path: Path) -> Iterator[tuple[Ledger, SqlitePlace, SqlitePlace]]:
    """A hundred operations in a source, and a target that is its copy without the poison."""
    source = SqlitePlace(tmp_path / "source.db")
    source.build()
    source.do(begin())
    work = Workload(7, KINDS)
    with Ledger(tmp_path / "ledger") as ledger:
        for op in (work.next() for _ in range(100)):
            ledger.intend(op)
            source.perform(op)
            ledger.told(op, "ok")
        shutil.copy(tmp_path / "source.db", tmp_path / "sink.db")
        sink = SqlitePlace(tmp_path / "sink.db")
        sink.do([("DELETE FROM {}part WHERE typeof(weight) = 'text'", ())])
        yield ledger, source, sink


def broken(found: list[Invariant]) -> set[str]:
    return {one.name for one in found if one.wrong}


def test_an_honest_copy_is_right(played: tuple[Ledger, SqlitePlace, SqlitePlace]) -> None:
    ledger, source, sink = played
    assert broken(judge(ledger, source, sink, TABLES)) == set()


@pytest.mark.parametrize(
    ("sabotage", "invariants"),
    [
        ("DELETE FROM {}done WHERE id = 50", {"I1", "I3", "I6"}),
        ("UPDATE {}counter SET n = n - 1, ver = ver - 1 WHERE id = 2", {"I3", "I6"}),
        ("UPDATE {}account SET balance = balance + 1 WHERE id = 1", {"I3", "I6"}),
        ("INSERT INTO {}seen VALUES (9999, 1)", {"I3", "I6"}),
        ("DELETE FROM {}part WHERE id = (SELECT max(id) FROM part)", {"I7"}),
    ],
)
def test_what_is_wrong_is_seen(
    sabotage: str, invariants: set[str], played: tuple[Ledger, SqlitePlace, SqlitePlace]
) -> None:
    ledger, source, sink = played
    sink.do([(sabotage, ())])
    assert broken(judge(ledger, source, sink, TABLES)) == invariants


def test_what_came_twice_is_seen(played: tuple[Ledger, SqlitePlace, SqlitePlace]) -> None:
    ledger, source, sink = played
    statements = ("CREATE TABLE {}twice AS SELECT * FROM seen", "DROP TABLE {}seen",
                  "ALTER TABLE {}twice RENAME TO seen", "INSERT INTO {}seen SELECT * FROM seen LIMIT 1")  # fmt: skip
    sink.do([(statement, ()) for statement in statements])
    assert "I2" in broken(judge(ledger, source, sink, TABLES))


def test_what_failed_and_is_there_is_seen(played: tuple[Ledger, SqlitePlace, SqlitePlace]) -> None:
    ledger, source, sink = played
    ledger.told(Op(40, "add", (0,)), "fail")
    assert "I1" in broken(judge(ledger, source, sink, TABLES))


def test_the_model_is_what_a_database_does(played: tuple[Ledger, SqlitePlace, SqlitePlace]) -> None:
    ledger, source, _ = played
    right = expected(op for op, _ in ledger.outcomes.values())
    with source.asking() as query:
        assert set(query("SELECT id, n, ver FROM {}counter")) == right["counter"]
        assert sum(row[1] for row in right["account"]) == 6000


def test_a_ledger_survives_a_torn_line(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger") as ledger:
        for number in (1, 2, 3):
            ledger.intend(Op(number, "add", (number,)))
        ledger.told(Op(1, "add", (1,)), "ok")
    with (tmp_path / "ledger").open("ab") as file:
        file.write(b'{"n": 2, "outc')
    found = Ledger.read(tmp_path / "ledger")
    assert {number: outcome for number, (_, outcome) in found.items()} == {1: "ok", 2: "unknown", 3: "unknown"}
    assert found[3][0] == Op(3, "add", (3,))


def test_the_same_seed_gives_the_same_operations() -> None:
    first, second = Workload(3, KINDS), Workload(3, KINDS)
    assert [first.next() for _ in range(50)] == [second.next() for _ in range(50)]


def test_a_drill_is_certified_and_kept(tmp_path: Path) -> None:
    done = inside(tmp_path, "drill", "--faults", "crash,lock", "--seconds", "2", "--seed", "4", "--json")
    document = done.document
    assert (done.code, document["ok"], document["seed"]) == (0, True, 4), done
    assert {one["name"] for one in document["invariants"]} == {f"I{number}" for number in range(1, 10)}
    assert document["sha256"] == sha256(document)
    store = Drills(tmp_path / "home" / "drills.db")
    assert store.last("faults", 5) == [document]
    store.close()


def test_a_drill_on_a_server_leaves_nothing_behind(pg_url: str, tmp_path: Path) -> None:
    options = ["--faults", "kill", "--seconds", "1", "--source", "${env:ERP}", "--sink", "${env:ERP}", "--lang", "en"]
    done = inside(tmp_path, "drill", *options, ERP=pg_url)
    assert done.code == 0, done
    assert "every promise held" in done.out
    assert "cdc" in done.out
    with psycopg.connect(pg_url) as connection:
        left = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'tongqu%' UNION SELECT pubname FROM pg_publication "
            "UNION SELECT slot_name FROM pg_replication_slots WHERE database = current_database() "
            "UNION SELECT tablename FROM pg_tables WHERE tablename LIKE '%tongqu%'"
        ).fetchall()
    assert left == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--faults", "flood"], "there is no fault 'flood'"),
        (["--faults", "pause", "--sink", "duckdb"], "cannot be done to"),
        (["--faults", "all", "--source", "duckdb"], "not for a DuckDB file"),
        (["--faults", "all", "--mode", "cdc"], "cannot follow sqlite"),
        (["--faults", "all", "--sink", "file:x.csv"], "cannot make a clone of file"),
    ],
)
def test_what_cannot_be_drilled_is_refused(words: list[str], told: str, tmp_path: Path) -> None:
    done = inside(tmp_path, "drill", *words, "--lang", "en")
    assert (done.code, told in done.err) == (2, True), done
