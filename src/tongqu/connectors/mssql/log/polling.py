"""A log that is asked again and again for what is behind a place, since its server does not send by itself."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from time import monotonic

import pyarrow as pa

from tongqu.connectors.mssql.log.session import Followed, Session
from tongqu.core.data import Batch, Position
from tongqu.core.errors import TongquError
from tongqu.core.log import Follow, Log
from tongqu.kit.tables.system import Reach

_POLL, _SOON, _READY, _SAY = 0.25, 0.05, 0.05, 0.5
"""How long to wait between questions, also where an end is near, for the writer, and between signs of life; seconds."""
_FEW = 256


class Polling(Log):
    """What both ways have in common: the loop, and two connections, one that reads and one that is asked for the
    rest."""

    def __init__(self, reach: Reach, followed: Sequence[Followed]):
        self.reach = reach
        self.followed = followed
        self.left = list(followed)
        """Those of them that are not lost while the log is read."""
        self.more = False
        """Whether there was more behind what the last step gave."""
        self.reading, self.asking = Session(reach), Session(reach)
        self._asked = Follow({})

    @abstractmethod
    def begun(self, some: Sequence[Followed]) -> Position:
        """A place behind which all changes of these are told, while every later read sees what was before it."""

    def begin(self) -> Position:
        """See Log.begin."""
        return self.begun(self.followed)

    def rejoin(self, dataset: str) -> Position:
        """See Log.rejoin."""
        return self.begun([one for one in self.followed if one.dataset.name == dataset])

    def lose(self, one: Followed, error: TongquError) -> None:
        """Follow this table no more, or raise the error."""
        self.left.remove(one)
        self._asked.lose(one.dataset.name, error)

    @abstractmethod
    def known(self, at: Position) -> None:
        """Raise LostPositionError if the server does not have what is behind a place."""

    @abstractmethod
    def step(self, at: Position, follow: Follow) -> Iterator[Batch]:
        """What is behind a place, up to some other: the last batch has that place as its position. Nothing where
        nothing is. Raises LostPositionError if the server no longer has what is behind it."""

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        at, said, few = follow.after, monotonic(), False
        self._asked, self.left = follow, list(self.followed)
        for one in self.followed:
            one.afresh()
        self.known(at)
        while not follow.stop.is_set() and (follow.until is None or not self.reached(at, follow.until)):
            if few:
                follow.ready(_READY)
            rows = 0
            for batch in self.step(at, follow):
                rows += batch.rows.num_rows
                at, said = batch.position or at, monotonic()
                yield batch
                if follow.stop.is_set():
                    return
            few = 0 < rows < _FEW
            if self.more:
                continue
            if monotonic() - said > _SAY:
                said = monotonic()
                yield self.sign(at)
            follow.stop.wait(_POLL if follow.until is None else _SOON)

    def sign(self, at: Position) -> Batch:
        """A batch that only says where the log was read to."""
        one = self.followed[0]
        return Batch(one.dataset.name, empty(one.schema()), at, kind="heartbeat")

    def close(self) -> None:
        """See Log.close."""
        self.reading.close()
        self.asking.close()


def empty(schema: pa.Schema) -> pa.RecordBatch:
    """No rows of a schema."""
    return pa.RecordBatch.from_pylist([], schema=schema)
