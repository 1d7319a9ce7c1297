"""Deliveries to receivers that behave and that do not, over real HTTP, with a clock that the test holds."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError
from tests.gateway.rest.plant import QUALITY, Plant, plant

from tongqu.core.policy import Actor
from tongqu.gateway.exchange import Notes
from tongqu.gateway.live.ledger import FeedLedger
from tongqu.gateway.webhooks.dispatching import DELAYS, Dispatcher, Means
from tongqu.gateway.webhooks.sending import HttpSender
from tongqu.gateway.webhooks.signing import new_secret
from tongqu.gateway.writing import Edit, Writer
from tongqu.kit.http.clock import Clock
from tongqu.store.feed import Feed
from tongqu.store.outbox import Outbox
from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

T = TypeVar("T")
SECRET, BEFORE = new_secret(), new_secret()
START = 1_800_000_000.0


class Receiver(HttpPeer):
    """Keeps what it was sent and answers with the statuses of `answers`, one after the other, then with 204."""

    def __init__(self, *answers: int | Callable[[Asked, Out], None], **headers: str):
        super().__init__({"/hook": self._take})
        self.answers = list(answers)
        self.sent: list[Asked] = []
        self._headers = headers

    def _take(self, asked: Asked, out: Out) -> None:
        self.sent.append(asked)
        answer = self.answers.pop(0) if self.answers else 204
        if callable(answer):
            answer(asked, out)
        else:
            out.answer(answer, b"", **self._headers)

    @property
    def ids(self) -> list[str]:
        return [asked.headers["webhook-id"] for asked in self.sent]

    @property
    def data(self) -> list[dict[str, Any]]:
        """What was told, verified by somebody else's code."""
        return [json.loads(asked.body)["data"] for asked in self.sent]


class Held(Clock):
    """The clock of HTTP calls, held by the test; what passes by itself is added, so that calls can run out of time."""

    def __init__(self, world: World):
        self._world = world

    def monotonic(self) -> float:
        return time.monotonic() + self._world.now

    def now(self) -> float:
        return self._world.now


class World:
    """The plant with one webhook on its items."""

    def __init__(self, there: Plant, folder: Path):
        self.there = there
        self.now = START
        self.actor: Actor | None = QUALITY
        self.feed = Feed(folder / "feed.db", clock=lambda: self.now)
        self.outbox = Outbox(folder / "outbox.db")
        self.writer = Writer(there.reader, FeedLedger(self.feed))
        self.dispatcher = self.made()
        self.secrets = {"${secret:hook}": SECRET, "${secret:hook_before}": BEFORE}

    def made(self, holder: str = "one") -> Dispatcher:
        means = Means(
            self, lambda reference: self.secrets[reference], b"k" * 32, holder, now=lambda: self.now,
            chance=lambda: 0.0, senders=lambda entry: HttpSender(entry, Held(self)),
        )  # fmt: skip
        return Dispatcher(self.feed, self.outbox, self.there.reader, lambda: self.there.publication, means)

    def client(self, name: str) -> Actor | None:
        assert name == "erp"
        return self.actor

    async def look(self, seconds: float = 0.0) -> int:
        """Time goes on, and what is due is delivered."""
        self.now += seconds
        begun = await self.dispatcher.look()
        await self.dispatcher.settled()
        return begun

    async def insert(self, number: int, plant: str = "A", **more: Any) -> None:
        actor = Actor("client:x", roles=frozenset(("quality",)), attributes={"plant": plant})
        row = {"id": number, "lot": f"L{number}", "plant": plant, **more}
        await self.writer.write(self.there.api(), actor, Edit("insert", [row]), None, Notes())

    async def change(self, number: int, **values: Any) -> None:
        from tongqu.gateway.asking import Compare

        edit = Edit("update", [values], Compare("id", "eq", str(number)))
        await self.writer.write(self.there.api(), QUALITY, edit, None, Notes())

    def states(self) -> list[str]:
        return [one.state for one in reversed(self.outbox.messages("v1/items/erp", 100))]


def run(folder: Path, url: str, work: Callable[[World], Awaitable[T]], **hook: Any) -> T:
    """What the work gives, in a world whose webhook calls the address."""
    told = {"url": url, "as": "erp", "secret": "${secret:hook}", "seconds": 1, **hook}

    async def whole() -> T:
        async with plant(folder, {"items": {"webhooks": {"erp": told}}}) as there:
            world = World(there, folder)
            try:
                await world.look()
                return await work(world)
            finally:
                await world.dispatcher.close()
                world.feed.close()
                world.outbox.close()

    return asyncio.run(whole())


