"""A line of frames: waits for whole ones, and hands messages on in the order in which they came."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from time import monotonic
from typing import Any, Generic, TypeVar

from tongqu.kit.handed.line import Letter, Line
from tongqu.kit.pipe import Pipe

F = TypeVar("F")


class FramedLine(Line, Generic[F]):
    """A Line over a Pipe. Subclasses take frames out of its buffer and act on them; messages go to `_ready`."""

    silent: float | None = None
    """Seconds without any sign of life after which the server is taken for lost."""

    def __init__(self, settings: Any):
        self._pipe = Pipe(settings)
        self.where = self._pipe.where
        self._ready: deque[tuple[str, Letter]] = deque()

    @abstractmethod
    def _taken(self, buffer: bytearray) -> F | None:
        """Take the first whole frame out of a buffer; None if there is none. Raises ValueError for what is no frame."""

    @abstractmethod
    def _does(self, frame: F) -> None:
        """Act on a frame."""

    @property
    def secured(self) -> str:
        """See Line.secured."""
        return self._pipe.secured

    def next(self, seconds: float) -> tuple[str, Letter] | None:
        """See Line.next."""
        deadline = monotonic() + seconds
        while not self._ready and self._handle(deadline):
            pass
        if self.silent is not None and monotonic() - self._pipe.heard > self.silent:
            raise self._pipe.lost("the server is silent")
        return self._ready.popleft() if self._ready else None

    def answer(self, seconds: float) -> bool:
        """See Line.answer."""
        return self._handle(monotonic() + seconds)

    def _frame(self, deadline: float) -> F | None:
        """The next frame; None if none has come whole by then."""
        while True:
            try:
                found = self._taken(self._pipe.buffer)
            except ValueError as error:
                raise self._pipe.lost(f"what came cannot be read: {error}") from None
            if found is not None or not self._pipe.fill(deadline):
                return found

    def _awaited(self, deadline: float) -> F:
        """The next frame, which must come."""
        frame = self._frame(deadline)
        if frame is None:
            raise self._pipe.lost("no answer in time")
        return frame

    def _handle(self, deadline: float) -> bool:
        """Wait for a frame and act on it; False if none has come by then."""
        frame = self._frame(deadline)
        if frame is None:
            return False
        try:
            self._does(frame)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            why = f"what came makes no sense: {type(error).__name__} {error}"
            raise self._pipe.lost(why) from error
        return True
