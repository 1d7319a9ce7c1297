"""Makes the calls of some work: several in flight, each noted before it goes out and its outcome before the next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NoReturn

from tongqu.core.errors import ConnectError, TongquError, WriteError
from tongqu.kit.faults import crash_point
from tongqu.kit.remote.calls import SENT, Known, Scope
from tongqu.kit.remote.effect import Op, Outcome, Result, Seen
from tongqu.kit.remote.journal import Books, Journal, now
from tongqu.kit.remote.manner import Manner
from tongqu.kit.remote.work import Work
from tongqu.kit.remote.writer import REFUSED, Keyed, Writer, judged

_LONGEST_PAUSE = 5.0

Answer = list[Outcome]
Doubt = tuple[list[int], bool]
"""Effects of one call whose outcome nobody knows, and whether they are the whole call as it was sent."""


@dataclass
class Round:
    """Where calls stand while each is made once."""

    queue: deque[list[int]]
    again: list[list[int]] = field(default_factory=list)
    """Calls to make again."""
    doubtful: list[Doubt] = field(default_factory=list)

    def sort(self, work: Work, call: list[int], answer: Answer, *, divides: bool) -> None:
        """Where the effects of an answered call go next."""
        refused = answer[0] if answer[0].result is Result.FAILED else None
        if divides and refused is not None and len(call) > 1 and all(outcome is refused for outcome in answer):
            for place in call:
                work.outcomes[place] = None
            middle = len(call) // 2  # the whole call was refused: for which of its rows?
            self.queue += [call[:middle], call[middle:]]
            return
        unknown = [place for place, outcome in zip(call, answer, strict=True) if outcome.result is Result.UNKNOWN]
        if unknown:
            self.doubtful.append((unknown, len(unknown) == len(call)))
        free = [place for place, outcome in zip(call, answer, strict=True) if outcome.result is Result.AGAIN]
        if free:
            self.again.append(free)


class Sending:
    """Sends work and settles every effect of it; `hold` raises FencedError once another process has taken over."""

    def __init__(self, writer: Writer, journal: Journal, manner: Manner, scope: Scope, hold: Callable[[Books], object]):
        self._writer = writer
        self._journal = journal
        self._manner = manner
        self._scope = scope
        self._hold = hold
        self._pool: ThreadPoolExecutor | None = None
        self._stop: TongquError | None = None
        """Why no further call goes out: a login, a right, a certificate."""
        self._pausing = threading.Event()
        """Never set: what a pause waits for."""

    def send(self, work: Work, places: Sequence[int], known: dict[int, Known]) -> None:
        """Bring the effects at these places to an outcome of ok, failed or unknown, which is noted in the ledger and in
        `work`. `known` is what earlier attempts left of them. Raises ConnectError if the peer does not answer."""
        for wave in work.waves(places):
            self._wave(work, wave, known)

    def _wave(self, work: Work, places: Sequence[int], known: dict[int, Known]) -> None:
        doubtful = [p for p in places if p in known and known[p].outcome in (SENT, Result.UNKNOWN)]
        fresh = [place for place in places if place not in set(doubtful)]
        for place in doubtful:
            work.outcomes[place] = Outcome(Result.UNKNOWN, detail=known[place].detail or "the process ended meanwhile")
        waiting = work.calls(fresh, self._writer.most)
        asked = _earlier_calls(doubtful, known)
        for attempt in range(self._manner.attempts + 1):
            again, held = self._resolve(work, asked)
            waiting = [*again, *waiting]
            if not waiting and not held:
                return
            if attempt == self._manner.attempts:
                self._give_up(work, [*waiting, *(call for call, _ in held)])
            if attempt:
                self._pause(attempt)
            round = self._round(work, waiting)
            waiting, asked = round.again, [*round.doubtful, *held]

    def _round(self, work: Work, calls: list[list[int]]) -> Round:
        """Make these calls once."""
        round, flying = Round(deque(calls)), dict[Future[Answer], list[int]]()
        answered: list[tuple[list[int], Answer]] = []
        try:
            while round.queue or flying or answered:
                free = 0 if self._stop else self._manner.concurrency - len(flying)
                starting = [round.queue.popleft() for _ in range(min(len(round.queue), free))]
                self._note(work, answered, starting)
                for call, answer in answered:
                    round.sort(work, call, answer, divides=self._writer.divides)
                if starting:
                    crash_point("before_call")
                flying |= {self._threads().submit(self._call, work, call): call for call in starting}
                done = wait(flying, return_when=FIRST_COMPLETED).done if flying else set()
                answered = [(flying[future], future.result()) for future in done]
                for future in done:
                    del flying[future]
                if self._stop and not flying and not answered:
                    raise self._stop
        except BaseException:
            self._note_last(work, answered, flying)
            raise
        return round

    def _note_last(
        self, work: Work, answered: Sequence[tuple[list[int], Answer]], flying: dict[Future[Answer], list[int]]
    ) -> None:
        """Note the answers that are still to come, though no further call goes out (another process has taken over):
        without them nobody would know what became of these calls."""
        wait(flying)
        came = [(call, future.result()) for future, call in flying.items() if future.exception() is None]
        with suppress(TongquError):
            self._note(work, [*answered, *came], ())

    def _note(self, work: Work, answered: Sequence[tuple[list[int], Answer]], starting: Sequence[list[int]]) -> None:
        """In one transaction: what came back, and what goes out now."""
        if not answered and not starting:
            return
        settled = [
            (work.ids[place], outcome) for call, answer in answered for place, outcome in zip(call, answer, strict=True)
        ]
        for call, answer in answered:
            for place, outcome in zip(call, answer, strict=True):
                work.outcomes[place] = outcome
                work.peers[place] = outcome.peer or work.peers[place]
        at = now()
        with self._journal.transaction() as books:
            books.calls.settle(self._scope, settled, keep_rows=self._writer.undoes, at=at)
            if starting:
                self._hold(books)
            first = books.calls.next_call() if starting else 0
            for number, call in enumerate(starting, first):
                ids, keys = [work.ids[place] for place in call], [work.keys[place] for place in call]
                books.calls.sent(self._scope, ids, keys, number, at)
                if self._manner.whole_calls:
                    work.belong(call, number)

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._manner.concurrency, thread_name_prefix="tongqu-call")
        return self._pool

    def _call(self, work: Work, call: list[int]) -> Answer:
        """One call; whatever ends it becomes an outcome, except what must stop the run."""
        effects = work.effects(call)
        try:
            answer = list(self._writer.send(effects))
        except TongquError as error:
            try:
                outcome = judged(error)
            except TongquError:
                self._stop = error
                return [Outcome(Result.AGAIN, detail=error.message)] * len(call)
            if isinstance(error, REFUSED) or self._writer.keyed is Keyed.NO:
                return [outcome] * len(call)
            return [replace(outcome, result=Result.UNKNOWN)] * len(call)  # the same call again, under the same key
        finally:
            crash_point("after_call")
        if len(answer) != len(call):
            raise WriteError(f"{type(self._writer).__name__} gave {len(answer)} outcomes for {len(call)} rows")
        return answer

    # ---- calls that nobody knows the outcome of

    def _resolve(self, work: Work, asked: Sequence[Doubt]) -> tuple[list[list[int]], list[Doubt]]:
        """What to do about effects of unknown outcome: those calls to make again, and those to ask for once more. The
        others are settled: found at the peer, or unknown for good."""
        again: list[list[int]] = []
        held: list[Doubt] = []
        for call, complete in asked:
            if self._writer.keyed is Keyed.ROW or (self._writer.keyed is Keyed.CALL and complete):
                again.append(call)
            elif self._writer.looks:
                missing, unseen = self._look(work, call)
                again += work.calls(missing, self._writer.most)
                if unseen:
                    held.append((unseen, False))
            elif self._manner.unknown == "repeat":
                again += work.calls(call, self._writer.most)
        return again, held

    def _look(self, work: Work, call: list[int]) -> tuple[list[int], list[int]]:
        """Read effects back: those that did not take place, and those that nobody can tell now."""
        seen = self.seen(work, call)
        took = {place: _took_place(work.ops[place], seen[place]) for place in call}
        found = [place for place in call if took[place]]
        for place in found:
            work.outcomes[place] = Outcome(Result.OK, detail="found by reading back")
        with self._journal.transaction() as books:
            settled = [(work.ids[place], Outcome(Result.OK, detail="found by reading back")) for place in found]
            books.calls.settle(self._scope, settled, keep_rows=self._writer.undoes, at=now())
        return [place for place in call if took[place] is False], [place for place in call if took[place] is None]

    def seen(self, work: Work, places: Sequence[int]) -> dict[int, Seen]:
        """What the peer has of these rows, read in calls of their own; unknown where it does not answer."""
        calls = work.calls(places, self._writer.most)
        answers = self._threads().map(lambda call: self._seen(work, call), calls)
        found: dict[int, Seen] = {}
        for call, answer in zip(calls, answers, strict=True):
            found |= zip(call, answer, strict=True)
        return found

    def _seen(self, work: Work, call: list[int]) -> Sequence[Seen]:
        seen: Sequence[Seen] = [Seen.UNKNOWN] * len(call)
        for attempt in range(self._manner.attempts):
            if attempt:
                self._pause(attempt)
            try:
                seen = self._writer.look(work.effects(call))
            except TongquError as error:
                if judged(error).result is Result.FAILED:
                    raise
            if Seen.UNKNOWN not in seen:
                break
        return seen

    def _pause(self, attempt: int) -> None:
        self._pausing.wait(min(self._manner.pause_seconds * 2 ** (attempt - 1), _LONGEST_PAUSE))

    def _give_up(self, work: Work, calls: Sequence[list[int]]) -> NoReturn:
        """After the last attempt: the chunk is tried later."""
        said = next((o.detail for call in calls for p in call if (o := work.outcomes[p]) and o.detail), "")
        raise ConnectError(
            f"the peer did not carry out a call in {self._manner.attempts} attempts{': ' if said else ''}{said}",
            path=self._scope.stream,
            hint="what went through is noted; run the same command again and only the rest is sent",
        )

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None


def _took_place(op: Op, seen: Seen) -> bool | None:
    """Whether an effect of unknown outcome took place, by what is seen; None: not to be told.

    A row to be created that is there counts as created, also with other content: the peer may have completed it. An
    update that is not there as sent is sent again.
    """
    if seen is Seen.UNKNOWN:
        return None
    if op is Op.DELETE:
        return seen is Seen.ABSENT
    return seen is Seen.SAME or (op is Op.CREATE and seen is Seen.OTHER)


def _earlier_calls(places: Sequence[int], known: dict[int, Known]) -> list[Doubt]:
    """Effects that an earlier attempt sent, by the calls they went in, and whether each call is whole."""
    calls: dict[int, list[int]] = {}
    for place in places:
        calls.setdefault(known[place].call, []).append(place)
    return [(call, len(call) == known[call[0]].size) for call in calls.values()]