def test_a_delivery_is_signed_so_that_others_can_verify_it(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        world.now = time.time()  # the verifier looks at the real clock
        await world.insert(10)
        await world.look()

    with Receiver() as receiver:
        run(tmp_path, receiver.url + "/hook", work)
        (asked,) = receiver.sent
        told = Webhook(SECRET).verify(asked.body, dict(asked.headers))
        assert told["type"] == "items.insert"
        assert told["data"]["key"] == {"id": 10}
        assert told["data"]["row"]["lot"] == "L10"
        assert "salary" not in told["data"]["row"]  # the client may not see it
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(asked.body + b" ", dict(asked.headers))


@pytest.mark.parametrize("envelope", ["cloudevents", "cloudevents-binary"])
def test_a_delivery_may_be_a_cloud_event_and_is_signed_alike(tmp_path: Path, envelope: str) -> None:
    async def work(world: World) -> None:
        world.now = time.time()
        await world.insert(10)
        await world.look()

    with Receiver() as receiver:
        run(tmp_path, receiver.url + "/hook", work, envelope=envelope)
        (asked,) = receiver.sent
        told = Webhook(SECRET).verify(asked.body, dict(asked.headers))
        whole = envelope == "cloudevents"
        context = told if whole else {name.removeprefix("ce-"): text for name, text in asked.headers.items()}
        assert (context["specversion"], context["type"]) == ("1.0", "io.tongqu.items.insert")
        assert (context["source"], context["id"]) == ("/api/v1/items", asked.headers["webhook-id"])
        assert (told["data"] if whole else told)["row"]["lot"] == "L10"
        assert asked.headers["content-type"].startswith("application/cloudevents+json" if whole else "application/json")


def test_while_a_secret_is_rotated_both_sign(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        world.now = time.time()
        world.outbox.overlap("v1/items/erp", world.now + 60)
        await world.insert(10)
        await world.look()
        await world.insert(11)
        await world.look(61)

    with Receiver() as receiver:
        run(tmp_path, receiver.url + "/hook", work)
        first, second = receiver.sent
        for secret in (SECRET, BEFORE):
            Webhook(secret).verify(first.body, dict(first.headers))
        assert first.headers["webhook-signature"].count("v1,") == 2
        assert second.headers["webhook-signature"].count("v1,") == 1


def test_a_failing_receiver_is_tried_ten_times_by_the_schedule_under_one_id(tmp_path: Path) -> None:
    async def work(world: World) -> list[str]:
        await world.insert(10)
        assert await world.look() == 1
        for delay in DELAYS[1:]:
            assert await world.look(delay - 1) == 0  # a second too early
            assert await world.look(1) == 1
        assert await world.look(100_000) == 0
        return world.states()

    with Receiver(*([500] * 10)) as receiver:
        assert run(tmp_path, receiver.url + "/hook", work) == ["dead"]
        assert len(receiver.sent) == 10
        assert len(set(receiver.ids)) == 1
        stamps = [int(asked.headers["webhook-timestamp"]) for asked in receiver.sent]
        assert [late - early for early, late in pairwise(stamps)] == list(DELAYS[1:])


def test_dead_letters_are_delivered_again_when_asked(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.insert(10)
        for delay in DELAYS:
            await world.look(delay)
        assert world.states() == ["dead"]
        assert world.outbox.replay("v1/items/erp", world.now) == 1
        await world.look()
        assert world.states() == ["done"]

    with Receiver(*([500] * 10)) as receiver:
        run(tmp_path, receiver.url + "/hook", work)
        assert len(set(receiver.ids)) == 1


def test_changes_of_one_row_keep_their_order_and_do_not_hold_up_others(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.insert(10)
        await world.look()  # refused: waits five seconds
        await world.change(10, weight=2)
        await world.insert(11)
        assert await world.look(1) == 1  # only the other row
        await world.look(4)
        await world.look(1)

    with Receiver(500) as receiver:
        run(tmp_path, receiver.url + "/hook", work)
        told = [(one["key"]["id"], one["op"]) for one in receiver.data]
        assert told == [(10, "insert"), (11, "insert"), (10, "insert"), (10, "update")]


def test_a_redirect_is_a_failure_and_never_followed(tmp_path: Path) -> None:
    async def work(world: World) -> str:
        await world.insert(10)
        await world.look()
        (one,) = world.outbox.messages("v1/items/erp", 9)
        return f"{one.state} {one.status} {one.problem}"

    with Receiver() as canary, Receiver(302, Location=canary.url + "/hook") as receiver:
        assert run(tmp_path, receiver.url + "/hook", work) == "waiting 302 hook.redirects"
        assert canary.sent == []


def test_gone_switches_the_webhook_off_until_it_is_switched_on(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.insert(10)
        await world.look()
        await world.insert(11)
        assert await world.look(100_000) == 0
        hook = world.outbox.hook("v1/items/erp")
        assert hook is not None
        assert hook.disabled == "hook.gone"
        world.outbox.disable("v1/items/erp", "")
        assert await world.look() == 2
        assert world.states() == ["done", "done"]

    with Receiver(410) as receiver:
        run(tmp_path, receiver.url + "/hook", work)


def test_what_nobody_takes_is_forgotten_after_ninety_days(tmp_path: Path) -> None:
    async def work(world: World) -> list[dict[str, int]]:
        await world.insert(10)
        await world.look()  # gone: switched off
        await world.insert(11)
        kept = []
        for days in (89, 2):
            await world.look(days * 86_400)
            kept.append(world.outbox.counts("v1/items/erp"))
        return kept

    with Receiver(410) as receiver:
        before, after = run(tmp_path, receiver.url + "/hook", work)
        assert (sum(before.values()), after) == (2, {})


@pytest.mark.parametrize("status", [429, 502, 504])
def test_a_busy_receiver_is_left_alone_as_long_as_it_asks(tmp_path: Path, status: int) -> None:
    async def work(world: World) -> None:
        await world.insert(10)
        await world.look()
        await world.insert(11)
        assert await world.look(99) == 0  # the whole receiver is left alone
        assert await world.look(1) == 2
        assert world.states() == ["done", "done"]

    with Receiver(status, Retry_After="100") as receiver:
        run(tmp_path, receiver.url + "/hook", work)


def test_a_receiver_that_hangs_costs_its_time_limit_and_is_tried_again(tmp_path: Path) -> None:
    def hang(asked: Asked, out: Out) -> None:
        del asked
        out.pause(5)
        out.hang_up()

    async def work(world: World) -> None:
        await world.insert(10)
        await world.look()
        assert world.states() == ["waiting"]
        await world.look(5)
        assert world.states() == ["done"]

    with Receiver(hang) as receiver:
        run(tmp_path, receiver.url + "/hook", work)
        assert len(set(receiver.ids)) == 1


def test_a_receiver_whose_certificate_is_wrong_gets_nothing(tmp_path: Path) -> None:
    from tongqu.testing.services.certificates import Authority

    async def work(world: World) -> str:
        await world.insert(10)
        await world.look()
        return world.outbox.messages("v1/items/erp", 9)[0].problem

    authority = Authority(tmp_path)
    with HttpPeer({"/hook": lambda asked, out: out.answer(204)}, tls=authority.server()) as receiver:
        assert run(tmp_path, receiver.url + "/hook", work) == "connector.certificate"
        assert receiver.paths == []


def test_the_rights_of_the_client_at_the_time_of_delivery_decide(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.insert(10, plant="B")  # another plant: the client does not hear of it
        await world.insert(11)
        await world.look()
        world.actor = Actor("client:erp", roles=frozenset(("visitor",)))
        await world.change(11, weight=3)
        await world.look()
        world.actor = None
        await world.change(11, weight=4)
        await world.look()
        assert world.states() == ["skipped", "done", "dead", "dead"]

    with Receiver() as receiver:
        run(tmp_path, receiver.url + "/hook", work)
        assert [one["key"]["id"] for one in receiver.data] == [11]


def test_a_row_that_leaves_the_filter_is_told_as_deleted_if_it_was_told(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.insert(10, weight=1)
        await world.insert(11, weight=9)  # was never in the filter
        await world.look()
        await world.change(10, weight=8)
        await world.change(11, weight=7)
        await world.look()

    with Receiver() as receiver:
        run(tmp_path, receiver.url + "/hook", work, filter="weight=lt.5", select="id,weight")
        told = [(one["op"], one["key"]["id"], one.get("row")) for one in receiver.data]
        assert told == [("insert", 10, {"id": 10, "weight": 1.000}), ("delete", 10, None)]


def test_a_thin_body_holds_no_row(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        await world.insert(10)
        await world.look()

    with Receiver() as receiver:
        run(tmp_path, receiver.url + "/hook", work, body="thin")
        assert receiver.data == [{"api": "/api/v1/items", "op": "insert", "key": {"id": 10}}]


def test_only_one_process_delivers_and_the_next_goes_on_without_loss(tmp_path: Path) -> None:
    async def work(world: World) -> None:
        other = world.made("two")
        await world.insert(10)
        await world.look()
        await world.insert(11)
        assert await other.look() == 0
        world.now += 6  # the first was killed: its lease runs out
        assert await other.look() == 1
        await other.settled()
        await other.close()

    with Receiver() as receiver:
        run(tmp_path, receiver.url + "/hook", work)
        assert [one["key"]["id"] for one in receiver.data] == [10, 11]
