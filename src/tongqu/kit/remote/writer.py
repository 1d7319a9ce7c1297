"""What a connector brings to be written to call by call: how to send effects, and what the peer promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from tongqu.core.errors import (
    CallRefusedError,
    CertificateError,
    ConnectError,
    DataError,
    PeerFailedError,
    RateLimitedError,
    RestingError,
    TongquError,
    UnknownOutcomeError,
)
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result, Seen

if TYPE_CHECKING:
    import pyarrow as pa


class Keyed(StrEnum):
    """What the peer does with idempotency keys."""

    NO = "no"
    CALL = "call"
    """A call that comes again with its key (`Effects.id`) has its effect once and is answered as the first time."""
    ROW = "row"
    """Each row of a call has its own key (`Effects.ids`), in whatever call it comes again; also where sending a row
    twice is the same as sending it once (PUT of the whole row under its key)."""


class Writer(ABC):
    """Sends the effects of one stream. `send`, `look` and `undo` are called from several threads at once."""

    ops: frozenset[Op]
    """What the peer can do."""
    batch: int = 1
    """Most effects that one call takes."""
    keyed: Keyed = Keyed.NO
    looks: bool = False
    """Whether `look` works."""
    undoes: bool = False
    """Whether `undo` works."""
    lists: bool = False
    """Whether `listing` works."""
    gathers: bool = False
    """Whether rows wait at home until all of the stream have come, and are sent then: calls are made of more rows than
    come at once. Only for append."""
    divides: bool = True
    """Whether a call that is refused as a whole is halved, to find the rows that it is refused for."""
    together: tuple[str, ...] = ()
    """Columns: rows that differ in them never go in the same call."""
    alone: bool = False
    """Whether the peer has only rows that this project wrote, so a row that it has not sent is a new one."""

    def most(self, op: Op) -> int:
        """Most effects of a kind that one call takes; `batch`, unless the kinds differ."""
        del op
        return self.batch

    @abstractmethod
    def send(self, effects: Effects) -> Sequence[Outcome]:
        """Make one call, once, with these effects of one kind; an outcome for each, in order.

        May raise instead, for all of them: CallRefusedError or a DataError (the peer refused; several are then halved
        down to those that it refuses), RateLimitedError, RestingError or ConnectError (it was certainly not carried
        out), UnknownOutcomeError or PeerFailedError (nobody knows), any other error (not carried out, and the run
        must stop: a login, a right, a certificate).
        """

    def look(self, effects: Effects) -> Sequence[Seen]:
        """Read back whether these effects took place. For rows without key the peer must find them by `ids`."""
        raise NotImplementedError(f"{type(self).__name__} cannot read {len(effects)} rows back")

    def undo(self, effects: Effects) -> Outcome:
        """Compensate one effect that went through. Called again after a crash, it must answer ok for what is undone."""
        raise NotImplementedError(f"{type(self).__name__} cannot undo {effects.op}")

    def listing(self) -> Iterator[pa.Table]:
        """The key columns, and only these, of all rows that the peer has."""
        raise NotImplementedError(f"{type(self).__name__} cannot list what the peer has")

    def close(self) -> None:
        """Release connections; may be called twice."""


NOT_CARRIED_OUT = (RateLimitedError, RestingError)
NOBODY_KNOWS = (UnknownOutcomeError, PeerFailedError)
REFUSED = (CallRefusedError, DataError)


def judged(error: TongquError) -> Outcome:
    """The outcome of a call that ended with this error; raises it again if the run must stop."""
    if isinstance(error, REFUSED):
        field = error.field if isinstance(error, DataError) else ""
        return Outcome(Result.FAILED, detail=error.message, status=getattr(error, "status", 0), field=field)
    again = isinstance(error, NOT_CARRIED_OUT) or (
        isinstance(error, ConnectError) and not isinstance(error, CertificateError)
    )
    if again or isinstance(error, NOBODY_KNOWS):
        result = Result.AGAIN if again else Result.UNKNOWN
        return Outcome(result, detail=error.message, status=getattr(error, "status", 0))
    raise error
