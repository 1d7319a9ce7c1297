"""Branches of one pipeline see one instant of a source that can give one; where they do not, `plan` says so."""

from __future__ import annotations

import re
from pathlib import Path

from tongqu.testing.command_line import inside, make
from tongqu.testing.psql import execute, rows

PROJECT = """\
project: workshop
connections:
  erp: ERP
  lake: {type: postgres, url: "${env:LAKE}"}
pipelines:
  split:
    source: {connection: erp, dataset: orders}
    steps: [{id: kind, route: {big: "qty > 100", otherwise: small}}]
    sinks:
      big: {from: kind.big, connection: lake, dataset: big, write: upsert, key: [id]}
      small: {from: kind.small, connection: lake, dataset: small}
"""
POSTGRES = '{type: postgres, url: "${env:LAKE}"}'
MEANWHILE = """
CREATE TABLE orders (id bigint PRIMARY KEY, qty int);
INSERT INTO orders SELECT i, i FROM generate_series(1, 200) i;
CREATE TABLE big (id bigint PRIMARY KEY, qty int);
CREATE FUNCTION meanwhile() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN UPDATE orders SET qty = CASE WHEN id % 2 = 0 THEN 1 ELSE 999 END; RETURN NULL; END $$;
CREATE TRIGGER meanwhile AFTER INSERT ON big FOR EACH STATEMENT EXECUTE FUNCTION meanwhile();
"""


def test_a_row_that_changes_branch_meanwhile_reaches_exactly_one(tmp_path: Path, pg_url: str) -> None:
    """All rows of the source change as soon as the first branch is written."""
    execute(pg_url, MEANWHILE)
    (tmp_path / "tongqu.yaml").write_text(PROJECT.replace("ERP", POSTGRES), encoding="utf-8")
    done = inside(tmp_path, "run", "split", "--json", LAKE=pg_url)
    assert done.code == 0, done.out
    assert [stream["read"] for stream in done.document["streams"]] == [200, 200]
    assert sorted(rows(pg_url, "SELECT id, qty FROM big")) == [(n, n) for n in range(101, 201)]
    assert sorted(rows(pg_url, "SELECT id, qty FROM small")) == [(n, n) for n in range(1, 101)]
    assert rows(pg_url, "SELECT count(*) FROM orders WHERE qty NOT IN (1, 999)") == [(0,)]
    targets = inside(tmp_path, "plan", "--json", LAKE=pg_url).document["targets"]
    assert [target["notes"] for target in targets] == [[], []]


def test_plan_says_where_each_branch_reads_for_itself(tmp_path: Path, pg_url: str) -> None:
    make(tmp_path / "erp.db", "orders", "id INTEGER PRIMARY KEY, qty INTEGER", [(1, 1), (2, 200)])
    text = PROJECT.replace("ERP", "{type: sqlite, path: erp.db}")
    (tmp_path / "tongqu.yaml").write_text(text, encoding="utf-8")
    targets = inside(tmp_path, "plan", "--json", LAKE=pg_url).document["targets"]
    for target in targets:
        assert [bool(re.match("each sink reads the source for itself", note)) for note in target["notes"]] == [True]
