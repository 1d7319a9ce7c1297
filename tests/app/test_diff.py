"""`tongqu diff`: finds exactly the rows that differ between two systems, repairs these and no others, and certifies."""

from __future__ import annotations

import json
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pymysql
import pytest

from tongqu.connectors.mysql.settings import from_url as mysql_settings
from tongqu.testing.command_line import Done, inside, make, query, tongqu

ROWS = 5_000
_PG = """
CREATE TABLE orders (
  id bigint PRIMARY KEY, code varchar(20) NOT NULL, amount numeric(12,3), at timestamptz, day date, clock time,
  paid boolean, ratio double precision, raw bytea, ref uuid, note text, padded char(6), attrs jsonb);
INSERT INTO orders SELECT n, 'C' || n, n / 7.0, timestamptz '2026-01-01 00:00:00.25+00' + n * interval '1 second',
  date '2026-01-01' + n % 90, time '10:00' + n % 60 * interval '1 minute', n % 2 = 0,
  n / 3.0::float8 * 10 ^ (n % 8 - 5),
  decode(md5(n::text), 'hex'), md5(n::text)::uuid, CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN '中文 ß🙂 '
  ELSE 'a|~' || n END, 'p' || n % 5, CASE WHEN n % 3 > 0 THEN jsonb_build_object('w', n, 'ok', n % 2 = 0) END
FROM generate_series(1, {rows}) n;
"""
_MY = """
CREATE TABLE orders (
  id bigint PRIMARY KEY, code varchar(20) NOT NULL, amount decimal(14,4), at datetime(6), day date, clock time(6),
  paid tinyint(1), ratio double, raw varbinary(40), ref char(36), note text, padded char(10), attrs json)
  DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_general_ci
"""


