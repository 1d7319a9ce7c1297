"""Rows become documents under deterministic ids; a document that is refused does not stop the others."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.elasticsearch.settings import from_url
from tongqu.connectors.elasticsearch.sink import ElasticsearchSink
from tongqu.connectors.elasticsearch.source import ElasticsearchSource
from tongqu.connectors.elasticsearch.writer import ids
from tongqu.core.data import Counts, Dataset, Write, WriteMode
from tongqu.core.errors import CheckpointError, ConnectError, InvalidPlanError, NotFoundError
from tongqu.testing.command_line import tongqu
from tongqu.testing.pour import pour
from tongqu.testing.services import Elasticsearch

FIELDS: list[pa.Field[Any]] = [
    pa.field("no", pa.string(), nullable=False),
    pa.field("qty", pa.int64()),
    pa.field("price", pa.decimal128(30, 3)),
]
SCHEMA = pa.schema(FIELDS)
Found = tuple[Counts, list[dict[str, Any]]]


def put(
    server: Elasticsearch,
    folder: Path,
    table: pa.Table,
    mode: WriteMode = WriteMode.UPSERT,
    *,
    run: str = "run 1",
    index: str = "orders",
) -> Found:
    key = () if mode is WriteMode.APPEND else ("no",)
    asked = Write("orders", Dataset(index, table.schema, key=key), mode, "sync", run, key=key,
                  incremental=mode is WriteMode.UPSERT)  # fmt: skip
    sink = ElasticsearchSink(from_url(server.url))
    sink.lodge(folder)
    try:
        return pour(sink, asked, [table]), sink.quarantined()
    finally:
        sink.close()


def table(*rows: tuple[str, int | None, str | None]) -> pa.Table:
    held = [{"no": no, "qty": qty, "price": Decimal(price) if price else None} for no, qty, price in rows]
    return pa.Table.from_pylist(held, SCHEMA)


def documents(server: Elasticsearch) -> dict[str, Any]:
    found = server.ask("POST", "/orders/_search", {"size": 100})
    return {hit["_id"]: hit["_source"] for hit in found["hits"]["hits"]}


def test_rows_are_documents_under_their_key(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    amount = "123456789012345678901234567.125"
    counts, bad = put(elasticsearch, tmp_path, table(("A/1", 1, amount), ("B", None, None)))
    assert (counts.inserted, bad) == (2, [])
    assert documents(elasticsearch) == {
        "A/1": {"no": "A/1", "qty": 1, "price": amount},
        "B": {"no": "B", "qty": None, "price": None},
    }
    mapping = elasticsearch.ask("GET", "/orders/_mapping")["orders"]["mappings"]
    assert mapping["_meta"] == {"tongqu": {"key": ["no"]}}
    assert mapping["properties"]["price"] == {"type": "double", "meta": {"tongqu": "decimal(30,3)"}}


def test_a_row_again_updates_its_document(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    put(elasticsearch, tmp_path, table(("A", 1, None), ("B", 1, None)))
    counts, _ = put(elasticsearch, tmp_path, table(("A", 2, None), ("B", 1, None), ("C", 1, None)), run="run 2")
    assert (counts.inserted, counts.updated, counts.unchanged) == (1, 1, 1)
    assert {place: one["qty"] for place, one in documents(elasticsearch).items()} == {"A": 2, "B": 1, "C": 1}


def test_a_document_that_is_refused_is_quarantined_alone(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    elasticsearch.ask("PUT", "/orders", {"mappings": {"properties": {"qty": {"type": "byte"}}}})
    counts, bad = put(elasticsearch, tmp_path, table(("A", 1, None), ("B", 1000, None), ("C", 3, None)))
    assert (counts.inserted, counts.quarantined) == (2, 1)
    assert sorted(documents(elasticsearch)) == ["A", "C"]
    assert bad[0]["code"] == "call.refused"
    assert "qty" in bad[0]["message"]


def test_appended_rows_are_written_once_each(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    put(elasticsearch, tmp_path, table(("A", 1, None), ("A", 1, None)), WriteMode.APPEND)
    assert [one["no"] for one in documents(elasticsearch).values()] == ["A", "A"]


def test_documents_can_be_copied_with_their_ids(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    rows = pa.table({"_id": ["x", "y"], "qty": [1, 2]})
    asked = Write("orders", Dataset("orders", rows.schema, key=("_id",)), WriteMode.REPLACE, "sync", "1", key=("_id",))
    sink = ElasticsearchSink(from_url(elasticsearch.url))
    sink.lodge(tmp_path)
    pour(sink, asked, [rows])
    sink.close()
    assert documents(elasticsearch) == {"x": {"qty": 1}, "y": {"qty": 2}}
    source = ElasticsearchSource(from_url(elasticsearch.url))
    (dataset,) = source.datasets(["orders"])
    source.close()
    assert (dataset.key, dataset.columns) == (("_id",), ("_id", "qty"))


def test_an_id_beside_the_key_is_refused(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    rows = table(("A", 1, None)).append_column("_id", pa.array(["x"]))
    with pytest.raises(InvalidPlanError, match="follows from that"):
        put(elasticsearch, tmp_path, rows)


def test_replace_moves_an_alias_to_a_new_index_and_keeps_the_one_before(
    elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    put(elasticsearch, tmp_path, table(("U", 1, None)))  # an index of that very name, which an alias will replace
    elasticsearch.ask("POST", "/_aliases", {"actions": [{"add": {"index": "orders", "alias": "seen"}}]})
    for number, names in enumerate((("A", ""), ("B",), ("C", "D", "E"))):
        rows = table(*((name, number, None) for name in names))
        counts, _ = put(elasticsearch, tmp_path, rows, WriteMode.REPLACE, run=f"run {number}")
        assert (counts.inserted, counts.deleted) == (len(names), 0)
        assert sorted(one["no"] for one in documents(elasticsearch).values()) == sorted(names)
    held = elasticsearch.ask("GET", "/_alias")
    assert len(held) == 2, "only the one before is kept"
    assert [sorted(one["aliases"]) for one in held.values() if one["aliases"]] == [["orders", "seen"]]
    sink = ElasticsearchSink(from_url(elasticsearch.url))
    sink.lodge(tmp_path)
    assert sink.undo("orders") == 1
    assert list(documents(elasticsearch)) == ["B"]
    assert sink.undo("orders") == 3
    sink.close()
    source = ElasticsearchSource(from_url(elasticsearch.url))
    assert [(one.name, one.key) for one in source.datasets(None)] == [("orders", ("no",))]
    source.close()


@pytest.mark.crash
@pytest.mark.parametrize(("point", "seen"), [("in_commit", "old"), ("in_finish", "old"), ("after_swap", "new")])
def test_readers_see_the_old_rows_or_the_new_ones_when_a_replace_is_killed(
    elasticsearch: Elasticsearch, tmp_path: Path, point: str, seen: str
) -> None:
    """Killed behind the swap the new rows are there; before it the old ones, all of them."""
    for version, count in (("old", 3), ("new", 2)):
        lines = "".join(f"{version}{number},{number}\n" for number in range(count))
        (tmp_path / "orders.csv").write_text(f"no,qty\n{lines}", encoding="utf-8")
        command = ("sync", "file:orders.csv", elasticsearch.url, "--key", "no", "--write", "replace", "--json")
        if version == "new":
            died = tongqu(tmp_path, *command, TONGQU_CRASH_AT=point)
            assert died.code == -signal.SIGKILL, died.err
            counts = {"old": 3, "new": 2}
            assert sorted(documents(elasticsearch)) == [f"{seen}{number}" for number in range(counts[seen])]
        done = tongqu(tmp_path, *command)
        assert done.code == 0, done.err
    assert sorted(documents(elasticsearch)) == ["new0", "new1"]
    assert len(elasticsearch.ask("GET", "/_mapping")) == 2


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_replace_whose_new_index_somebody_dropped_shows_nothing_of_it(
    elasticsearch: Elasticsearch, tmp_path: Path, attempts: int
) -> None:
    """While it is filled or between two attempts: the server would make an index anew for the rows that are left."""
    put(elasticsearch, tmp_path, table(("O", 1, None)), WriteMode.REPLACE)

    def chunks(*, drops: bool) -> Iterator[pa.Table]:
        yield table(("A", 1, None))
        if drops:
            new = next(name for name, one in elasticsearch.ask("GET", "/_alias").items() if not one["aliases"])
            elasticsearch.ask("DELETE", f"/{new}")
            if attempts == 2:
                raise ConnectError("gone")
        yield table(("B", 1, None))

    asked = Write("orders", Dataset("orders", SCHEMA, key=("no",)), WriteMode.REPLACE, "sync", "run 2", key=("no",))
    for number in range(attempts):
        sink = ElasticsearchSink(from_url(elasticsearch.url))
        sink.lodge(tmp_path)
        with closing(sink), pytest.raises(CheckpointError if number + 1 == attempts else ConnectError) as told:
            pour(sink, asked, chunks(drops=number == 0))
    assert "--restart" in told.value.hint
    assert list(documents(elasticsearch)) == ["O"]


def test_a_new_index_is_shaped_like_the_one_before(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    put(elasticsearch, tmp_path, table(("O", 1, None)), WriteMode.REPLACE)
    elasticsearch.ask("PUT", "/orders/_mapping", {"dynamic": "strict", "properties": {"more": {"type": "keyword"}}})
    put(elasticsearch, tmp_path, table(("A", 1, None)), WriteMode.REPLACE, run="run 2")
    (mapping,) = elasticsearch.ask("GET", "/orders/_mapping").values()
    assert mapping["mappings"]["dynamic"] == "strict"
    assert {"no", "more"} <= mapping["mappings"]["properties"].keys()


def test_nothing_can_be_undone_where_nothing_was_replaced(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    put(elasticsearch, tmp_path, table(("A", 1, None)))
    sink = ElasticsearchSink(from_url(elasticsearch.url))
    sink.lodge(tmp_path)
    with pytest.raises(NotFoundError, match="nothing to put back"):
        sink.undo("orders")
    sink.close()


def test_replace_refuses_an_index_that_others_wrote(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    elasticsearch.put("orders", theirs={"no": "X"})
    with pytest.raises(InvalidPlanError, match="not written by the key"):
        put(elasticsearch, tmp_path, table(("A", 1, None)), WriteMode.REPLACE)
    assert "theirs" in documents(elasticsearch)


def test_a_name_that_no_index_can_have_is_told(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    with pytest.raises(InvalidPlanError, match="Orders") as caught:
        put(elasticsearch, tmp_path, table(("A", 1, None)), index="Orders")
    assert "Invalid index name" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["a.b", "_x", " "])
def test_a_name_that_no_field_can_have_is_told(elasticsearch: Elasticsearch, tmp_path: Path, name: str) -> None:
    odd = table(("A", 1, None)).rename_columns(["no", name, "price"])
    with pytest.raises(InvalidPlanError, match="cannot be called"):
        put(elasticsearch, tmp_path, odd)


def test_keys_give_ids() -> None:
    rows = pa.table({"no": ["A", "", "x" * 513], "n": [1, 2, 3]})
    assert ids(rows, ["n"]) == ["1", "2", "3"]
    first, *digests = ids(rows, ["no"])
    assert (first, [len(one) for one in digests]) == ("A", [32, 32])
    assert len(set(ids(rows, ["no", "n"]))) == 3
