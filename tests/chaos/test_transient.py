"""A target that fails for a moment (deadlock, serialization failure, too many connections) costs tries and no row."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.testing.drills import Command
from tongqu.testing.psql import execute, rows

ROWS = 300
SOURCE = f"""
CREATE TABLE parts (id int PRIMARY KEY, v text);
INSERT INTO parts SELECT i, 'v' || i FROM generate_series(1, {ROWS}) i;
"""
SINK = """
CREATE TABLE parts (id int, v text{key});
CREATE SEQUENCE tries;
CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'for a moment' USING ERRCODE = '{code}'; END IF; RETURN NULL; END $$;
CREATE TRIGGER fails AFTER INSERT ON parts FOR EACH STATEMENT EXECUTE FUNCTION fails();
"""


@pytest.mark.parametrize("write", ["append", "upsert"])
@pytest.mark.parametrize(
    "code",
    [pytest.param("40P01", id="deadlock"), pytest.param("40001", id="serialization"),
     pytest.param("53300", id="too-many-connections"), pytest.param("55P03", id="lock-timeout")],
)  # fmt: skip
def test_what_fails_for_a_moment_is_tried_again(
    code: str, write: str, pg_url: str, sink_url: str, tmp_path: Path
) -> None:
    execute(pg_url, SOURCE)
    execute(sink_url, SINK.format(code=code, key=", PRIMARY KEY (id)" if write == "upsert" else ""))
    done = Command(
        tmp_path, ["sync", pg_url, sink_url, "--table", "parts", "--write", write, "--chunk-rows", "100"]
    ).run()
    assert done.code == 0, done
    assert done.stream("parts")["inserted"] == ROWS
    assert rows(sink_url, "SELECT count(*), count(DISTINCT id) FROM parts") == [(ROWS, ROWS)]
    assert rows(sink_url, "SELECT last_value > 2 FROM tries") == [(True,)]
