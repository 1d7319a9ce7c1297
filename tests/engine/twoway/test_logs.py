"""Changes of both sides are found in their logs, and our own writes that come back in them are no changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from tongqu.testing.command_line import inside

PROJECT = """
project: p
connections: {pg: {type: postgres, url: "${env:PG}"}}
sync:
  parts:
    between: [{connection: pg, dataset: ours, name: erp}, {connection: pg, dataset: theirs, name: mes}]
    mode: cdc
    conflict: merge
    schedule: {every: 10s}
"""


def test_logs_tell_what_changed(tmp_path: Path, pg_url: str) -> None:
    (tmp_path / "tongqu.yaml").write_text(PROJECT)

    def run() -> dict[str, Any]:
        done = inside(tmp_path, "twoway", "run", "parts", "--json", PG=pg_url)
        assert done.code == 0, (done.err, done.out)
        document: dict[str, Any] = done.document
        return document

    with psycopg.connect(pg_url, autocommit=True) as connection:
        for table in ("ours", "theirs"):
            connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, name text, price numeric(10,2))")
        connection.execute("INSERT INTO ours SELECT n, 'part ' || n, n FROM generate_series(1, 100) n")
        assert run()["written"] == 100
        assert run()["changed"] == 0  # what we wrote ourselves comes back in the log
        connection.execute("UPDATE ours SET name = 'bolt' WHERE id = 1")
        connection.execute("UPDATE theirs SET price = 9 WHERE id = 1")
        connection.execute("DELETE FROM theirs WHERE id = 2")
        connection.execute("UPDATE theirs SET id = 2000 WHERE id = 3")
        done = run()
        assert (done["records"], done["written"], done["differences"]) == (4, 5, 0)
        both = [connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() for table in ("ours", "theirs")]
        assert both[0] == both[1]
        assert both[0][0][1:] == ("bolt", 9)
        assert (len(both[0]), both[0][-1][0]) == (99, 2000)
        assert run()["written"] == 0
        connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                           "WHERE NOT active AND database = current_database()")  # fmt: skip
        connection.execute("UPDATE theirs SET price = 11 WHERE id = 9")
        assert run()["written"] == 1  # the logs are lost; the rows tell
        connection.execute("UPDATE theirs SET price = 12 WHERE id = 9")
        done = run()
        assert (done["records"], done["written"]) == (1, 1)
        connection.execute("TRUNCATE theirs")
        connection.execute("INSERT INTO theirs VALUES (5000, 'new', 1)")
        run()
        assert connection.execute("SELECT id FROM ours").fetchall() == [(5000,)]
