"""What steps look up is read anew where rows are of now, and once where they are read from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from threading import Event, Thread
from typing import Any

import pyarrow as pa
import pytest

from tongqu.core.data import Dataset
from tongqu.core.errors import CancelledError, ReadError
from tongqu.core.operator import parse_step
from tongqu.engine.chain import Chain
from tongqu.engine.sides import Side

PRICES = pa.schema({"code": pa.string()}).append(pa.field("price", pa.int64()))
DEADLINE = 60.0


class Prices:
    """A dataset that changes, and that can fail."""

    def __init__(self, **prices: int):
        self.prices, self.reads, self.fails = dict(prices), 0, False
        self.read, self.stop = Event(), Event()

    def rows(self) -> Iterator[pa.Table]:
        self.reads += 1
        self.read.set()
        if self.fails:
            raise ReadError("the price list does not answer")
        codes, values = list(self.prices), list(self.prices.values())
        yield pa.table({"code": codes, "price": values}, schema=PRICES)

    def chain(self, **settings: Any) -> Chain:
        raw = {"in": "prices", "on": {"item": "code"}, "fields": ["price"], **settings}
        step = parse_step({"from": "sales", "lookup": raw}, "steps[0]")
        side = Side(Dataset("prices", PRICES), self.rows, stop=self.stop)
        return Chain(Dataset("sales", pa.schema([("item", pa.string())])), [step], sides={"prices": side})


def looked_up(chain: Chain, *items: str | None) -> list[int | None]:
    found: list[int | None] = chain.run(pa.table({"item": pa.array(items, pa.string())})).rows["price"].to_pylist()
    return found


def test_fresh_for_rows_of_now_and_read_once_otherwise() -> None:
    prices = Prices(a=1)
    with closing(prices.chain(refresh="1ms")) as chain:
        whole, live = chain.fork(), chain.fork(live=True)
        assert looked_up(whole, "a") == looked_up(whole, "a") == [1] and prices.reads == 1
        prices.prices["a"] = 2
        assert (looked_up(live, "a"), looked_up(live)) == ([2], [])
        assert prices.reads == 2
        whole.close()
        live.close()


def test_a_read_that_fails_leaves_what_was_there() -> None:
    prices = Prices(a=1)
    with closing(prices.chain(refresh="1ms")) as chain, closing(chain.fork(live=True)) as live:
        for n in range(20):
            prices.prices["a"] = n
            assert looked_up(live, "a") == [n]
        prices.fails = True
        with pytest.raises(ReadError):
            looked_up(live, "a")
        prices.fails = False
        assert looked_up(live, "a") == [19]


def test_waits_only_for_keys_that_are_there_later() -> None:
    prices = Prices(a=1)
    with closing(prices.chain(wait="5m")) as chain, closing(chain.fork(live=True)) as live:
        assert looked_up(live, "a", None) == [1, None] and prices.reads == 1
        prices.read.clear()
        found: list[int | None] = []
        asking = Thread(target=lambda: found.extend(looked_up(live, "b", "a")))
        asking.start()
        assert prices.read.wait(DEADLINE)
        prices.prices["b"] = 5
        asking.join(DEADLINE)
        assert found == [5, 1]


def test_a_key_that_did_not_come_is_not_waited_for_at_once_again() -> None:
    prices = Prices(a=1)
    with closing(prices.chain(wait="6s", missing="null")) as chain, closing(chain.fork(live=True)) as live:
        begun = time.monotonic()
        assert looked_up(live, "b") == [None] and time.monotonic() - begun >= 6
        reads = prices.reads
        assert looked_up(live, "b", "a") == [None, 1] and prices.reads == reads


def test_waiting_ends_when_it_is_stopped() -> None:
    prices = Prices(a=1)
    prices.stop.set()
    with (
        closing(prices.chain(wait="5m")) as chain,
        closing(chain.fork(live=True)) as live,
        pytest.raises(CancelledError),
    ):
        looked_up(live, "b")


def test_pipelines_without_the_new_settings_keep_their_digest() -> None:
    step = parse_step({"from": "s", "lookup": {"in": "p", "on": {"a": "b"}, "fields": ["c"]}}, "steps[0]")
    told = step.operator.model_dump_json()
    assert "refresh" not in told and "wait" not in told and "as_of" not in told
