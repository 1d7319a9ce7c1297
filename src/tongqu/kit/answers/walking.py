"""Walks over the pages of a list: the next page is asked for while one is worked on, several at once where their
numbers are known, and they come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from threading import Event

from tongqu.core.data import Position
from tongqu.core.errors import TongquError
from tongqu.kit.answers.paging import Answer, Pager


@dataclass(frozen=True)
class Page:
    """The records of one page, a line each, and the state of the page after it (None: it was the last)."""

    lines: bytes
    answer: Answer
    state: Position
    next: Position | None


Fetch = Callable[[Position, Event], tuple[bytes, Answer]]
"""Gets the page of a state, or ends soon with an error of ours when the event is set."""


class Walk:
    """A walk from any state to the end. Holds at most `parallel` pages that nobody has taken yet."""

    def __init__(self, pager: Pager, fetch: Fetch, parallel: int):
        self._pager = pager
        self._fetch = fetch
        self._parallel = parallel

    def pages(self, state: Position, asked: Future[tuple[bytes, Answer]] | None = None) -> Generator[Page, None, None]:
        """The pages from a state on, in order; `asked` is the page of that state, where it was asked for before.
        Closing the iterator ends all calls under way."""
        halt = Event()
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="tongqu-page") as pool:
            waiting: deque[Future[tuple[bytes, Answer]]] = deque([] if asked is None else [asked])
            try:
                yield from self._sequence(pool, waiting, state, halt)
            finally:
                halt.set()
                for future in waiting:
                    future.cancel()
                for future in waiting:
                    with suppress(TongquError):
                        if not future.cancelled():
                            future.result()

    def _sequence(
        self, pool: ThreadPoolExecutor, waiting: deque[Future[tuple[bytes, Answer]]], state: Position, halt: Event
    ) -> Iterator[Page]:
        def ask(at: Position) -> None:
            waiting.append(pool.submit(self._fetch, at, halt))

        following: Position | None = state
        if not waiting:
            ask(state)
        while following is not None:
            state = following
            lines, answer = waiting[0].result()
            waiting.popleft()
            following = self._pager.after(state, answer)
            known = self._pager.ahead(state, answer) if following is not None else None
            if known is None or following is None:
                if following is not None:
                    ask(following)
                yield Page(lines, answer, state, following)
                continue
            states = deque(islice(known, self._parallel))
            for one in states:
                ask(one)
            yield Page(lines, answer, state, states[0] if states else following)
            while states:
                state = states.popleft()
                lines, answer = waiting[0].result()
                waiting.popleft()
                for one in islice(known, 1):
                    states.append(one)
                    ask(one)
                following = self._pager.after(state, answer)
                if not answer.count:  # the list has become shorter meanwhile
                    if any(_records(one) for one in waiting):
                        raise self._pager.gap(state, "pages after it have records")
                    yield Page(lines, answer, state, None)
                    return
                following = states[0] if states else following
                yield Page(lines, answer, state, following)
            if following is not None:
                ask(following)


def _records(page: Future[tuple[bytes, Answer]]) -> int:
    """How many records a page has that is under way; none where it fails."""
    with suppress(TongquError):
        return page.result()[1].count
    return 0
