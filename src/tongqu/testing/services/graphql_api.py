"""A GraphQL API over orders in memory, executed by graphql-core: connections, offsets, mutations, introspection."""

from __future__ import annotations

from threading import Lock
from typing import Any

from graphql import GraphQLError, GraphQLSchema, build_schema, graphql_sync

from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

SDL = '''
scalar DateTime
scalar Decimal
enum Status { OPEN PAID }
input OrderFilter { status: Status, updatedAt: Since }
input Since { gte: DateTime }
input OrderInput { id: ID, no: String, qty: Int, status: Status }
"""Who orders"""
type Customer { id: ID!, name: String, phone: String, orders(first: Int): OrderConnection }
type Line { item: String!, qty: Int! }
type Order {
  id: ID!
  "Order number"
  no: String!
  qty: Int
  amount: Decimal
  status: Status
  updatedAt: DateTime
  customer: Customer
  lines: [Line!]!
  secret(reason: String!): String
}
type PageInfo { hasNextPage: Boolean!, endCursor: String }
type OrderEdge { cursor: String!, node: Order }
type OrderConnection { nodes: [Order], edges: [OrderEdge], pageInfo: PageInfo!, totalCount: Int! }
type OrderPage { items: [Order!]!, total: Int! }
type EdgesOnly { edges: [OrderEdge], pageInfo: PageInfo! }
type Viewer { orders(first: Int, after: String): EdgesOnly! }
type UserError { field: [String!], message: String! }
type OrderPayload { order: Order, userErrors: [UserError!]! }
type Query {
  orders(first: Int, after: String, filter: OrderFilter): OrderConnection!
  orderPage(offset: Int, limit: Int): OrderPage!
  allOrders: [Order!]!
  viewer: Viewer!
  order(id: ID!): Order
  needy(plant: ID!): [Order!]
}
type Mutation {
  createOrder(input: OrderInput!): OrderPayload!
  updateOrder(id: ID!, input: OrderInput!): OrderPayload!
  deleteOrder(id: ID!): Boolean!
}
'''


class GraphqlApi(HttpPeer):
    """Answers `POST /graphql`. `broken` are ids of orders that cannot be resolved; with `introspection` off it refuses
    to tell its schema; `known` are answers by idempotency key."""

    name = "GraphQL API"

    def __init__(self) -> None:
        self.schema: GraphQLSchema = build_schema(SDL)
        self.orders: dict[str, dict[str, Any]] = {}
        self.broken: set[str] = set()
        self.introspection = True
        self.token = ""
        self.known: dict[str, Any] = {}
        self.effects: list[tuple[str, str]] = []
        """Every change: mutation, id."""
        self.lock = Lock()
        super().__init__({"/graphql": self._answer})

    def order(self, number: int, **more: Any) -> None:
        """Put an order in place."""
        self.orders[str(number)] = {
            "id": str(number), "no": f"SO{number:04}", "qty": number % 7, "amount": f"{number}.50", "status": "OPEN",
            "updatedAt": f"2026-01-{1 + number % 28:02}T08:00:00Z",
            "customer": {"id": f"c{number % 3}", "name": f"客户{number % 3}", "phone": "13800000000"},
            "lines": [{"item": "A", "qty": number}], **more,
        }  # fmt: skip

    # ---- answers

    def _answer(self, asked: Asked, out: Out) -> None:
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            out.json({"errors": [{"message": "who are you?"}]}, 401)
            return
        sent = asked.json()
        if not self.introspection and "__schema" in sent["query"]:
            out.json({"errors": [{"message": "introspection is disabled"}]}, 400)
            return
        key = asked.headers.get("idempotency-key", "")
        with self.lock:
            if not key or key not in self.known:
                done = graphql_sync(self.schema, sent["query"], self._root(), variable_values=sent.get("variables"))
                answer: dict[str, Any] = {"data": done.data}
                if done.errors:
                    answer["errors"] = [error.formatted for error in done.errors]
                self.known[key] = answer
            out.json(self.known[key])

    def _root(self) -> dict[str, Any]:
        return {
            "orders": lambda _, filter=None, **page: self._connection(self._found(filter), **page),
            "orderPage": lambda _, offset=0, limit=10: self._page(offset, limit),
            "allOrders": lambda _: self._found(None),
            "viewer": {"orders": lambda _, **page: self._connection(self._found(None), **page)},
            "order": lambda _, id: self.orders.get(id),
            "needy": lambda _, plant: [],
            "createOrder": lambda _, input: self._create(input),
            "updateOrder": lambda _, id, input: self._update(id, input),
            "deleteOrder": lambda _, id: self._delete(id),
        }

    def _found(self, given: dict[str, Any] | None) -> list[Any]:
        given = given or {}
        rows = [self._whole(one) for one in self.orders.values()]
        if given.get("status"):
            rows = [one for one in rows if one["status"] == given["status"]]
        since = (given.get("updatedAt") or {}).get("gte")
        return [one for one in rows if not since or one["updatedAt"] >= since]

    def _whole(self, one: dict[str, Any]) -> dict[str, Any]:
        def failing(_: Any) -> Any:
            raise GraphQLError(f"the amount of {one['id']} is not to be had")

        return {**one, "amount": failing} if one["id"] in self.broken else one

    def _connection(self, rows: list[Any], first: int | None = None, after: str | None = None) -> dict[str, Any]:
        start = int(after) if after else 0
        part = rows[start : start + min(first or 20, 50)]
        end = start + len(part)
        edges = [{"cursor": str(start + n), "node": one} for n, one in enumerate(part, 1)]
        info = {"hasNextPage": end < len(rows), "endCursor": str(end)}
        return {"nodes": part, "edges": edges, "pageInfo": info, "totalCount": len(rows)}

    def _page(self, offset: int, limit: int) -> dict[str, Any]:
        rows = self._found(None)
        return {"items": rows[offset : offset + limit], "total": len(rows)}

    def _create(self, given: dict[str, Any]) -> dict[str, Any]:
        if not given.get("no"):
            return {"order": None, "userErrors": [{"field": ["no"], "message": "an order needs a number"}]}
        identifier = given.get("id") or str(len(self.orders) + 1)
        self.orders[identifier] = {"qty": None, "status": None, "lines": [], **given, "id": identifier}
        self.effects.append(("create", identifier))
        return {"order": self.orders[identifier], "userErrors": []}

    def _update(self, identifier: str, given: dict[str, Any]) -> dict[str, Any]:
        if identifier not in self.orders:
            raise GraphQLError(f"there is no order {identifier}", extensions={"code": "NOT_FOUND"})
        self.orders[identifier].update(given)
        self.effects.append(("update", identifier))
        return {"order": self.orders[identifier], "userErrors": []}

    def _delete(self, identifier: str) -> bool:
        self.effects.append(("delete", identifier))
        return self.orders.pop(identifier, None) is not None
