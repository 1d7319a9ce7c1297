"""Runs that follow delta links: deletes reach the target, and a link that was lost is told with the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tongqu.testing.command_line import inside
from tongqu.testing.services.odata_api import ODataApi

PROJECT = """connections:
  sap: {{type: odata, base_url: "{url}", delta: true}}
  lake: {{type: duckdb, path: lake.duckdb}}
pipelines:
  orders:
    source: {{connection: sap, dataset: Orders, mode: incremental}}
    steps:
      - filter: '"@removed" is null'
    sink: {{connection: lake, dataset: orders, write: upsert, key: [No]}}
"""


@pytest.fixture(params=[2, 4])
def api(request: pytest.FixtureRequest) -> Iterator[ODataApi]:
    with ODataApi(request.param, page=2) as made:
        made.table("Orders", {"No": "Edm.String", "Text": "Edm.String"}, ("No",))
        for number in range(1, 6):
            made.put("Orders", No=f"{number}", Text="a")
        yield made


def tables(folder: Path) -> list[str]:
    with duckdb.connect(str(folder / "lake.duckdb"), read_only=True) as lake:
        return [name for (name,) in lake.execute("select table_name from duckdb_tables()").fetchall()]


def held(folder: Path) -> list[tuple[str, str]]:
    with duckdb.connect(str(folder / "lake.duckdb"), read_only=True) as lake:
        return lake.execute('select "No", "Text" from orders order by 1').fetchall()


def test_what_is_deleted_leaves_the_target_and_a_lost_link_is_told(api: ODataApi, tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text(PROJECT.format(url=api.root), encoding="utf-8")
    first = inside(tmp_path, "run", "orders", "--json")
    assert (first.code, len(held(tmp_path))) == (0, 5), first.err
    api.drop("Orders", "2")
    api.put("Orders", No="3", Text="b")
    second = inside(tmp_path, "run", "orders", "--json")
    assert second.code == 0, second.err
    assert (second.document["streams"][0]["read"], held(tmp_path)) == (
        2, [("1", "a"), ("3", "b"), ("4", "a"), ("5", "a")]
    )  # fmt: skip
    api.forgotten = True
    third = inside(tmp_path, "run", "orders", "--json")
    assert third.code == 3, third.err
    (problem,) = third.document["problems"]
    assert (problem["code"], problem["level"]) == ("connector.lost_position", "warning")
    assert "all entities were read again" in problem["message"]
    assert "delta link" in third.err
    assert third.document["streams"][0]["read"] == 4
    api.forgotten = False
    assert inside(tmp_path, "run", "orders", "--json").code == 0


def test_sync_deletes_what_was_deleted_or_says_that_it_cannot(api: ODataApi, tmp_path: Path) -> None:
    (tmp_path / "tongqu.yaml").write_text(PROJECT.format(url=api.root), encoding="utf-8")
    command = ["sync", "sap", "lake", "--table", "Orders=orders", "--mode", "incremental", "--json", "--lang", "en"]
    kept = inside(tmp_path, *command, "--write", "append")
    (problem,) = kept.document["problems"]
    assert "cannot delete them" in problem["message"]
    assert not (tmp_path / "lake.duckdb").exists() or "orders" not in tables(tmp_path)
    assert inside(tmp_path, *command).code == 0
    api.drop("Orders", "2")
    api.put("Orders", No="3", Text="b")
    second = inside(tmp_path, *command)
    assert second.code == 0, second.err
    assert held(tmp_path) == [("1", "a"), ("3", "b"), ("4", "a"), ("5", "a")]
    assert second.document["streams"][0]["deleted"] == 1


def test_what_is_deleted_is_marked_where_the_sink_asks_for_that(api: ODataApi, tmp_path: Path) -> None:
    project = PROJECT.format(url=api.root).replace("write: upsert", "write: upsert, deletes: soft")
    (tmp_path / "tongqu.yaml").write_text(project, encoding="utf-8")
    assert inside(tmp_path, "run", "orders", "--json").code == 0
    api.drop("Orders", "2")
    done = inside(tmp_path, "run", "orders", "--json")
    assert done.code == 0, done.err
    with duckdb.connect(str(tmp_path / "lake.duckdb"), read_only=True) as lake:
        told = lake.execute('select "No", _deleted_at is not null from orders order by 1').fetchall()
    assert told == [("1", False), ("2", True), ("3", False), ("4", False), ("5", False)]
