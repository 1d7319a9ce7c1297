"""Asks for the lists of several parents at the same time; their records come in the parents' order."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

from tongqu.core.data import Position
from tongqu.core.errors import AnswerError, CancelledError, TongquError
from tongqu.kit.answers.paging import Answer, Pager
from tongqu.kit.answers.walking import Page

if TYPE_CHECKING:
    from tongqu.kit.lists.endpoint import Endpoint
    from tongqu.kit.lists.parents import Target

_PAGES = 32
"""About so many pages are kept of all lists that were begun ahead, at least one of each."""
_MOST = 8
"""At most so many pages are kept of one list."""
_LONG = 4 << 20
"""A list of more bytes is gone on with when its turn has come; one in a single answer is then asked for again, and no
other after it before its turn."""
_SOON = 0.2


@dataclass(frozen=True)
class Part:
    """Records of a list, a line each. `whole`: they end a page, that of `state`, and `next` is the one after it."""

    lines: bytes
    count: int
    state: Position | None = None
    next: Position | None = None
    whole: bool = True


@dataclass
class _Begun:
    """What is known of a list before its turn: its first parts, and the walk that goes on, if it does."""

    parts: list[Part] = field(default_factory=list)
    pager: Pager | None = None
    state: Position | None = None
    asked: Future[tuple[bytes, Answer]] | None = None
    """The page of the state, or its error."""
    again: bool = False
    """It is too long to be kept: it is asked for when its turn has come."""


class Ahead:
    """Reads lists one after another, of which up to `width` are being asked for at the same time.

    Of a list whose turn has not come its first pages are kept, of all lists together about 32, and of each no more than
    4 MiB and a page; a failure is raised when its list's turn has come, after all records before it. With a width of 1
    nothing is asked for before its turn. How many calls are under way in all is for the client to say.
    """

    def __init__(self, endpoint: Endpoint, width: int, *, streams: bool, stop: Event | None = None):
        """`streams`: a list in one answer is read while it arrives. `stop` ends such an answer early."""
        self._endpoint = endpoint
        self._width = width
        self._streams = streams and endpoint.streams()
        self._stop = stop or Event()
        self._long = False
        self._deep = min(max(_PAGES // width, 1), _MOST)

    def lists(
        self, targets: Iterable[Target], until: Position | None = None
    ) -> Generator[tuple[Target, Iterator[Part]], None, None]:
        """Each list with its records; take them before the next list. None that lies after the position `until` is
        asked for. Errors say which parent's list they belong to. Closing the iterator ends all calls under way."""
        if self._width == 1:
            for target in targets:
                yield target, self._named(target, self._parts(target))
            return
        halt = Event()
        with ThreadPoolExecutor(self._width, thread_name_prefix="tongqu-list") as pool:
            waiting: deque[tuple[Target, Future[_Begun]]] = deque()
            try:
                for target, begun in self._queue(pool, waiting, iter(targets), until, halt):
                    yield target, self._named(target, self._rest(target, begun))
            finally:
                halt.set()
                for _, future in waiting:
                    future.cancel()

    def _queue(
        self,
        pool: ThreadPoolExecutor,
        waiting: deque[tuple[Target, Future[_Begun]]],
        targets: Iterator[Target],
        until: Position | None,
        halt: Event,
    ) -> Iterator[tuple[Target, Future[_Begun]]]:
        """The lists in order, as many begun as there may be. What goes wrong with the parents waits for its turn."""
        more, failed = True, None
        while True:
            while more and len(waiting) < (1 if self._long else 2 * self._width):
                try:
                    target = next(targets, None)
                except TongquError as error:
                    target, failed = None, error
                if target is not None:
                    waiting.append((target, pool.submit(self._begin, target, halt)))
                more = target is not None and not target.reaches(until)
            if waiting:
                yield waiting.popleft()
            elif failed is not None:
                raise failed
            else:
                return

    def _begin(self, target: Target, halt: Event) -> _Begun:
        """The first parts of a list whose turn has not come; works in a thread of its own."""
        endpoint = self._endpoint
        if self._long:
            return _Begun(again=True)
        if self._streams and (whole := self._whole(target, halt)) is not None:
            return whole
        begun = _Begun(pager=endpoint.pager())
        assert begun.pager is not None  # noqa: S101  # made here
        begun.state, size = target.state or begun.pager.first(), 0
        while begun.state is not None:
            begun.asked = Future()
            try:
                lines, answer = endpoint.fetch(begun.state, target.bounds, begun.pager, halt)
            except TongquError as error:
                begun.asked.set_exception(error)
                return begun
            begun.asked.set_result((lines, answer))
            size += len(lines)
            if len(begun.parts) + 1 >= self._deep or size > _LONG or begun.pager.ahead(begun.state, answer) is not None:
                return begun
            try:
                following = begun.pager.after(begun.state, answer)
            except TongquError as error:
                begun.asked = Future()
                begun.asked.set_exception(error)
                return begun
            begun.parts.append(self._part(Page(lines, answer, begun.state, following)))
            begun.state = following
        return begun

    def _whole(self, target: Target, halt: Event) -> _Begun | None:
        """A list in one answer; None where it is no such list."""
        size, parts = 0, []
        with closing(self._streamed(target, halt)) as arriving:
            for part in arriving:
                parts.append(part)
                size += len(part.lines)
                if size > _LONG:
                    self._long = True
                    return _Begun(again=True)
        return _Begun(parts) if parts else None

    def _rest(self, target: Target, future: Future[_Begun]) -> Iterator[Part]:
        """What was kept of a list, then what follows."""
        begun = self._awaited(future)
        if begun.again:
            yield from self._parts(target)
            return
        yield from begun.parts
        if begun.state is not None:
            with closing(self._endpoint.walk(begun.state, target.bounds, begun.pager, begun.asked)) as pages:
                for page in pages:
                    yield self._part(page)

    def _awaited(self, future: Future[_Begun]) -> _Begun:
        while not future.done():
            wait([future], _SOON)
            if self._stop.is_set():
                raise CancelledError("the read was stopped")
        return future.result()

    def _parts(self, target: Target) -> Iterator[Part]:
        """All of a list whose turn has come."""
        if self._streams:
            came = False
            for part in self._streamed(target, self._stop):
                came = True
                yield part
            if came:
                return
        with closing(self._endpoint.walk(target.state, target.bounds)) as pages:
            for page in pages:
                yield self._part(page)

    def _streamed(self, target: Target, stop: Event) -> Generator[Part, None, None]:
        """A list in one answer while it arrives; nothing where it must be read whole."""
        endpoint = self._endpoint
        with endpoint.streamed(target.bounds, endpoint.pager(), stop, texts=endpoint.texts) as cut:
            if cut is None:
                self._streams = False
                return
            for lines in cut:
                yield Part(lines, lines.count(b"\n"), whole=False)
            yield Part(b"", 0)

    def _part(self, page: Page) -> Part:
        if page.answer.count and not page.lines:
            where = self._endpoint.where
            raise AnswerError(f"{where}: records were announced and none came", path=where)
        return Part(page.lines, page.answer.count, page.state, page.next)

    @staticmethod
    def _named(target: Target, parts: Iterator[Part]) -> Iterator[Part]:
        """The parts; an error says below which parent it was."""
        try:
            yield from parts
        except CancelledError:
            raise
        except TongquError as error:
            target.blame(error)
            raise
