"""Splits of a big load that other processes move: what they are told, and what is made of what they tell."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from threading import Event
from typing import Any, Protocol

from tongqu.core import errors
from tongqu.core.data import Checkpoint, Counts, Mode, Write
from tongqu.core.errors import CancelledError, InvalidPlanError, RunError, TongquError
from tongqu.core.events import Committed, Emit
from tongqu.core.lending import Dated, Lends
from tongqu.engine.job import Limits, Stream, Surroundings
from tongqu.engine.lanes import route
from tongqu.engine.patience import Patience
from tongqu.engine.pump import Pump, Tally
from tongqu.engine.wanting import write_of
from tongqu.kit.faults import crash_point

Heard = Callable[[str, Mapping[str, Any]], None]
"""Is told the key of an order and what was said about it while it is carried out."""


class Hands(Protocol):
    """Processes that carry out orders. An order may be carried out twice, or begun again elsewhere."""

    @property
    def name(self) -> str:
        """What reports call them."""
        ...

    def width(self) -> int:
        """How many orders are carried out at a time; raises ConnectError."""
        ...

    def carry(self, orders: Mapping[str, str], stop: Event, heard: Heard) -> Mapping[str, Mapping[str, Any]]:
        """Have all orders carried out, and give what came of each by its key. Ends as soon as one failed, or soon after
        `stop`; then some may be missing. Raises ConnectError."""
        ...


@dataclass(frozen=True)
class Elsewhere:
    """Other processes, and what they need to know to plan the same streams. `told` holds no secret."""

    hands: Hands
    told: Mapping[str, Any]


@dataclass(frozen=True)
class Order:
    """One split of one stream, as another process is told of it."""

    stream: str
    split: str
    sync: str
    run: str
    fence: int
    started_at: str
    instant: str
    digest: str
    """Of what is written and how: whoever plans something else must not touch it."""


def digest(write: Write) -> str:
    """The same for the same columns, types, key, steps and way of writing."""
    dataset = write.dataset
    told = [dataset.name, dataset.columns, dataset.types(), write.mode, write.key, write.recipe, write.deletes]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def lendable(stream: Stream) -> bool:
    """Whether its splits can be moved by others: a full read, into a sink that others can enter, at an instant that
    can be shared or that splits do not share anyway."""
    if stream.mode is not Mode.FULL or stream.graph is not None or not stream.sink.parallel:
        return False
    if not isinstance(stream.sink, Lends):
        return False
    return not stream.source.one_instant or (isinstance(stream.source, Dated) and bool(stream.source.instant()))


def lend(pump: Pump, checkpoints: Sequence[Checkpoint], fence: int, elsewhere: Elsewhere, patience: Patience) -> None:
    """Have the splits moved by others; what they committed is counted, whatever happened to them. Raises the first
    error that one of them met."""
    stream, write, around = pump.stream, pump.write, pump.around
    assert isinstance(stream.sink, Lends)  # noqa: S101  # `lendable` was asked
    instant = stream.source.instant() if isinstance(stream.source, Dated) else ""
    whole = Order(
        stream.name, "", write.sync, write.run, fence, write.started_at, instant, digest(write)
    )  # fmt: skip
    orders = {
        f"{write.run}-{stream.name}-{one.split.id}-{fence}": replace(whole, split=one.split.id) for one in checkpoints
    }
    halt = Event()
    failed: list[TongquError] = []

    def heard(key: str, told: Mapping[str, Any]) -> None:
        total = pump.tally.set(orders[key].split, Counts.from_json(told["counts"]))
        pump.emit(Committed(write.run, stream.name, orders[key].split, total))
        try:
            pump.tally.check(total, ended=False)
        except TongquError as error:
            failed.append(error)
            halt.set()

    try:
        texts = {key: json.dumps({**elsewhere.told, "order": asdict(order)}) for key, order in orders.items()}
        ended = elsewhere.hands.carry(texts, _Any(around.stop, halt), heard)
    finally:
        opened = patience.asking(partial(stream.sink.gather, write))
        for name, stored in opened.checkpoints.items():
            pump.tally.set(name, stored.counts)
    left = [one for one in opened.checkpoints.values() if not one.done]
    problems = [told["problem"] for told in ended.values() if "problem" in told]
    if failed:
        raise failed[0]
    if left and problems:
        raise refusal(problems[0])
    if left and not around.stop.is_set():
        raise RunError(
            f"{len(left)} splits of {stream.name!r} came to no end, and nobody said why", hint="run again: it goes on"
        )


def carry(stream: Stream, order: Order, limits: Limits, around: Surroundings, emit: Emit) -> Counts:
    """In the other process: move the split that an order names from where it stands; its totals. Raises
    InvalidPlanError if something else is planned here than there, CancelledError if it was stopped."""
    write = write_of(stream, order.run, order.started_at)
    if digest(write) != order.digest:
        raise InvalidPlanError(
            f"a worker plans {stream.name!r} in another way than the process that began the run",
            path=stream.name,
            hint="give all processes the same Tongqu and the same files, and look whether the source was altered",
        )
    sink = stream.sink
    assert isinstance(sink, Lends)  # noqa: S101  # `lendable` was asked
    if order.instant and isinstance(stream.source, Dated):
        stream.source.at(order.instant)
    patience = Patience(order.run, stream.name, limits, around, emit)
    checkpoint = patience.asking(lambda: sink.join(write, order.fence, order.split)).checkpoints[order.split]
    tally = Tally(replace(limits, quarantined=None, quarantined_share=None))  # whoever sees all splits judges them
    tally.set(order.split, checkpoint.counts)
    crash_point("after_join")
    Pump(stream, write, route(stream, write), limits, tally, emit, around).move(checkpoint)
    if around.stop.is_set():
        raise CancelledError("stopped")
    return tally.total()


def refusal(problem: Mapping[str, str]) -> TongquError:
    """The error that was told as a problem."""
    kind = _kinds(errors.TongquError).get(problem.get("code", ""), RunError)
    return kind(problem.get("message", ""), hint=problem.get("hint", ""), path=problem.get("path", ""))


def _kinds(kind: type[TongquError]) -> dict[str, type[TongquError]]:
    found = {kind.code: kind}
    for child in kind.__subclasses__():
        found = {**_kinds(child), **found}
    return found


class _Any(Event):
    """Set when one of several is."""

    def __init__(self, *others: Event):
        super().__init__()
        self._others = others

    def is_set(self) -> bool:
        return any(other.is_set() for other in self._others)
