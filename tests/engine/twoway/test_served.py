"""Two-way sync between real databases, by the command line: rounds, crashes, conflicts, stages and gates."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from tongqu.core import registry
from tongqu.engine.twoway.packing import Shape, pack
from tongqu.engine.twoway.place import Want
from tongqu.engine.twoway.served import Served, Side
from tongqu.testing.command_line import inside, tongqu

TABLE = (
    "CREATE TABLE parts (id int PRIMARY KEY, name varchar(40), price numeric(10,2), made timestamp NULL, "
    "status varchar(10) NOT NULL)"
)


class Plant:
    """A project folder with SQLite files that hold `parts`."""

    def __init__(self, folder: Path, sync: str, sides: tuple[str, ...] = ("erp", "mes")):
        self.folder = folder
        files = "".join(f"  {side}: {{type: sqlite, path: {side}.db}}\n" for side in sides)
        (folder / "tongqu.yaml").write_text(f"project: plant\nconnections:\n{files}sync:\n  parts: {sync}\n")
        for side in sides:
            self.sql(side, TABLE)

    def sql(self, side: str, *statements: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        with closing(sqlite3.connect(self.folder / f"{side}.db")) as database:
            for statement in statements:
                found = database.execute(statement).fetchall()
            database.commit()
        return found

    def parts(self, side: str) -> list[tuple[Any, ...]]:
        return self.sql(side, "SELECT id, name, price FROM parts ORDER BY id")

    def run(self, *words: str, code: int = 0) -> dict[str, Any]:
        done = inside(self.folder, "twoway", *words, "--json")
        assert done.code == code, (done.err, done.document)
        document: dict[str, Any] = done.document
        return document


PAIR = "{between: [{connection: erp, dataset: parts}, {connection: mes, dataset: parts}]%s}"


def add(id: int, name: str, price: str = "1.50", status: str = "ok") -> str:
    return f"INSERT INTO parts VALUES ({id}, '{name}', {price}, '2026-01-02 03:04:05', '{status}')"


def test_edits_of_both_sides_meet(tmp_path: Path) -> None:
    plant = Plant(tmp_path, PAIR % ", conflict: merge")
    plant.sql("erp", add(1, "bolt"), add(2, "nut"))
    plant.sql("mes", add(3, "ring"))
    assert plant.run("run", "parts")["written"] == 3
    plant.sql("erp", "UPDATE parts SET price = 2.25 WHERE id = 1", "DELETE FROM parts WHERE id = 2")
    plant.sql("mes", "UPDATE parts SET name = 'screw' WHERE id = 1")
    done = plant.run("run", "parts")
    assert (done["written"], done["stage"], done["differences"]) == (3, "two_way", 0)
    assert plant.parts("erp") == plant.parts("mes") == [(1, "screw", 2.25), (3, "ring", 1.5)]
    assert plant.run("run", "parts")["written"] == 0
    [first, _] = plant.run("read", "parts")["records"]
    assert (first["row"]["name"], first["version"]) == ("screw", 2)


def test_a_conflict_is_chosen_by_a_person(tmp_path: Path) -> None:
    plant = Plant(tmp_path, PAIR % ", conflict: manual")
    plant.sql("erp", add(1, "bolt"))
    plant.sql("mes", add(1, "screw"))
    assert plant.run("run", "parts", code=3)["conflicts"] == 1
    [waits] = plant.run("conflicts", code=3)["conflicts"]
    assert {side: row["name"] for side, row in waits["sides"].items()} == {"erp": "bolt", "mes": "screw"}
    assert plant.run("resolve", "parts", str(waits["id"]), "--use", "nobody", code=2)["ok"] is False
    plant.run("resolve", "parts", str(waits["id"]), "--use", "mes")
    plant.run("run", "parts")
    assert plant.parts("erp") == [(1, "screw", 1.5)]
    assert plant.run("conflicts")["conflicts"] == []


def test_stages_open_by_their_gates_and_shut_by_themselves(tmp_path: Path) -> None:
    plant = Plant(tmp_path, PAIR % ", gates: {differences: 0, rounds: 2}")
    plant.sql("erp", add(1, "bolt"))
    done = plant.run("run", "parts", code=3)
    assert (done["stage"], done["would"], plant.parts("mes")) == ("shadow", {"mes": 1}, [])
    refused = plant.run("advance", "parts", code=2)
    assert "differences 1 (asked: 0), rounds 1 (asked: 2)" in refused["problems"][0]["message"]
    plant.run("advance", "parts", "--force", code=2)  # without a reason
    assert plant.run("advance", "parts", "--force", "--reason", "first load")["stage"] == "one_way"
    for _ in range(2):
        assert plant.run("run", "parts")["stage"] == "one_way"
    assert plant.parts("mes") == [(1, "bolt", 1.5)]
    assert plant.run("advance", "parts")["forced"] is False
    plant.sql("mes", "CREATE TRIGGER no BEFORE UPDATE ON parts BEGIN SELECT RAISE(ABORT, 'no'); END")
    plant.sql("erp", "UPDATE parts SET name = 'screw'")
    done = plant.run("run", "parts", code=3)
    assert (done["refused"], done["shut"]["to"]) == (1, "one_way")
    moves = plant.run("show", "parts")["moves"]
    assert [(move["to"], move["why"]) for move in moves[1:]] == [
        ("two_way", "all conditions hold"), ("one_way", "forced: first load"),
    ]  # fmt: skip
    assert moves[0]["who"] == "gate"


def test_only_what_is_approved_is_read_anywhere(tmp_path: Path) -> None:
    plant = Plant(tmp_path, PAIR % ", approved: {field: status, value: ok}")
    plant.sql("erp", add(1, "bolt"))
    plant.run("run", "parts")
    plant.sql("erp", "UPDATE parts SET name = 'wrong', status = 'draft'")
    assert plant.run("run", "parts")["held"] == 1
    assert plant.parts("mes") == [(1, "bolt", 1.5)]
    assert [one["row"]["name"] for one in plant.run("read", "parts")["records"]] == ["bolt"]


def test_a_cursor_finds_changes_and_all_is_compared_now_and_then(tmp_path: Path) -> None:
    plant = Plant(tmp_path, PAIR % ", mode: incremental, cursor: made, compare_every: 4")
    plant.sql("erp", add(1, "bolt"), add(2, "nut"), "UPDATE parts SET made = '2026-01-01 00:00:00' WHERE id = 2")
    for _ in range(2):
        plant.run("run", "parts")
    plant.sql("erp", "UPDATE parts SET name = 'screw', made = '2026-02-01 00:00:00' WHERE id = 1")
    plant.sql("mes", "DELETE FROM parts WHERE id = 2")
    done = plant.run("run", "parts")
    assert (done["written"], plant.parts("mes")) == (1, [(1, "screw", 1.5)])
    assert len(plant.parts("erp")) == 2
    plant.run("run", "parts")
    assert plant.parts("erp") == [(1, "screw", 1.5)]


@pytest.mark.parametrize("point", ["after_intent", "after_side:1", "after_side:2", "before_undo", "before_agreed"])
def test_a_kill_at_any_point_has_one_effect(tmp_path: Path, point: str) -> None:
    sides = ("erp", "mes", "qms")
    between = ", ".join(f"{{connection: {side}, dataset: parts}}" for side in sides)
    plant = Plant(tmp_path, f"{{between: [{between}]}}", sides)
    plant.sql("erp", add(1, "bolt"), add(2, "nut"))
    plant.run("run", "parts")
    for side in sides:
        plant.sql(
            side, "CREATE TABLE told (what text)",
            "CREATE TRIGGER tell AFTER UPDATE ON parts BEGIN INSERT INTO told VALUES (NEW.name); END",
        )  # fmt: skip
    plant.sql("qms", "CREATE TRIGGER no BEFORE UPDATE ON parts WHEN NEW.name = 'bad' "
                     "BEGIN SELECT RAISE(ABORT, 'no'); END")  # fmt: skip
    plant.sql("erp", "UPDATE parts SET name = 'screw' WHERE id = 1", "UPDATE parts SET name = 'bad' WHERE id = 2")
    killed = tongqu(plant.folder, "twoway", "run", "parts", "--json", TONGQU_CRASH_AT=point)
    assert killed.code == -9
    plant.run("run", "parts", code=3)
    plant.run("run", "parts", code=3)
    assert plant.sql("mes", "SELECT what FROM told ORDER BY rowid") == [("screw",), ("bad",), ("nut",)]
    assert plant.sql("qms", "SELECT what FROM told") == [("screw",)]
    assert [plant.parts(side)[0][1] for side in sides] == ["screw"] * 3
    assert [plant.parts(side)[1][1] for side in sides] == ["bad", "nut", "nut"]


def test_postgres_mariadb_and_sqlite_agree(tmp_path: Path, pg_url: str, mysql_url: str) -> None:
    between = "[{connection: pg, dataset: parts}, {connection: maria, dataset: parts}, {connection: lite, dataset: parts, map: {title: name}}]"  # noqa: E501
    (tmp_path / "tongqu.yaml").write_text(
        f"project: p\nconnections: {{pg: {{type: postgres, url: '${{env:PG}}'}}, "
        f"maria: {{type: mysql, url: '${{env:MARIA}}'}}, lite: {{type: sqlite, path: lite.db}}}}\n"
        f"sync:\n  parts: {{between: {between}, conflict: merge}}\n"
    )
    with psycopg.connect(pg_url) as connection:
        connection.execute(TABLE)
        connection.execute(add(1, "bolt"))
        connection.execute("INSERT INTO parts VALUES (2, NULL, 1234567.89, NULL, 'a\\b''c')")
    maria = _mysql(mysql_url)
    with closing(maria), maria.cursor() as cursor, closing(sqlite3.connect(tmp_path / "lite.db")) as lite:
        cursor.execute(TABLE)
        cursor.execute(add(3, "中文"))
        lite.execute(TABLE.replace("name varchar", "title varchar"))
        lite.commit()
        _round(tmp_path, pg_url, mysql_url)
        cursor.execute("UPDATE parts SET price = 7 WHERE id = 1")
        lite.execute("UPDATE parts SET title = 'screw' WHERE id = 1")
        lite.execute("DELETE FROM parts WHERE id = 3")
        lite.execute("UPDATE parts SET status = 'new' WHERE id = 2")  # where other columns hold nothing
        lite.commit()
        assert _round(tmp_path, pg_url, mysql_url)["written"] == 7
        assert _round(tmp_path, pg_url, mysql_url)["written"] == 0
        wanted = [(1, "screw", "7.00"), (2, None, "1234567.89")]
        with psycopg.connect(pg_url) as connection:
            assert connection.execute("SELECT id, name, price::text FROM parts ORDER BY id").fetchall() == wanted
        cursor.execute("SELECT id, name, CAST(price AS char) FROM parts ORDER BY id")
        assert list(cursor.fetchall()) == wanted
        assert lite.execute("SELECT id, title, price FROM parts ORDER BY id").fetchall() == [
            (1, "screw", 7), (2, None, 1234567.89),
        ]  # fmt: skip


def test_the_master_keeps_what_another_system_cannot_hold(tmp_path: Path, pg_url: str, mysql_url: str) -> None:
    (tmp_path / "tongqu.yaml").write_text(
        "project: p\nconnections: {pg: {type: postgres, url: '${env:PG}'}, maria: {type: mysql, url: '${env:MARIA}'}}\n"
        "sync:\n  parts: {between: [{connection: pg, dataset: parts}, {connection: maria, dataset: parts}]}\n"
    )
    maria = _mysql(mysql_url)
    with closing(maria), maria.cursor() as cursor, psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE parts (id int PRIMARY KEY, name text, share float8, made timestamp, shift time, "
            "price numeric(12,4))"
        )
        cursor.execute(
            "CREATE TABLE parts (id int PRIMARY KEY, name varchar(40), share float, made datetime, shift time, "
            "price decimal(12,2))"
        )
        cursor.execute("CREATE TRIGGER up BEFORE UPDATE ON parts FOR EACH ROW SET NEW.name = upper(NEW.name)")
        connection.execute("INSERT INTO parts VALUES (1, 'bolt', 0.1, '2026-01-02 03:04:05.25', '06:30', 1.5)")
        _round(tmp_path, pg_url, mysql_url)
        connection.execute("UPDATE parts SET name = 'screw'")
        for written in (1, 0, 0):
            assert _round(tmp_path, pg_url, mysql_url)["written"] == written
        cursor.execute("UPDATE parts SET price = 2")
        for written in (1, 0, 0):
            assert _round(tmp_path, pg_url, mysql_url)["written"] == written
        held = "SELECT name, share, made::text, shift::text, price::text FROM parts"
        assert connection.execute(held).fetchall() == [("screw", 0.1, "2026-01-02 03:04:05.25", "06:30:00", "2.0000")]
        cursor.execute("SELECT name, CAST(made AS char), CAST(shift AS char) FROM parts")
        assert cursor.fetchall() == (("SCREW", "2026-01-02 03:04:05", "06:30:00"),)

        connection.execute("UPDATE parts SET price = 1.2345")
        refused = inside(tmp_path, "twoway", "run", "parts", "--json", PG=pg_url, MARIA=mysql_url)
        assert (refused.code, refused.document["refused"]) == (3, 1)
        assert connection.execute("SELECT price::text FROM parts").fetchall() == [("1.2345",)]


@pytest.mark.parametrize("point", ["after_side", "before_agreed"])
def test_what_a_system_made_of_a_row_is_known_after_a_kill(tmp_path: Path, pg_url: str, point: str) -> None:
    (tmp_path / "tongqu.yaml").write_text(
        "project: p\nconnections: {pg: {type: postgres, url: '${env:PG}'}}\nsync:\n  parts: {between: ["
        "{connection: pg, dataset: ours, name: erp}, {connection: pg, dataset: theirs, name: mes}]}\n"
    )
    with psycopg.connect(pg_url, autocommit=True) as connection:
        for table in ("ours", "theirs"):
            connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, name text)")
        connection.execute("CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS "
                           "$$ BEGIN NEW.name := left(NEW.name, 3); RETURN NEW; END $$")  # fmt: skip
        connection.execute("CREATE TRIGGER cut BEFORE INSERT ON theirs FOR EACH ROW EXECUTE FUNCTION cut()")
        connection.execute("INSERT INTO ours VALUES (1, 'hexagon')")
        assert tongqu(tmp_path, "twoway", "run", "parts", "--json", PG=pg_url, TONGQU_CRASH_AT=point).code == -9
        for _ in range(2):
            done = inside(tmp_path, "twoway", "run", "parts", "--json", PG=pg_url)
            assert (done.code, done.document["changed"], done.document["differences"]) == (0, 0, 0)
        held = [connection.execute(f"SELECT name FROM {table}").fetchall() for table in ("ours", "theirs")]
        assert held == [[("hexagon",)], [("hex",)]]


def test_keys_that_a_system_takes_for_the_same_wait_for_a_person(tmp_path: Path, pg_url: str, mysql_url: str) -> None:
    (tmp_path / "tongqu.yaml").write_text(
        "project: p\nconnections: {pg: {type: postgres, url: '${env:PG}'}, maria: {type: mysql, url: '${env:MARIA}'}}\n"
        "sync:\n  parts: {between: [{connection: pg, dataset: parts}, {connection: maria, dataset: parts}]}\n"
    )
    maria = _mysql(mysql_url)
    with closing(maria), maria.cursor() as cursor, psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE parts (code text PRIMARY KEY, name text)")
        cursor.execute("CREATE TABLE parts (code varchar(9) PRIMARY KEY, name text) COLLATE utf8mb4_general_ci")
        connection.execute("INSERT INTO parts VALUES ('abc', 'x'), ('ABC', 'y')")
        done = inside(tmp_path, "twoway", "run", "parts", "--json", PG=pg_url, MARIA=mysql_url)
        assert (done.code, done.document["refused"], done.document["stale"]) == (3, 1, 0)
        waits = inside(tmp_path, "twoway", "conflicts", "parts", "--json", PG=pg_url, MARIA=mysql_url)
        assert [one["kind"] for one in waits.document["conflicts"]] == ["refused"]


def test_a_third_system_joins_and_another_leaves_while_steps_are_open(tmp_path: Path) -> None:
    sides = ("erp", "mes", "qms")
    plant = Plant(tmp_path, PAIR % "", sides)
    plant.sql("erp", add(1, "bolt"), add(2, "nut"))
    plant.run("run", "parts")
    file = tmp_path / "tongqu.yaml"
    file.write_text(
        file.read_text().replace("mes, dataset: parts}]", "mes, dataset: parts}, {connection: qms, dataset: parts}]")
    )
    assert plant.run("run", "parts")["written"] == 2
    plant.sql("erp", add(3, "ring"))
    assert tongqu(plant.folder, "twoway", "run", "parts", "--json", TONGQU_CRASH_AT="after_intent").code == -9
    file.write_text(file.read_text().replace(", {connection: qms, dataset: parts}]", "]"))
    plant.run("run", "parts", code=3)
    plant.run("run", "parts")
    assert [len(plant.parts(side)) for side in sides] == [3, 3, 2]


def test_a_row_that_somebody_changed_is_left_alone_and_a_write_is_done_once(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as database, asyncio.Runner() as runner:
        database.execute("CREATE TABLE t (k text PRIMARY KEY NOT NULL, n int)")
        database.execute("INSERT INTO t VALUES ('x', 1), ('y', NULL)")
        database.commit()
        connector = registry.connector("sqlite")
        assert connector.server is not None
        server = connector.server(connector.from_url(f"sqlite:{tmp_path}/a.db"))
        runner.run(server.open())
        dataset = runner.run(server.describe("t"))
        shape = Shape(dataset.schema, ("k",))
        place = Served(Side("a", server, dataset, {"k": "k", "n": "n"}), shape, runner)
        x, y = pack(["x", "1"]), pack(["y", None])
        assert place.fetch(["x", "y", "z"]) == {"x": x, "y": y}
        wants = [
            Want("x", pack(["x", "7"]), pack(["x", "8"])),  # it is 1 by now
            Want("y", y, pack(["y", "2"])),
            Want("z", None, pack(["z", "3"])),
        ]
        assert place.write("one", wants) == [False, True, True]
        database.execute("UPDATE t SET n = 9 WHERE k = 'y'")
        database.commit()
        assert place.write("one", wants) == [False, True, True]  # as it answered then
        assert database.execute("SELECT k, n FROM t ORDER BY k").fetchall() == [("x", 1), ("y", 9), ("z", 3)]
        assert place.write("two", [Want("z", None, pack(["z", "4"])), Want("x", x, None)]) == [False, True]
        runner.run(server.close())


def _mysql(url: str) -> Any:
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname, port=parts.port or 3306, user=unquote(parts.username or ""),
        password=unquote(parts.password or ""), database=parts.path[1:], autocommit=True, charset="utf8mb4",
    )  # fmt: skip


def _round(folder: Path, pg: str, maria: str) -> dict[str, Any]:
    done = inside(folder, "twoway", "run", "parts", "--json", PG=pg, MARIA=maria)
    assert done.code == 0, (done.err, done.document)
    document: dict[str, Any] = done.document
    return document
