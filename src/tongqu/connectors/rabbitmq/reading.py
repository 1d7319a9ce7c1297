"""Reads what a stream queue holds between two offsets, and finds where it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from time import monotonic
from typing import Any

from tongqu.connectors.rabbitmq.link import Link
from tongqu.connectors.rabbitmq.queue import offset_of
from tongqu.connectors.rabbitmq.settings import RabbitmqSettings
from tongqu.core.errors import LostPositionError, ReadError

_EMPTY, _CHUNK = 3.0, 65_535


def ends(settings: RabbitmqSettings, queue: str, seconds: float = _EMPTY) -> tuple[int, int]:
    """The first offset of a stream and that of the next message; (0, 0) where none comes in so many seconds.

    AMQP does not tell them: they are those of the messages that come when it is read from the first, and from the last
    chunk on. A chunk is given as a whole, so whatever is asked on the same channel is answered behind it.
    """
    with closing(Link(settings)) as link:
        last: list[int] = []
        channel = link.consume(queue, _CHUNK, lambda message: last.append(offset_of(message)), "last")
        if not _come(link, last, seconds):
            return 0, 0
        with link.told():
            channel.basic_qos(0, _CHUNK, False)
        first: list[int] = []
        link.consume(queue, 1, lambda message: first.append(offset_of(message)), "first")
        _come(link, first, settings.answer_seconds)
        return min(first or last), max(last) + 1


def _come(link: Link, found: list[int], seconds: float) -> bool:
    """Wait until something is found."""
    deadline = monotonic() + seconds
    while not found and monotonic() < deadline:
        link.drain(0.1)
    return bool(found)


def between(settings: RabbitmqSettings, queue: str, start: int, end: int) -> Iterator[list[Any]]:
    """The messages from one offset up to another, as they come; an empty part while nothing does. Raises
    LostPositionError if the first are gone, ReadError when nothing comes for long."""
    if start >= end:
        return
    with closing(Link(settings)) as link:
        came: list[Any] = []
        channel = link.consume(queue, settings.prefetch, came.append, start)
        deadline, at = monotonic() + settings.answer_seconds, start
        while at < end:
            while link.drain(0.1 if not came else 0) and len(came) < settings.prefetch:
                pass
            part, came[:] = list(came), []
            if part:
                with link.told():
                    channel.basic_ack(part[-1].delivery_tag, multiple=True)
                fresh = [message for message in part if at <= offset_of(message) < end]
                if fresh and offset_of(fresh[0]) > at:
                    raise lost(queue, at, offset_of(fresh[0]), link.where)
                at = offset_of(part[-1]) + 1
                deadline = monotonic() + settings.answer_seconds
                yield fresh
            elif monotonic() > deadline:
                raise ReadError(f"{queue} gives no more, and is not at its end", path=link.where)
            else:
                yield []


def lost(queue: str, at: int, first: int | None, where: str) -> LostPositionError:
    """The error for a position that the stream does not have any more."""
    has = f"its first is {first}" if first is not None else "it ends before that"
    return LostPositionError(
        f"the stream queue {queue} does not have offset {at} any more ({has}): its retention has overtaken us, or it "
        "was made anew",
        path=where,
        hint="raise x-max-age or x-max-length-bytes of the queue above the longest outage; then sync again with "
        "--restart, which reads what the queue still has",
    )
