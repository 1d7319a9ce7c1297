"""What a log's reader hands to those who write: bounded in rows and bytes, so that neither runs away from the other."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING, Literal

from tongqu.core.data import Batch, Position
from tongqu.core.errors import TongquError

if TYPE_CHECKING:
    from tongqu.engine.following.stream import Followed

ROWS, BYTES = 200_000, 64 << 20


@dataclass(frozen=True)
class Item:
    """A batch for a stream, why the log has lost a stream, a place where the log may be cut, or the end of the log."""

    kind: Literal["batch", "lost", "cut", "end"]
    followed: Followed | None = None
    batch: Batch | None = None
    position: Position | None = None
    error: TongquError | None = None


class Queue:
    """From one reader to one writer."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._condition = Condition()
        self._rows = self._bytes = 0
        self.cuts = 0
        """Places that wait where the log may be cut."""
        self._closed = self._hungry = False

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return self._rows

    def put(self, item: Item) -> bool:
        """Wait for room and add an item; False if nobody takes any more."""
        rows = item.batch.rows.num_rows if item.batch else 0
        size = item.batch.rows.nbytes if item.batch else 0
        with self._condition:
            while not self._closed and self._rows and (self._rows + rows > ROWS or self._bytes + size > BYTES):
                self._condition.wait()
            if self._closed:
                return False
            if item.kind == "cut" and self._items and self._items[-1].kind == "cut":
                self._items[-1] = item  # nothing came between the two
            else:
                self._items.append(item)
                self.cuts += item.kind == "cut"
            self._rows += rows
            self._bytes += size
            self._condition.notify_all()
            return True

    def take(self, seconds: float) -> Item | None:
        """The next item; None if none came for so long, or if nobody gives any more."""
        with self._condition:
            if not self._items and not self._closed:
                self._hungry = True
                self._condition.notify_all()
                self._condition.wait(seconds)
            self._hungry = False
            if not self._items:
                return None
            item = self._items.popleft()
            self.cuts -= item.kind == "cut"
            if item.batch is not None:
                self._rows -= item.batch.rows.num_rows
                self._bytes -= item.batch.rows.nbytes
                self._condition.notify_all()
            return item

    def quiet(self, until: float) -> None:
        """Wait until whoever takes waits for more, at most until an instant of `time.monotonic`."""
        with self._condition:
            while not (self._closed or (self._hungry and not self._items)):
                left = until - time.monotonic()
                if left <= 0:
                    return
                self._condition.wait(left)

    @property
    def closed(self) -> bool:
        """Whether nobody gives any more."""
        return self._closed

    def close(self) -> None:
        """Neither give nor take any more; what waits is dropped."""
        with self._condition:
            self._closed = True
            self._items.clear()
            self._condition.notify_all()