def pg(url: str, *statements: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def my(url: str, *statements: str) -> list[tuple[Any, ...]]:
    settings = mysql_settings(url)
    password = settings.password.get_secret_value() if settings.password else ""
    with pymysql.connect(
        host=settings.host, port=settings.port, user=settings.user, password=password, database=settings.database,
        autocommit=True, charset="utf8mb4",
    ) as connection:  # fmt: skip
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


def counts(done: Done) -> tuple[int, int, int, int]:
    """same, missing, extra, different"""
    assert done.code in (0, 3), done.err
    table = done.document["tables"][0]
    return table["same"], table["missing"], table["extra"], table["different"]


@pytest.fixture
def both(tmp_path: Path, pg_url: str, mysql_url: str) -> tuple[str, str]:
    """The same orders in PostgreSQL and in a MariaDB table of other types and another collation."""
    pg(pg_url, _PG.format(rows=ROWS))
    my(mysql_url, _MY)
    assert inside(tmp_path, "sync", pg_url, mysql_url, "--table", "orders", "--write", "upsert").code == 0
    return pg_url, mysql_url


def test_equal_tables_of_two_systems_are_certified(tmp_path: Path, both: tuple[str, str]) -> None:
    done = tongqu(tmp_path, "diff", *both, "--table", "orders", "--json")
    assert done.code == 0, done.out + done.err
    assert counts(done) == (ROWS, 0, 0, 0)
    assert done.document["tables"][0]["listed"] == 0
    certificate = Path(done.document["certificate"])
    kept = json.loads(certificate.read_text())
    assert kept["result"] == "same"
    assert kept["tables"][0]["rows"] == {"left": ROWS, "right": ROWS}
    assert kept["tables"][0]["digests"]["left"] == kept["tables"][0]["digests"]["right"]
    assert "password" not in certificate.read_text()
    verified = inside(tmp_path, "diff", "--verify", str(certificate), "--json")
    assert (verified.code, verified.document["result"]) == (0, "same")
    certificate.write_text(certificate.read_text().replace('"same"', '"different"'))
    broken = inside(tmp_path, "diff", "--verify", str(certificate), "--json")
    assert (broken.code, broken.document["problems"][0]["code"]) == (1, "run.checkpoint")


def test_differing_rows_are_found_and_only_these_are_repaired(tmp_path: Path, both: tuple[str, str]) -> None:
    target = both[1]
    my(
        target,
        "ALTER TABLE orders ADD touched timestamp(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
        "UPDATE orders SET touched = '2000-01-01'",
        "UPDATE orders SET amount = amount + 0.0001, touched = '2000-01-01' WHERE id = 1700",
        "UPDATE orders SET note = 'A|~3', touched = '2000-01-01' WHERE id = 3",
        "UPDATE orders SET note = '', touched = '2000-01-01' WHERE id = 4",
        "DELETE FROM orders WHERE id IN (10, 4999)",
        "INSERT INTO orders (id, code, touched) VALUES (100000, 'new', '2000-01-01'), (-5, 'new', '2000-01-01')",
    )
    found = inside(tmp_path, "diff", *both, "--table", "orders", "--json")
    assert (found.code, counts(found)) == (3, (ROWS - 5, 2, 2, 3))
    table = found.document["tables"][0]
    assert table["differing_columns"] == {"amount": 1, "note": 2}
    assert {(e["kind"], *e["key"]) for e in table["examples"]} == {
        ("different", "1700"), ("different", "3"), ("different", "4"), ("missing", "10"), ("missing", "4999"),
        ("extra", "100000"), ("extra", "-5"),
    }  # fmt: skip
    assert table["listed"] < ROWS
    dry = inside(tmp_path, "diff", *both, "--table", "orders", "--repair", "--dry-run", "--json")
    assert (dry.code, dry.document["tables"][0]["would"]) == (3, {"inserted": 2, "updated": 3, "deleted": 2})
    assert counts(inside(tmp_path, "diff", *both, "--table", "orders", "--json")) == counts(found)

    done = inside(tmp_path, "diff", *both, "--table", "orders", "--repair", "--json")
    assert done.code == 0, done.out + done.err
    table = done.document["tables"][0]
    assert table["repaired"] == {"inserted": 2, "updated": 3, "deleted": 2, "refused": 0}
    assert table["remaining"] == {"missing": 0, "extra": 0, "different": 0}
    assert my(target, "SELECT COUNT(*) FROM orders WHERE touched <> '2000-01-01'") == [(5,)]
    assert counts(inside(tmp_path, "diff", *both, "--table", "orders", "--json")) == (ROWS, 0, 0, 0)
    runs = inside(tmp_path, "runs", "list", "--json").document["runs"]
    assert [run["written"] for run in runs if run["kind"] == "diff"] == [7]


def test_text_keys_of_other_collations_are_compared_by_their_bytes(tmp_path: Path, pg_url: str, mysql_url: str) -> None:
    words = [f"{letter}{n:05}" for n in range(700) for letter in ("a", "Ä", "ß", "中", "Z", "_")]
    rows = ", ".join(f"('{word}', {n % 3}, '{n}')" for n, word in enumerate(words))
    pg(pg_url, "CREATE TABLE w (k text, part int, v text, PRIMARY KEY (k, part))", f"INSERT INTO w VALUES {rows}")
    my(
        mysql_url,
        "CREATE TABLE w (k varchar(30), part int, v text, PRIMARY KEY (k, part)) COLLATE utf8mb4_unicode_ci",
        f"INSERT INTO w VALUES {rows}",
        "UPDATE w SET v = 'x' WHERE k = '中00333'",
        "DELETE FROM w WHERE k = 'Ä00200' AND v = '1201'",
        "UPDATE w SET k = 'Z00001 ' WHERE k = 'Z00001'",
    )
    done = inside(tmp_path, "diff", pg_url, mysql_url, "--table", "w", "--json")
    assert counts(done) == (len(words) - 3, 2, 1, 1)
    assert inside(tmp_path, "diff", pg_url, mysql_url, "--table", "w", "--repair", "--json").code == 0
    assert my(mysql_url, "SELECT v FROM w WHERE k = BINARY '中00333'") == [(str(words.index("中00333")),)]


def test_a_repair_leaves_rows_alone_whose_keys_the_target_takes_for_others(
    tmp_path: Path, pg_url: str, mysql_url: str
) -> None:
    """To this MariaDB `a`, `A` and `ä` are one key: the row it has stays, and what cannot go in beside it is named."""
    pg(pg_url, "CREATE TABLE k (k text PRIMARY KEY, v int)",
       "INSERT INTO k VALUES ('a', 1), ('A', 2), ('ä', 3), ('b', 4), ('c', 5), ('C', 6)")  # fmt: skip
    my(mysql_url, "CREATE TABLE k (k varchar(9) PRIMARY KEY, v int) COLLATE utf8mb4_general_ci",
       "INSERT INTO k VALUES ('a', 1), ('B', 4)")  # fmt: skip
    done = inside(tmp_path, "diff", pg_url, mysql_url, "--table", "k", "--repair", "--json")
    table = done.document["tables"][0]
    assert (done.code, table["repaired"]) == (3, {"inserted": 2, "updated": 0, "deleted": 1, "refused": 3})
    assert table["remaining"] == {"missing": 3, "extra": 0, "different": 0}
    assert "takes the key (A) for that of another row" in str(table["problems"])
    [first, second, third] = my(mysql_url, "SELECT k, v FROM k ORDER BY k")
    assert (first, second, third) in ((("a", 1), ("b", 4), ("c", 5)), (("a", 1), ("b", 4), ("C", 6)))


def test_a_repair_deletes_no_row_beside_an_extra_one(tmp_path: Path, pg_url: str, mysql_url: str) -> None:
    pg(pg_url, "CREATE TABLE k (k text PRIMARY KEY, v int)", "INSERT INTO k VALUES ('a', 1), ('b', 1)")
    my(mysql_url, "CREATE TABLE k (k varchar(9), v int) COLLATE utf8mb4_general_ci",
       "INSERT INTO k VALUES ('a', 1), ('A', 2), ('b', 5)")  # fmt: skip
    done = inside(tmp_path, "diff", pg_url, mysql_url, "--table", "k", "--key", "k", "--repair", "--json")
    assert (done.code, done.document["problems"][0]["code"]) == (1, "data.schema")
    assert sorted(my(mysql_url, "SELECT k, v FROM k")) == [("A", 2), ("a", 1), ("b", 5)]


def test_nothing_is_repaired_while_a_run_writes_the_target(tmp_path: Path, pg_url: str) -> None:
    pg(pg_url, "CREATE TABLE t (id int PRIMARY KEY, x int)", "INSERT INTO t SELECT n, n FROM generate_series(1, 90) n")
    sync = ("sync", pg_url, "sqlite:t.db", "--table", "t", "--write", "upsert", "--chunk-rows", "30", "--json")
    assert tongqu(tmp_path, *sync, TONGQU_CRASH_AT="before_commit:2").code not in (0, 3)
    repair = ("diff", pg_url, "sqlite:t.db", "--table", "t", "--repair", "--json")
    busy = inside(tmp_path, *repair)
    assert (busy.code, busy.document["problems"][0]["code"]) == (1, "connector.busy")
    assert query(tmp_path / "t.db", "SELECT count(*) FROM t") == [(30,)]
    assert inside(tmp_path, *sync).code == 0
    assert inside(tmp_path, *repair).code == 0


def test_json_is_compared_by_value(tmp_path: Path, pg_url: str) -> None:
    pg(pg_url, "CREATE TABLE j (id int PRIMARY KEY, v jsonb)", """INSERT INTO j VALUES (1, '{"a": 1, "b": [true]}'),
       (2, '{"a": 1}'), (3, NULL)""")  # fmt: skip
    same = [(1, '{"b":[true],"a":1.0}'), (2, '{"a": 1}'), (3, None)]
    make(tmp_path / "j.db", "j", "id INTEGER PRIMARY KEY, v JSON", same)
    done = inside(tmp_path, "diff", pg_url, "sqlite:j.db", "--table", "j", "--json")
    assert counts(done) == (3, 0, 0, 0)
    assert "not compared" in done.document["tables"][0]["notes"][0]
    make(
        tmp_path / "other.db", "j", "id INTEGER PRIMARY KEY, v JSON", [(1, '{"a": 1, "b": [1]}'), (2, "{}"), (3, "{}")]
    )
    done = inside(tmp_path, "diff", pg_url, "sqlite:other.db", "--table", "j", "--json")
    assert counts(done) == (0, 0, 0, 3)


def test_trailing_blanks_count_unless_a_side_pads(tmp_path: Path, pg_url: str) -> None:
    pg(pg_url, "CREATE TABLE c (id int PRIMARY KEY, v varchar(9), p char(9))",
       "INSERT INTO c VALUES (1, 'a', 'a'), (2, 'a ', 'a')")  # fmt: skip
    make(tmp_path / "c.db", "c", "id INTEGER PRIMARY KEY, v TEXT, p TEXT", [(1, "a ", "a"), (2, "a ", "a  ")])
    done = inside(tmp_path, "diff", pg_url, "sqlite:c.db", "--table", "c", "--json")
    assert (counts(done), done.document["tables"][0]["differing_columns"]) == ((1, 0, 0, 1), {"v": 1})


def test_floats_differ_by_less_than_the_tolerance(tmp_path: Path) -> None:
    left = [(1, 1.0), (2, 2.0), (3, 1e-9), (4, 0.25), (5, None)]
    right = [(1, 1.0 + 1e-12), (2, 2.1), (3, 1.4e-9), (4, 0.25), (5, 0.0)]
    make(tmp_path / "l.db", "m", "id INTEGER PRIMARY KEY, x REAL", left)
    make(tmp_path / "r.db", "m", "id INTEGER PRIMARY KEY, x REAL", right)
    exact = inside(tmp_path, "diff", "sqlite:l.db", "sqlite:r.db", "--table", "m", "--json")
    assert counts(exact) == (1, 0, 0, 4)
    near = inside(tmp_path, "diff", "sqlite:l.db", "sqlite:r.db", "--table", "m", "--tolerance", "1e-9", "--json")
    assert counts(near) == (3, 0, 0, 2)


def test_doubles_that_no_tolerance_counts_are_compared_as_they_are(tmp_path: Path, pg_url: str, mysql_url: str) -> None:
    odd = "(1, 'NaN'), (2, 'Infinity'), (3, '-Infinity')"
    pg(pg_url, "CREATE TABLE o (id int PRIMARY KEY, x float8)",
       f"INSERT INTO o VALUES {odd}, (4, 1e300), (5, -1e80), (6, 2e15), (7, 1.0)")  # fmt: skip
    with duckdb.connect(str(tmp_path / "o.duckdb")) as database:
        database.execute("CREATE TABLE o (id INT PRIMARY KEY, x DOUBLE)")
        database.execute(f"INSERT INTO o VALUES {odd}, (4, 1e300), (5, -1e70), (6, 2e15), (7, 1.0004)")
    done = inside(tmp_path, "diff", pg_url, "duckdb:o.duckdb", "--table", "o", "--tolerance", "0.001", "--json")
    assert counts(done) == (6, 0, 0, 1)
    my(mysql_url, "CREATE TABLE o (id int PRIMARY KEY, x double)",
       "INSERT INTO o VALUES (4, 1e300), (5, -1e70), (6, 2e15), (7, 1.0004)")  # fmt: skip
    ends = ("duckdb:o.duckdb", mysql_url, "--table", "o", "--tolerance", "0.001", "--where", "id > 3", "--json")
    assert counts(inside(tmp_path, "diff", *ends)) == (4, 0, 0, 0)


def test_tables_without_a_key_are_refused_or_compared_as_bags(tmp_path: Path) -> None:
    make(tmp_path / "l.db", "b", "x INT, y TEXT", [(1, "a"), (1, "a"), (2, "b"), (3, None)])
    make(tmp_path / "r.db", "b", "x INT, y TEXT", [(1, "a"), (2, "b"), (2, "b"), (2, "b"), (3, "")])
    refused = inside(tmp_path, "diff", "sqlite:l.db", "sqlite:r.db", "--table", "b", "--json")
    assert refused.code == 1
    assert "--no-key" in refused.document["problems"][0]["hint"]
    done = inside(tmp_path, "diff", "sqlite:l.db", "sqlite:r.db", "--table", "b", "--no-key", "--json")
    assert counts(done) == (2, 2, 3, 0)
    doubled = inside(tmp_path, "diff", "sqlite:l.db", "sqlite:r.db", "--table", "b", "--key", "x", "--json")
    assert "does not identify a row" in doubled.document["problems"][0]["message"]


def test_columns_of_different_kinds_are_named(tmp_path: Path) -> None:
    make(tmp_path / "l.db", "t", "id INTEGER PRIMARY KEY, a TEXT, b DATE, c INT", [(1, "x", "2026-01-01", 5)])
    make(tmp_path / "r.db", "t", "id INTEGER PRIMARY KEY, a INT, b INT, c DECIMAL(10,2)", [(1, 1, 1, 5)])
    done = inside(tmp_path, "diff", "sqlite:l.db", "sqlite:r.db", "--table", "t", "--json")
    assert done.code == 1
    assert "a (TEXT and INT), b (DATE and INT)" in done.document["problems"][0]["message"]
    done = inside(tmp_path, "diff", "sqlite:l.db", "sqlite:r.db", "--table", "t", "--columns", "c", "--json")
    assert counts(done) == (1, 0, 0, 0)


def test_a_partial_comparison_repairs_only_its_columns(tmp_path: Path) -> None:
    make(
        tmp_path / "l.db", "t", "id INTEGER PRIMARY KEY, a TEXT, b TEXT", [(1, "A", "B"), (2, "A", "B"), (3, "A", "B")]
    )
    make(tmp_path / "r.db", "t", "id INTEGER PRIMARY KEY, a TEXT, b TEXT", [(1, "x", "y"), (2, "A", "y"), (9, "", "")])
    arguments = ("diff", "sqlite:l.db", "sqlite:r.db", "--table", "t", "--columns", "a", "--repair", "--json")
    assert inside(tmp_path, *arguments).document["tables"][0]["repaired"] == {
        "inserted": 1, "updated": 1, "deleted": 1, "refused": 0,
    }  # fmt: skip
    assert query(tmp_path / "r.db", "SELECT * FROM t ORDER BY id") == [(1, "A", "y"), (2, "A", "y"), (3, "A", "B")]


def test_some_rows_of_a_file_against_duckdb(tmp_path: Path) -> None:
    lines = ["id,name,price,day", *(f"{n},n{n},{n}.50,2026-01-{n % 28 + 1:02}" for n in range(1, 301))]
    (tmp_path / "items.csv").write_text("\n".join(lines) + "\n")
    with duckdb.connect(str(tmp_path / "x.duckdb")) as database:
        database.execute("CREATE TABLE items (id INT PRIMARY KEY, name VARCHAR, price DOUBLE, day DATE)")
        database.execute("INSERT INTO items SELECT n, 'n' || n, n + 0.5, DATE '2026-01-01' + (n % 28)::INT "
                         "FROM range(1, 301) r(n) WHERE n <> 7")  # fmt: skip
        database.execute("UPDATE items SET name = 'other' WHERE id = 250")
    ends = ("file:items.csv", "duckdb:x.duckdb", "--table", "items", "--key", "id", "--json")
    assert counts(inside(tmp_path, "diff", *ends)) == (298, 1, 0, 1)
    assert counts(inside(tmp_path, "diff", *ends, "--where", "id between 1 and 100 and name <> 'n5'")) == (98, 1, 0, 0)
    done = inside(tmp_path, "diff", *ends, "--repair")
    assert (done.code, done.document["tables"][0]["repaired"]["updated"]) == (0, 1), done.err
    refused = inside(tmp_path, "diff", *reversed(ends[:2]), *ends[2:], "--repair")
    assert (refused.code, refused.document["problems"][0]["code"]) == (2, "config.invalid_plan")


def test_an_entry_of_the_project_is_compared_by_name(tmp_path: Path) -> None:
    make(tmp_path / "l.db", "a", "id INTEGER PRIMARY KEY, x INT", [(1, 1), (2, 2)])
    make(tmp_path / "r.db", "b", "id INTEGER PRIMARY KEY, x INT", [(1, 1), (2, 3)])
    (tmp_path / "tongqu.yaml").write_text("""
connections:
  here: {type: sqlite, path: l.db}
  there: {type: sqlite, path: r.db}
reconcile:
  day_end: {left: {connection: here, dataset: a}, right: {connection: there, dataset: b}, repair: ask}
  fixed: {left: {connection: here, dataset: a}, right: {connection: there, dataset: b}, repair: never}
""")
    assert counts(inside(tmp_path, "diff", "day_end", "--json")) == (1, 0, 0, 1)
    assert inside(tmp_path, "diff", "fixed", "--repair", "--json").code == 2
    assert inside(tmp_path, "diff", "dayend", "--json").document["problems"][0]["hint"].startswith("did you mean")
    shown = inside(tmp_path, "diff", "day_end", "--repair", "--lang", "zh")
    assert (shown.code, "更新 1" in shown.out) == (0, True)
    assert query(tmp_path / "r.db", "SELECT x FROM b WHERE id = 2") == [(2,)]


def test_rows_that_the_target_refuses_are_reported(tmp_path: Path) -> None:
    make(tmp_path / "l.db", "t", "id INTEGER PRIMARY KEY, x INT", [(1, 1), (2, -5), (3, 3)])
    make(tmp_path / "r.db", "t", "id INTEGER PRIMARY KEY, x INT CHECK (x > 0)", [(1, 9)])
    done = inside(tmp_path, "diff", "sqlite:l.db", "sqlite:r.db", "--table", "t", "--repair", "--json")
    table = done.document["tables"][0]
    assert (done.code, table["repaired"]) == (3, {"inserted": 1, "updated": 1, "deleted": 0, "refused": 1})
    assert table["remaining"] == {"missing": 1, "extra": 0, "different": 0}


def test_rows_that_change_meanwhile_are_not_reported(tmp_path: Path, pg_url: str) -> None:
    """A writer mends each wrong row as soon as the first look is over; the second look finds nothing."""
    from tongqu.catalog.agreement import Wish, agree
    from tongqu.catalog.reconcile import Pair, Tally, differences
    from tongqu.core import registry

    pg(pg_url, "CREATE TABLE a (id int PRIMARY KEY, x int)", "CREATE TABLE b (id int PRIMARY KEY, x int)",
       "INSERT INTO a SELECT n, n FROM generate_series(1, 100) n", "INSERT INTO b SELECT n, n + (n = 7)::int FROM "
       "generate_series(1, 100) n")  # fmt: skip
    connector = registry.by_url(pg_url)
    assert connector.source is not None
    source = connector.source(connector.from_url(pg_url))
    a, b = (source.datasets([name])[0] for name in "ab")
    agreed = agree(a, b, Wish())
    sides = [source.comparing(dataset, c) for dataset, c in ((a, agreed.left), (b, agreed.right))]
    left, right = sides
    assert left is not None
    assert right is not None
    first = right.digests

    def digests(spans: Any) -> Any:
        found = first(spans)
        pg(pg_url, "UPDATE b SET x = 7 WHERE id = 7")
        return found

    right.digests = digests  # type: ignore[method-assign]  # a writer between two looks
    pair, tally = Pair(left, right, ["id"]), Tally()
    assert list(differences(pair, tally)) == []
    assert tally.settled == 1
    pair.close()
    source.close()


def test_rows_that_a_follower_is_about_to_get_are_no_differences(
    tmp_path: Path, pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 7 is always one behind and moves; row 8 moves on the left only, which is a difference."""
    from tongqu.catalog import reconcile
    from tongqu.kit.comparing.sql import SqlComparable

    pg(pg_url, "CREATE TABLE a (id int PRIMARY KEY, x int)", "CREATE TABLE b (id int PRIMARY KEY, x int)",
       "INSERT INTO a VALUES (7, 1), (8, 1), (9, 1)", "INSERT INTO b VALUES (7, 0), (8, 0), (9, 1)")  # fmt: skip
    first = SqlComparable.digests_of

    def digests_of(self: SqlComparable, keys: Any) -> Any:
        if '"b"' in self.from_:
            pg(pg_url, "UPDATE b SET x = x + 1 WHERE id = 7")
        else:
            pg(pg_url, "UPDATE a SET x = x + 1 WHERE id IN (7, 8)")
        return first(self, keys)

    monkeypatch.setattr(SqlComparable, "digests_of", digests_of)
    monkeypatch.setattr(reconcile, "_LOOKS", (0.0, 0.0, 0.0))
    done = inside(tmp_path, "diff", pg_url, pg_url, "--table", "a=b", "--json")
    [table] = done.document["tables"]
    assert (done.code, table["different"], table["same"]) == (3, 1, 1)
    assert "1 rows changed at each look and could not be compared" in table["notes"]


def test_a_repair_overwrites_nothing_that_is_newer(
    tmp_path: Path, pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 7 changes on the left, and whoever carries changes has brought it, while its old value is being repaired."""
    from tongqu.kit.comparing.sql import SqlComparable

    pg(pg_url, "CREATE TABLE a (id int PRIMARY KEY, x int)", "CREATE TABLE b (id int PRIMARY KEY, x int)",
       "INSERT INTO a SELECT n, n FROM generate_series(1, 9) n",
       "INSERT INTO b SELECT n, n + (n IN (7, 8))::int FROM generate_series(1, 8) n",
       "INSERT INTO b VALUES (10, 10)")  # fmt: skip
    first, changes = SqlComparable.rows, iter("1")

    def rows(self: SqlComparable, keys: Any, columns: Any) -> Any:
        found = first(self, keys, columns)
        if next(changes, ""):
            for table in "ab":
                pg(pg_url, f"UPDATE {table} SET x = 99 WHERE id = 7", f"DELETE FROM {table} WHERE id = 9",
                   f"INSERT INTO {table} VALUES (10, 11) ON CONFLICT (id) DO UPDATE SET x = 11")  # fmt: skip
        return found

    monkeypatch.setattr(SqlComparable, "rows", rows)
    done = inside(tmp_path, "diff", pg_url, pg_url, "--table", "a=b", "--repair", "--json")
    [table] = done.document["tables"]
    assert (done.code, table["repaired"]["updated"]) == (0, 1)
    assert "3 rows changed while they were repaired, and were left as they are" in table["notes"]
    with psycopg.connect(pg_url) as connection:
        held = [connection.execute(f"SELECT id, x FROM {table} ORDER BY id").fetchall() for table in "ab"]
    assert held[0] == held[1]
    assert held[0][-2:] == [(8, 8), (10, 11)]


def test_decimal_and_date_keys_across_systems(tmp_path: Path, pg_url: str) -> None:
    """PostgreSQL writes this double with one digit more than the others: such rows are compared as values."""
    pg(pg_url, "CREATE TABLE d (k numeric(10,2), day date, v int, x float8, PRIMARY KEY (k, day))",
       "INSERT INTO d SELECT n / 4.0, date '2026-01-01' + n, n, 893e19::float8 FROM "
       "generate_series(1, 900) n")  # fmt: skip
    with duckdb.connect(str(tmp_path / "d.duckdb")) as database:
        database.execute("CREATE TABLE d (k DECIMAL(12,4), day DATE, v INT, x DOUBLE, PRIMARY KEY (k, day))")
        database.execute(
            "INSERT INTO d SELECT n / 4.0, DATE '2026-01-01' + n::INT, n, 893e19::DOUBLE FROM range(1, 901) r(n)"
        )
        database.execute("UPDATE d SET v = 0 WHERE k IN (150.25, 70)")
    done = inside(tmp_path, "diff", pg_url, "duckdb:d.duckdb", "--table", "d", "--json")
    assert counts(done) == (898, 0, 0, 2)
    assert sorted(Decimal(e["key"][0]) for e in done.document["tables"][0]["examples"]) == [
        Decimal(70),
        Decimal("150.25"),
    ]


def test_wrong_arguments_are_refused_before_any_connection(tmp_path: Path) -> None:
    for arguments in (("diff",), ("diff", "a"), ("diff", "sqlite:l.db", "sqlite:r.db"),
                      ("diff", "sqlite:l.db", "sqlite:r.db", "--table", "t", "--dry-run")):  # fmt: skip
        done = inside(tmp_path, *arguments, "--json")
        assert done.code == 2, done.out
    assert subprocess.run(["ls", str(tmp_path)], capture_output=True, text=True, check=True).stdout == ""
