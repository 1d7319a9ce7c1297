"""Fields around a field, over several pipelines, and the export others understand."""

from __future__ import annotations

import pytest

from tongqu.catalog.lineage import Flow, Lineage, document, open_lineage
from tongqu.core.errors import NotFoundError


def flow(name: str, source: tuple[str, str], sink: tuple[str, str], **columns: list[str]) -> Flow:
    """A flow from one table to another; each target column with its source columns."""
    told = {column: [(*source, origin) for origin in origins] for column, origins in columns.items()}
    return Flow(name, "run", "full", "replace", [source], sink, told, run="r1", last_at="2026-01-31T00:00:00Z")


LOAD = flow("load", ("erp", "orders"), ("lake", "orders"), id=["ID"], amount=["PRICE", "QTY"])
DAILY = flow("daily", ("lake", "orders"), ("lake", "daily"), total=["amount"])
BACK = flow("back", ("lake", "daily"), ("erp", "orders"), PRICE=["total"])


def test_both_directions_over_two_pipelines() -> None:
    """Upwards to the ERP's columns, downwards to the total."""
    graph = Lineage([LOAD, DAILY])

    found = document(*graph.around(graph.find("lake.orders.amount")))

    assert {node["id"] for node in found["nodes"]} == {
        "erp.orders.PRICE", "erp.orders.QTY", "lake.orders.amount", "lake.daily.total",
    }  # fmt: skip
    assert [(edge["from"], edge["to"], edge["pipeline"]) for edge in found["edges"]] == [
        ("erp.orders.PRICE", "lake.orders.amount", "load"),
        ("erp.orders.QTY", "lake.orders.amount", "load"),
        ("lake.orders.amount", "lake.daily.total", "daily"),
    ]


def test_a_circle_is_drawn_once() -> None:
    """Data that comes back to where it began ends the walk instead of going round for ever."""
    graph = Lineage([LOAD, DAILY, BACK])

    _, edges = graph.around(graph.find("erp.orders.PRICE"))

    assert len(edges) == len({(edge.source, edge.target) for edge in edges}) == 4


def test_a_name_may_be_a_field_or_a_dataset_and_a_wrong_one_gets_similar_ones() -> None:
    """`amount`, `orders.amount`, `lake.orders` and a slip of the keyboard."""
    graph = Lineage([LOAD, DAILY])

    assert graph.find("amount") == graph.find("orders.amount")
    assert {node.field for node in graph.find("lake.orders")} == {"id", "amount"}
    with pytest.raises(NotFoundError) as caught:
        graph.find("amuont")
    assert "amount" in caught.value.hint


def test_the_same_way_has_the_same_id_however_often_it_runs() -> None:
    """Another run is the same flow, another column is another."""
    again = Flow(**{**vars(LOAD), "run": "r2", "version": 3})
    other = flow("load", ("erp", "orders"), ("lake", "orders"), id=["ID"], amount=["PRICE"])

    assert again.id == LOAD.id != other.id


def test_open_lineage_has_the_columns() -> None:
    """One run event a flow, with the column-lineage facet on its output."""
    (event,) = open_lineage([LOAD], "https://example.org")

    assert event["inputs"] == [{"namespace": "erp", "name": "orders"}]
    fields = event["outputs"][0]["facets"]["columnLineage"]["fields"]
    assert fields["id"]["inputFields"] == [{"namespace": "erp", "name": "orders", "field": "ID"}]
