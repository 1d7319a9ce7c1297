"""How operations are understood by their words."""

from __future__ import annotations

import pytest

from tongqu.catalog.assessing.words import Text, heads, verbs


@pytest.mark.parametrize(
    ("method", "names", "title", "does"),
    [
        ("get", "listOrders /orders", "", {"read"}),
        ("post", "/orders", "Create an order", {"create"}),
        ("post", "queryOrders /orders/query", "", {"read"}),
        ("post", "/api/order/list", "", {"read"}),
        ("post", "/dd/jhlr", "计划录入", {"create"}),
        ("post", "/dd/cx", "订单查询", {"read"}),
        ("put", "/orders", "", {"update"}),
        ("call", "CancelLot", "", {"delete"}),
        ("post", "/webhooks/subscriptions", "Subscribe to lots", {"notify"}),
        ("post", "/saveItem", "", {"create", "update"}),
    ],
)
def test_verbs(method: str, names: str, title: str, does: set[str]) -> None:
    assert verbs(method, names, title) == does


@pytest.mark.parametrize(
    ("text", "phrase", "there"),
    [
        ("GET /inspectionResults", "inspection result", True),
        ("/work-orders/{id}", "work order", True),
        ("/workorders", "work order", True),
        ("order of works", "work order", False),
        ("/batches", "batch", True),
        ("查询检验结果", "检验", True),
        ("/statuses", "status", True),
        ("pos", "po", False),
    ],
)
def test_phrases(text: str, phrase: str, there: bool) -> None:
    assert Text.of(text).has(phrase) is there


@pytest.mark.parametrize(
    ("title", "phrase", "about"),
    [
        ("List user account issues assigned to the user", "account", False),
        ("Returns information about services on the device", "device", False),
        ("Get a list of customers", "customer", True),
        ("Customer details by number", "customer", True),
        ("查询客户", "客户", True),
    ],
)
def test_what_a_title_is_about(title: str, phrase: str, about: bool) -> None:
    assert heads(title, phrase) is about
