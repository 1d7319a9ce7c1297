"""Documents of Elasticsearch are rows: typed by the mapping, read at one instant, page by page, and by changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.elasticsearch.settings import ElasticsearchSettings, from_url
from tongqu.connectors.elasticsearch.source import ElasticsearchSource
from tongqu.core.data import Batch, Dataset, Mode, Position, Read, Split
from tongqu.core.errors import (
    AnswerError,
    AuthError,
    InvalidSettingsError,
    LostPositionError,
    NotFoundError,
    SchemaError,
)
from tongqu.testing.services import Elasticsearch
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

MAPPING = {
    "no": {"type": "long"}, "name": {"type": "text"}, "qty": {"type": "double"}, "open": {"type": "boolean"},
    "price": {"type": "scaled_float", "scaling_factor": 100}, "day": {"type": "date", "format": "yyyy-MM-dd"},
    "at": {"type": "date"}, "maker": {"properties": {"city": {"type": "keyword"}}},
    "lines": {"type": "nested"}, "tags": {"type": "keyword"},
}  # fmt: skip


@pytest.fixture
def orders(elasticsearch: Elasticsearch) -> Elasticsearch:
    """25 orders."""
    elasticsearch.ask("PUT", "/orders", {"mappings": {"properties": MAPPING}})
    elasticsearch.put("orders", **{f"o{number:02}": order(number) for number in range(1, 26)})
    return elasticsearch


def order(number: int) -> dict[str, Any]:
    return {
        "no": 2**60 + number, "name": f'part "{number}", "sort":[1]}}', "qty": number / 8, "open": number % 2 == 0,
        "price": 12.5, "day": f"2026-01-{number:02}", "at": f"2026-01-{number:02}T08:00:00.123Z",
        "maker": {"city": "柳州", "_source": {}}, "lines": [{"n": 1}], "tags": ["a", "b"] if number == 3 else "a",
    }  # fmt: skip


def settings(server: Elasticsearch, **more: Any) -> ElasticsearchSettings:
    return ElasticsearchSettings.parse({"base_url": server.url.partition("+")[2], "page_size": 10, **more})


def batches(told: ElasticsearchSettings, name: str = "orders", **more: Any) -> tuple[Dataset, list[Batch]]:
    source = ElasticsearchSource(told)
    try:
        (dataset,) = source.datasets([name])
        return dataset, list(source.read(Read(dataset, source.splits(dataset, 1)[0], batch_rows=1, **more)))
    finally:
        source.close()


def rows(told: ElasticsearchSettings, name: str = "orders", **more: Any) -> pa.Table:
    found = batches(told, name, **more)[1]
    assert not [one for batch in found for one in batch.bad]
    return pa.Table.from_batches([batch.rows for batch in found])


def test_the_mapping_gives_the_types(orders: Elasticsearch) -> None:
    found = rows(settings(orders))
    assert found.num_rows == 25
    assert [one for one in found.to_pylist() if one["_id"] == "o02"] == [
        {
            "_id": "o02", "no": 2**60 + 2, "name": 'part "2", "sort":[1]}', "qty": 0.25, "open": True,
            "price": Decimal("12.50"), "day": date(2026, 1, 2), "at": datetime(2026, 1, 2, 8, 0, 0, 123000, tzinfo=UTC),
            "maker": '{"_source":{},"city":"柳州"}', "lines": '[{"n":1}]', "tags": '"a"',
        }
    ]  # fmt: skip


def test_a_field_that_holds_lists_is_json(orders: Elasticsearch) -> None:
    found = rows(settings(orders))
    assert found["tags"].to_pylist().count('["a","b"]') == 1


def test_documents_are_known_by_their_id(orders: Elasticsearch) -> None:
    dataset, _ = batches(settings(orders))
    assert dataset.key == ("_id",)
    assert rows(settings(orders, datasets={"orders": {"key": ["no"]}})).column_names[0] != "_id"


def test_a_document_without_fields_is_a_row(orders: Elasticsearch) -> None:
    orders.put("orders", empty={})
    assert {one["_id"]: one["no"] for one in rows(settings(orders)).to_pylist()}["empty"] is None


def test_a_read_goes_on_after_any_page(orders: Elasticsearch) -> None:
    told = settings(orders)
    _, found = batches(told)
    assert [batch.rows.num_rows for batch in found] == [10, 10, 5, 0]
    source = ElasticsearchSource(told)
    (dataset,) = source.datasets(["orders"])
    split = source.splits(dataset, 1)[0]
    first = next(iter(source.read(Read(dataset, split, batch_rows=1))))
    orders.put("orders", later=order(26))  # not there at the instant that is read
    rest = source.read(Read(dataset, split, batch_rows=1, after=first.position))
    assert sum(batch.rows.num_rows for batch in rest) == 15
    source.close()


def test_a_point_in_time_that_is_gone_is_a_lost_position(orders: Elasticsearch) -> None:
    told = settings(orders)
    position = batches(told)[1][0].position  # the read came to its end, which closes the point in time
    with pytest.raises(LostPositionError, match="point in time"):
        batches(told, after=position)


def test_by_a_unique_field_a_read_needs_no_point_in_time(orders: Elasticsearch) -> None:
    told = settings(orders, datasets={"orders": {"order": ["no"]}})
    position = batches(told)[1][0].position
    assert sum(batch.rows.num_rows for batch in batches(told, after=position)[1]) == 15


def test_parts_of_a_read_share_one_instant_and_are_the_whole(
    orders: Elasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tongqu.connectors.elasticsearch.source._SPLIT_ROWS", 1)
    source = ElasticsearchSource(settings(orders, page_size=2))
    (dataset,) = source.datasets(["orders"])
    splits = source.splits(dataset, 3)
    assert len(splits) == 3
    before = rows(settings(orders)).num_rows
    orders.put("orders", later=order(3))
    found = [
        value
        for split in splits
        for batch in source.read(Read(dataset, split))
        for value in batch.rows["_id"].to_pylist()
    ]
    source.close()
    assert len(found) == len(set(found)) == before
    assert "later" not in found


def test_a_query_chooses_documents(orders: Elasticsearch) -> None:
    told = settings(orders, datasets={"open": {"index": "orders", "query": {"term": {"open": True}}}})
    assert rows(told, "open").num_rows == 12


def changes(told: ElasticsearchSettings, cursor: str, after: Position | None) -> tuple[list[Any], Position | None]:
    source = ElasticsearchSource(told)
    try:
        (dataset,) = source.datasets(["orders"])
        until = source.horizon(dataset, cursor, after)
        if until is None:
            return [], None
        split = Split("0", "orders", {"after": after, "until": until})
        read = Read(dataset, split, mode=Mode.INCREMENTAL, cursor=cursor)
        return [one for batch in source.read(read) for one in batch.rows["_id"].to_pylist()], until
    finally:
        source.close()


@pytest.mark.parametrize("cursor", ["at", "day", "no"])
def test_changes_are_asked_for_by_a_range(orders: Elasticsearch, cursor: str) -> None:
    first, position = changes(settings(orders), cursor, None)
    assert len(first) == 25
    orders.put("orders", o26=order(26))
    found, _ = changes(settings(orders), cursor, position)
    assert sorted(found) == ["o25", "o26"]  # the last value again: documents may share it


def test_a_document_without_cursor_stops_the_read(orders: Elasticsearch) -> None:
    orders.put("orders", bad={"no": 1})
    with pytest.raises(SchemaError, match="1 documents of orders have no 'at'"):
        changes(settings(orders), "at", None)


def test_hidden_indices_are_not_listed(orders: Elasticsearch) -> None:
    orders.ask("PUT", "/.internal", {})
    source = ElasticsearchSource(settings(orders))
    assert [one.name for one in source.datasets()] == ["orders"]
    source.close()


def test_check_tells_the_stages(orders: Elasticsearch) -> None:
    source = ElasticsearchSource(settings(orders))
    stages = list(source.check())
    source.close()
    assert stages[-3:] == ["login (elasticsearch 8.15.3)", "mappings", "sample orders"]


def test_an_index_that_is_not_there_is_told(elasticsearch: Elasticsearch) -> None:
    with pytest.raises(NotFoundError):
        rows(settings(elasticsearch, datasets={"nothing": {}}), "nothing")


def _peer(answer: Callable[[Asked, Out], None]) -> HttpPeer:
    return HttpPeer(dict.fromkeys(("/", "/_mapping", "/t/_search"), answer))


def test_opensearch_is_read_in_the_order_of_ids() -> None:
    """Its points in time cannot be sorted by _shard_doc."""
    asked = []

    def answer(call: Asked, out: Out) -> None:
        asked.append(call)
        if call.path == "/":
            out.json({"version": {"distribution": "opensearch", "number": "2.19.1"}})
        elif call.path.endswith("_mapping"):
            out.json({"t": {"mappings": {"properties": {"a": {"type": "long"}}}}})
        else:
            hit = {"_source": {"a": 1}, "_id": "x", "sort": ["x"]}  # in another order, with other spaces
            out.json({"timed_out": False, "hits": {"hits": [hit]}})

    with _peer(answer) as peer:
        told = ElasticsearchSettings.parse({"base_url": peer.url})
        assert rows(told, "t").to_pylist() == [{"_id": "x", "a": 1}]
    assert asked[-1].json()["sort"] == [{"_id": {"order": "asc"}}]


@pytest.mark.parametrize(
    "said",
    [
        {"timed_out": True, "hits": {"hits": []}},
        {"timed_out": False, "_shards": {"failed": 1}},
        {"message": "please log in"},
    ],
)
def test_an_answer_in_part_is_no_answer(said: dict[str, Any]) -> None:
    def answer(call: Asked, out: Out) -> None:
        if call.path == "/":
            out.json({"version": {"number": "7.10.2"}})
        else:
            out.json({"t": {"mappings": {}}} if call.path.endswith("_mapping") else said)

    with _peer(answer) as peer, pytest.raises(AnswerError):
        rows(ElasticsearchSettings.parse({"base_url": peer.url}), "t")


def test_a_login_that_is_refused_is_told_without_the_password() -> None:
    def answer(_: Asked, out: Out) -> None:
        out.json({"error": {"reason": "unable to authenticate user [me]"}, "status": 401}, 401)

    with _peer(answer) as peer:
        source = ElasticsearchSource(from_url(f"elasticsearch+http://me:hidden@{peer.host}:{peer.port}"))
        with pytest.raises(AuthError) as caught:
            list(source.check())
        source.close()
    assert "unable to authenticate user [me]" in str(caught.value.hint)
    assert "hidden" not in f"{caught.value} {caught.value.hint}"


def test_an_address_with_a_login_holds_no_secret_in_its_url() -> None:
    told = from_url("opensearch+https://me:pw@es.example:9200/search?page_size=50")
    assert (told.base_url, told.page_size) == ("https://es.example:9200/search", 50)
    assert told.auth is not None
    with pytest.raises(InvalidSettingsError) as caught:
        from_url("elasticsearch+https://me:hidden@es.example:9200?page_size=0")
    assert "hidden" not in str(caught.value)
