"""Made-up rows: of the right shape, within the rules, under the same rights, and never from the source."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.rest.plant import QUALITY, Plant, Told, plant

from tongqu.connectors.duckdb import connector
from tongqu.core.policy import Actor
from tongqu.core.server import Server
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.mock.worlds import Mocks
from tongqu.gateway.publication import Api, Publication

SANDBOX = replace(QUALITY, id="client:trial", sandbox=True)
RULES: Mapping[str, Mapping[str, Any]] = {
    "lot": {"pattern": "L[0-9]{6}", "required": True}, "plant": {"enum": ["A", "B", "C"]},
    "weight": {"min": 10, "max": Decimal("12.5")},
}  # fmt: skip


def open_file(path: Path) -> Server:
    """The server of a made-up file."""
    assert connector.server is not None
    return connector.server(connector.from_url(f"duckdb:{path}"))


class Trial:
    """The plant, whose source is gone, asked by a client that is only given made-up rows."""

    def __init__(self, plant: Plant, mocks: Mocks) -> None:
        self.plant, self.mocks = plant, mocks

    async def call(self, method: str, target: str, body: str = "", *, actor: Actor = SANDBOX, **headers: str) -> Told:
        """One call, as the site passes it on."""
        asked = request(self.plant.publication, actor, headers)
        self.mocks.instead(asked)
        pretended = replace(self.plant, publication=asked.publication)
        return await pretended.call(method, target, body, actor=actor, **headers)

    async def rows(self, target: str, **headers: str) -> list[dict[str, Any]]:
        """The rows of an answer."""
        told = await self.call("GET", target, "", actor=SANDBOX, **headers)
        assert told.status == 200, told.body
        found: list[dict[str, Any]] = told.json
        return found


def request(publication: Publication, actor: Actor, headers: Mapping[str, str]) -> Request:
    async def nothing(limit: int) -> bytes:
        return b""

    return Request("GET", "/api/v1/items", "", headers, "", "r1", "", 0.0, nothing, publication, actor=actor)


def tried(folder: Path, work: Callable[[Trial], Awaitable[None]], **settings: Any) -> None:
    """Do the work with a plant whose file was deleted after it was published."""

    async def whole() -> None:
        async with plant(folder, rules=RULES) as made:
            await made.server.close()
            (folder / "plant.duckdb").unlink()
            mocks = Mocks(open_file, **settings)
            try:
                await work(Trial(made, mocks))
            finally:
                await mocks.close()

    asyncio.run(whole())


def test_rows_keep_to_the_rules_and_come_without_the_source(tmp_path: Path) -> None:
    async def work(trial: Trial) -> None:
        rows = await trial.rows("items?limit=50&select=id,lot,plant,weight,made,inspector")
        assert len(rows) == 50
        assert len({row["id"] for row in rows}) == 50
        assert all(len(row["lot"]) == 7 and row["lot"][0] == "L" for row in rows)
        assert {row["plant"] for row in rows} == {"A"}  # the caller's row rule holds
        assert all(row["weight"] is None or 10 <= row["weight"] <= 12.5 for row in rows)

    tried(tmp_path, work)


def test_masks_filters_orders_and_pages_are_those_of_the_real_api(tmp_path: Path) -> None:
    async def work(trial: Trial) -> None:
        masked = await trial.rows("items?select=inspector&inspector=not.is.null&limit=5")
        assert all("*" in row["inspector"] for row in masked)
        heavy = await trial.rows("items?select=weight&weight=gt.11&order=weight.desc&limit=5")
        assert [row["weight"] for row in heavy] == sorted((row["weight"] for row in heavy), reverse=True)
        first = await trial.call("GET", "items?select=id&limit=3")
        second = await trial.rows("items?select=id&limit=3", tongqu_after=first["tongqu-next"])
        assert [row["id"] for row in second] == [4, 5, 6] or second[0]["id"] > first.json[-1]["id"]

    tried(tmp_path, work)


def test_related_rows_exist(tmp_path: Path) -> None:
    async def work(trial: Trial) -> None:
        rows = await trial.rows("items?select=id,line(id,title),defects(no,word)&limit=100")
        assert any(row["line"] for row in rows)
        assert any(row["defects"] for row in rows)

    tried(tmp_path, work)


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("items?salary=gt.1", 422, "field.unknown"), ("items?weight=gt.heavy", 422, "value.invalid"),
        ("items/100000", 404, "row.unknown"), ("nothing", 404, "api.unknown"),
        ("items?limit=x", 400, "query.malformed"),
    ],
)  # fmt: skip
def test_errors_are_the_same(tmp_path: Path, target: str, status: int, code: str) -> None:
    async def work(trial: Trial) -> None:
        told = await trial.call("GET", target)
        assert (told.status, told.json["code"]) == (status, code)

    tried(tmp_path, work)


def test_a_sandbox_keeps_what_its_client_writes_and_shows_it_to_nobody_else(tmp_path: Path) -> None:
    async def work(trial: Trial) -> None:
        row = '{"id": 5000, "lot": "L000001", "plant": "A", "weight": 11}'
        new = await trial.call("POST", "items", row, prefer="return=representation", idempotency_key="k1")
        assert new.status == 201, new.body
        again = await trial.call("POST", "items", row, prefer="return=representation", idempotency_key="k1")
        assert again["idempotent-replayed"] == "true"
        assert (await trial.call("POST", "items", row)).json["code"] == "row.conflict"
        bad = await trial.call("POST", "items", '{"id": 5001, "lot": "x", "plant": "A"}')
        assert bad.json["errors"][0]["pointer"] == "/lot"
        assert len(await trial.rows("items?id=eq.5000")) == 1
        other = await trial.call("GET", "items?id=eq.5000", actor=replace(SANDBOX, id="client:other"))
        assert other.json == []

    tried(tmp_path, work)


def test_prefer_mock_gives_made_up_rows_to_others_and_nothing_else_does(tmp_path: Path) -> None:
    async def work(trial: Trial) -> None:
        told = await trial.call("GET", "items?limit=1", actor=QUALITY, prefer="count=exact, mock")
        assert (told.status, told["preference-applied"]) == (206, "count=exact, mock")
        for actor, headers, made_up in ((QUALITY, {"prefer": "mockery"}, False), (SANDBOX, {}, True)):
            call = request(trial.plant.publication, actor, headers)
            trial.mocks.instead(call)
            assert (call.publication is not trial.plant.publication) is made_up is ("mock" in call.notes.more)

    tried(tmp_path, work)


def test_rows_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    given: list[Any] = []

    async def work(trial: Trial) -> None:
        given.append(await trial.rows("items?limit=20"))

    tried(tmp_path, work, seed="a")
    tried(tmp_path, work, seed="a")
    tried(tmp_path, work, seed="b")
    assert given[0] == given[1] != given[2]


def test_values_are_spread_as_a_profile_tells_and_a_personal_one_is_not_taken(tmp_path: Path) -> None:
    def profile(api: Api) -> Mapping[str, Mapping[str, Any]]:
        return {
            "made": {"rows": 100, "nulls": 50, "distinct": 10, "min": "2020-01-01", "max": "2020-01-31"},
            "line_id": {"rows": 100, "nulls": 0},
            "inspector": {
                "rows": 100, "nulls": 0, "distinct": 2, "personal": {"value": "person"},
                "top": [{"value": "真名", "count": 90}],
            },
        }  # fmt: skip

    async def work(trial: Trial) -> None:
        rows = await trial.rows("items?select=made,inspector&limit=100", prefer="mock")
        gaps = sum(row["made"] is None for row in rows)
        assert 30 <= gaps <= 70
        assert all(row["made"].startswith("2020-01") for row in rows if row["made"])
        assert "真" not in str(rows)

    tried(tmp_path, work, profile=profile)


def test_an_answer_may_take_as_long_as_a_real_one(tmp_path: Path) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def work(trial: Trial) -> None:
        call = request(trial.plant.publication, QUALITY, {})
        call.notes.api, call.notes.version = "items", "v1"
        trial.mocks.latencies.saw(call, Reply(200), 0.125)
        await trial.rows("items?limit=1")
        assert slept == []
        await trial.rows("items?limit=1", prefer="mock, latency=real")
        assert slept == [0.125]

    tried(tmp_path, work, sleep=sleep)
