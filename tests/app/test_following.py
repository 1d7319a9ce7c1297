"""`sync` and `run` follow the changes of a database until they are stopped or have caught up."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from threading import Timer

import psycopg

from tongqu.testing.command_line import start, tongqu

DEADLINE = 90.0


def run_sql(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        for statement in statements:
            session.execute(statement.encode())


def count(url: str, table: str) -> int:
    with psycopg.connect(url) as session:
        found = session.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        assert found is not None
        return int(found[0])


def test_changes_are_followed_until_a_signal(pg_url: str, tmp_path: Path) -> None:
    run_sql(pg_url, "CREATE TABLE orders (id int PRIMARY KEY, v text)", "INSERT INTO orders VALUES (1, 'a'), (2, 'b')")
    arguments = ["sync", "${env:SOURCE}", "${env:SOURCE}", "--mode", "cdc", "--table", "orders=copy", "--json",
                 "--progress", "jsonl", "--project", str(tmp_path)]  # fmt: skip
    first = tongqu(tmp_path, *arguments[:-2], "--until-caught-up", SOURCE=pg_url)
    assert (first.code, first.document["status"], first.document["streams"][0]["read"]) == (0, "succeeded", 2), (
        first.err
    )
    run_sql(pg_url, "UPDATE orders SET v = 'new' WHERE id = 1", "DELETE FROM orders WHERE id = 2")
    with start(tmp_path, *arguments, SOURCE=pg_url) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        late = Timer(DEADLINE, process.kill)
        late.start()
        for line in process.stderr:
            if line.startswith("{") and json.loads(line)["read"] >= 2:
                break
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        document = json.loads(process.stdout.read())
        code = process.wait(DEADLINE)
        late.cancel()
    (stream,) = document["streams"]
    assert (code, document["status"], stream["updated"], stream["deleted"]) == (0, "stopped", 1, 1)
    assert set(stream["latency_ms"]) == {"p50", "p95", "p99", "max"}
    assert count(pg_url, "copy") == 1
    shown = tongqu(tmp_path, "runs", "show", document["run"], "--json").document
    assert (shown["status"], shown["read"], shown["written"]) == ("stopped", 2, 2)


def test_a_pipeline_follows_changes_through_its_steps(pg_url: str, tmp_path: Path) -> None:
    run_sql(pg_url, "CREATE TABLE orders (id int PRIMARY KEY, v text)", "INSERT INTO orders VALUES (1, 'a'), (2, 'b')")
    (tmp_path / "tongqu.yaml").write_text(
        "connections: {erp: {type: postgres, url: '${env:SOURCE}'}, lake: {type: duckdb, path: lake.duckdb}}\n"
        "pipelines:\n"
        "  live:\n"
        "    source: {connection: erp, dataset: orders, mode: cdc}\n"
        "    steps: [{filter: \"v <> 'hidden'\"}]\n"
        "    sink: {connection: lake}\n"
    )
    asked = ("run", "live", "--until-caught-up", "--json")
    assert tongqu(tmp_path, *asked, SOURCE=pg_url).code == 0
    run_sql(pg_url, "UPDATE orders SET v = 'hidden' WHERE id = 1", "INSERT INTO orders VALUES (3, 'c')")
    done = tongqu(tmp_path, *asked, SOURCE=pg_url)
    assert done.code == 0, done.err
    (stream,) = done.document["streams"]
    assert [stream[name] for name in ("read", "inserted", "deleted", "filtered")] == [2, 1, 1, 0]
    twice = tongqu(tmp_path, "run", "live", "live", "--json", SOURCE=pg_url)
    assert (twice.code, "does not end" in twice.document["problems"][0]["message"]) == (2, True)


def test_what_has_no_log_is_refused_before_any_connection(tmp_path: Path) -> None:
    done = tongqu(tmp_path, "sync", "sqlite:a.db", "sqlite:b.db", "--mode", "cdc", "--json")
    assert (done.code, done.document["problems"][0]["path"]) == (2, "--mode")
    assert not (tmp_path / "b.db").exists()
