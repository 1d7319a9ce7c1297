"""Takes back effects that went through, by the peer's own compensating calls, and notes how far each is."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tongqu.core.errors import TongquError
from tongqu.kit.remote.effect import Outcome, Result
from tongqu.kit.remote.journal import Books, Journal, now
from tongqu.kit.remote.manner import Manner
from tongqu.kit.remote.work import Work
from tongqu.kit.remote.writer import Writer, judged


def take_back(
    writer: Writer, journal: Journal, manner: Manner, work: Work, hold: Callable[[Books], object] | None = None
) -> None:
    """Undo the effects in `work.half_undone`, the last first; those that are taken back move to `work.undone`.

    What is to be undone is noted before the first call goes out, so a process that dies in it is followed up.
    """
    places = sorted(work.half_undone, reverse=True)
    with journal.transaction() as books:
        if hold is not None:
            hold(books)
        for place in places:
            books.calls.undoing([work.ids[place]], "planned", work.half_undone[place], now())
    for place in places:
        outcome = _undo(writer, manner, work, place)
        state = "done" if outcome.result is Result.OK else "failed"
        why = work.half_undone[place]
        said = why if state == "done" else f"{why}; it could not be undone: {outcome.detail}"
        with journal.transaction() as books:
            books.calls.undoing([work.ids[place]], state, said, now())
        if state == "done":
            work.undone[place] = work.half_undone.pop(place)
        else:
            work.half_undone[place] = said


def _undo(writer: Writer, manner: Manner, work: Work, place: int) -> Outcome:
    effects = work.effects([place])
    outcome = Outcome(Result.UNKNOWN)
    pausing = threading.Event()
    for attempt in range(manner.attempts):
        if attempt:
            pausing.wait(min(manner.pause_seconds * 2 ** (attempt - 1), 5.0))
        try:
            outcome = writer.undo(effects)
        except TongquError as error:
            outcome = judged(error)
        if outcome.result in (Result.OK, Result.FAILED):
            break
    return outcome
