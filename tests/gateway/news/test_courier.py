"""What a courier does for subscribers that take their time: nobody is told twice, and stopping waits for one only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tongqu.core.policy import Actor
from tongqu.gateway.news.courier import LEASE_SECONDS, Courier
from tongqu.gateway.publication import Publication
from tongqu.gateway.settings import NewsEntry
from tongqu.gateway.webhooks.sending import Answered, Delivery
from tongqu.store.feed import Feed
from tongqu.store.news import Item, News, Subscriber

COUNT = 4


class Anybody:
    def actor(self, who: str) -> Actor | None:
        return Actor(who)


@dataclass
class Slow:
    """A receiver that takes all that is sent to it; `meanwhile` is what happens while it does."""

    meanwhile: Callable[[], None]
    sent: list[str]

    def send(self, delivery: Delivery) -> Answered:
        self.sent.append(delivery.id)
        self.meanwhile()
        return Answered("taken")

    def close(self) -> None:
        """It has no connection."""


@pytest.fixture
def news(tmp_path: Path) -> Iterator[News]:
    """One subscriber, whom nobody told yet that the API has gone through so many versions."""
    with closing(News(tmp_path / "news.db")) as made:
        made.subscribe(Subscriber("sub_1", "", "lots", "client:mes", "webhook", "https://mes.example", "", 0))
        told = [Item(0, f"{n}", "2026-01-01", f"v{n}", "lots", "version.removed", {}) for n in range(COUNT)]
        made.add("", told)
        yield made


def courier(news: News, feed: Feed, holder: str, receiver: Slow) -> Courier:
    return Courier(
        news, "", b"key", lambda: Publication("1"), NewsEntry, Anybody(), lambda: None, feed, holder,
        senders=lambda url, allow: receiver,
    )  # fmt: skip


def test_a_turn_that_takes_long_stays_with_one_process(news: News, tmp_path: Path) -> None:
    now, sent = [1000.0], list[str]()

    def meanwhile() -> None:
        now[0] += 0.4 * LEASE_SECONDS
        other.turn()

    with closing(Feed(tmp_path / "feed.db", clock=lambda: now[0])) as feed:
        other = courier(news, feed, "other", Slow(lambda: None, sent))
        courier(news, feed, "first", Slow(meanwhile, sent)).turn()
    assert sent == [f"sub_1-{n}" for n in range(COUNT)]


def test_stopping_waits_for_the_delivery_that_is_on_its_way_only(news: News, tmp_path: Path) -> None:
    sent: list[str] = []
    with closing(Feed(tmp_path / "feed.db")) as feed:
        receiver = Slow(lambda: None, sent)
        stopping = courier(news, feed, "first", receiver)
        receiver.meanwhile = stopping.over.set
        stopping.turn()
        assert sent == ["sub_1-0"]
        courier(news, feed, "first", Slow(lambda: None, sent)).turn()
    assert sent == [f"sub_1-{n}" for n in range(COUNT)]
