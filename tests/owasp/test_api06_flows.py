"""API6, unrestricted access to sensitive business flows: each flow has its own exact limit for each caller."""

from __future__ import annotations

import threading

from tests.owasp.house import House


def test_a_flow_is_limited_exactly_for_each_client_and_refusals_are_not_counted(house: House) -> None:
    statuses = [house.ask("alpha", "/api/v1/few?select=line_id").status for _ in range(12)]
    assert statuses == [200] * 5 + [429] * 7
    told = house.ask("alpha", "/api/v1/few?select=line_id")
    assert told.json["code"] == "limit.exceeded"
    assert 0 < int(told.headers["retry-after"]) <= 86_400 // 5  # refusals have not moved it away
    assert house.ask("beta", "/api/v1/few?select=line_id").status == 200
    assert house.ask("alpha", "/api/v1/items?select=id").status == 200


def test_the_limit_holds_across_protocols_versions_of_the_question_and_connections(house: House) -> None:
    results: list[int] = []
    for _ in range(5):
        assert house.ask("gamma", "/api/v1/few").status == 200

    def call(number: int) -> None:
        results.append(house.ask("gamma", f"/api/v1/few?line_id=gt.{number}&select=line_id").status)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert set(results) == {429}
    by_graphql = house.ask("gamma", "/graphql/v1", "POST", {"query": "{ few { nodes { line_id } } }"})
    assert "limit.exceeded" in by_graphql.body.decode()


def test_a_write_that_must_not_happen_twice_does_not(house: House) -> None:
    row = {"id": 70, "plant": "A", "lot": "once", "line_id": 1}
    codes: list[int] = []

    def write() -> None:
        codes.append(house.ask("alpha", "/api/v1/items", "POST", row, idempotency_key="flow-70").status)

    writers = [threading.Thread(target=write) for _ in range(6)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert set(codes) <= {201, 409}
    assert 201 in codes
    assert len(house.ask("alpha", "/api/v1/items?lot=eq.once").json) == 1
    other = house.ask("alpha", "/api/v1/items", "POST", {**row, "id": 71}, idempotency_key="flow-70")
    assert other.status == 422
    assert house.ask("alpha", "/api/v1/items/70", "DELETE").status in (200, 204)
