"""Where a cache stands: what an answer is kept under differs wherever the answer could."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.gateway.rest.plant import QUALITY, Plant, run

from tongqu.core.policy import Actor
from tongqu.gateway.exchange import Notes
from tongqu.gateway.reading import Answer, Shelved


class Keeping:
    """Keeps everything for ever."""

    def __init__(self) -> None:
        self.kept: dict[bytes, Answer] = {}
        self.seen: list[Shelved] = []

    async def answer(self, kept: Shelved, make: Callable[[], Awaitable[Answer]], notes: Notes) -> Answer:
        self.seen.append(kept)
        notes.cache = "hit" if kept.digest in self.kept else "miss"
        if kept.digest not in self.kept:
            self.kept[kept.digest] = await make()
        return self.kept[kept.digest]


def test_an_answer_is_kept_for_the_same_question_and_the_same_rights(tmp_path: Path) -> None:
    shelf = Keeping()
    others = (
        QUALITY,
        Actor("client:other", roles=frozenset(("quality",)), attributes={"plant": "B"}),
        Actor("client:hr", roles=frozenset(("quality", "hr")), attributes={"plant": "A"}),
    )

    async def work(plant: Plant) -> None:
        async def cache(target: str, actor: Actor = QUALITY, **headers: str) -> str:
            return (await plant.call("GET", target, actor=actor, **headers)).request.notes.cache

        assert [await cache("items?select=id,inspector&order=id") for _ in range(2)] == ["miss", "hit"]
        assert [await cache("items?select=*,line(title)", actor) for actor in others] == ["miss"] * 3
        assert shelf.seen[-1].tables == {"c/items", "c/lines"} and not shelf.seen[-1].cacheable
        colleague = Actor("client:colleague", roles=frozenset(("quality",)), attributes={"plant": "A"})
        assert await cache("items?select=*,line(title)", colleague) == "hit"
        assert await cache("items?select=id,inspector&order=id", accept="text/csv") == "miss"
        assert await cache("items?select=id,inspector&order=id", prefer="count=exact") == "miss"
        assert await cache("items?select=id,inspector&order=id", accept="application/xml") == "hit"

    run(tmp_path, work, shelf=shelf)


def test_a_conditional_change_looks_at_the_row_itself(tmp_path: Path) -> None:
    async def work(plant: Plant) -> None:
        tag = (await plant.call("GET", "items/1"))["etag"]
        assert (await plant.call("PATCH", "items/1", '{"weight": 8}', if_match=tag)).status == 204
        assert (await plant.call("PATCH", "items/1", '{"weight": 9}', if_match=tag)).status == 412

    run(tmp_path, work, shelf=Keeping())
