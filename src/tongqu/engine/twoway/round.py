"""One round of a two-way sync: what was left open is ended, changes are found, decided, written, and remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Literal

from tongqu.core.data import Position
from tongqu.core.errors import ConnectorError
from tongqu.engine.twoway.finding import Remembered
from tongqu.engine.twoway.forms import Done, meant, reformed, restored
from tongqu.engine.twoway.packing import Shape
from tongqu.engine.twoway.place import Place, Want
from tongqu.engine.twoway.saga import Item, Outcomes, Saga
from tongqu.meaning.agreeing import Decision, Known, Policy, Row, decide, ruled
from tongqu.store.agreements import Agreed, Overruled, Settlement, Waiting
from tongqu.store.twoway import Book

_TOGETHER = 500
"""Records that are decided and written together."""
_AGAIN = 3
"""So often a round looks once more at records that somebody changed while they were written."""
Stage = Literal["shadow", "one_way", "two_way"]


@dataclass
class Found:
    """What a round did, in numbers of records. `differences`: those that still differ at its end (drafts do not count).
    `seconds` are the times from when a change was noticed until it was agreed on, one for each batch with its size."""

    records: int = 0
    changed: int = 0
    written: int = 0
    differences: int = 0
    conflicts: int = 0
    overruled: int = 0
    held: int = 0
    refused: int = 0
    stale: int = 0
    errors: int = 0
    recovered: int = 0
    would: dict[str, int] = field(default_factory=dict)
    unreached: dict[str, str] = field(default_factory=dict)
    seconds: list[tuple[float, int]] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    """Records that somebody changed while they were written, which the round looks at once more."""

    @property
    def p95_ms(self) -> float:
        """95 of 100 changes were agreed on after at most so long."""
        total, passed = sum(size for _, size in self.seconds), 0
        for seconds, size in sorted(self.seconds):
            passed += size
            if passed >= 0.95 * total:
                return seconds * 1000
        return 0.0


@dataclass
class TwoWay:
    """A two-way sync that is ready to run. `policy.takes` must be what `stage` allows: see `taken`."""

    name: str
    shape: Shape
    places: Mapping[str, Place]
    policy: Policy
    book: Book
    new_id: Callable[[], str]
    clock: Callable[[], float]
    stage: Stage = "two_way"
    compensates: bool = True
    """Whether what others took is taken back where one side refuses a record."""
    whole: bool = False
    """Compare all rows, also of sides that tell what is new."""
    stop: Event = field(default_factory=Event)
    tables: Mapping[str, str] = field(default_factory=dict)
    """Which table each side is: one that is another than before has deleted nothing of what it lacks."""

    def round(self) -> Found:
        """Do one. Sides that cannot be reached are left out, and caught up with by a later round."""
        found = Found()
        saga = Saga(self.name, self.book, self.places, self.new_id)
        for _, outcomes in saga.recover(self._remembered):
            found.recovered += 1
            self._counted(found, outcomes)
            found.differences -= "refused" not in outcomes and _open(outcomes)  # this round looks at it
        self.book.joined(self.name, self.tables)
        positions: dict[str, Position | None] = {}
        keys = list(self._keys(found, positions))  # before anything is written: reading may keep a file from it
        for start in range(0, len(keys), _TOGETHER):
            if self.stop.is_set():
                return found
            self._agree(saga, keys[start : start + _TOGETHER], found)
        for _ in range(_AGAIN):
            keys, found.again = found.again, []
            found.differences, found.records = found.differences - len(keys), found.records - len(keys)
            for start in range(0, len(keys), _TOGETHER):
                self._agree(saga, keys[start : start + _TOGETHER], found)
        if not found.unreached:
            self.book.advance(self.name, positions)
        found.unreached |= saga.unreached
        found.errors = found.refused + len(found.unreached)
        return found

    # ---- what may have changed

    def _keys(self, found: Found, positions: dict[str, Position | None]) -> Iterator[str]:
        """Each key once."""
        given: set[str] = set()
        remembered: Remembered | None = None
        for key in (*self.book.ruled(self.name), *self.book.behind(self.name)):
            if key not in given:
                given.add(key)
                yield key
        for side, place in self.places.items():
            try:
                keys, positions[side] = place.touched(self.book.position(self.name, side))
                pieces: Iterator[Sequence[str]]
                if keys is not None and not self.whole:
                    pieces = iter((keys,))
                else:
                    remembered = remembered or Remembered(self.book, self.name, self.shape)
                    pieces = remembered.different(place)
                for piece in pieces:
                    fresh = [key for key in dict.fromkeys(piece) if key not in given]
                    given.update(fresh)
                    yield from fresh
            except ConnectorError as error:
                found.unreached[side] = error.code

    # ---- deciding

    def _agree(self, saga: Saga, keys: list[str], found: Found) -> None:
        began = self.clock()
        sides = self._now(keys, found)
        known = self.book.agreed(self.name, keys)
        waiting = {one.key: one for one in self.book.waiting(self.name, keys)}
        items: list[Item] = []
        quiet = _Quiet()
        for key in keys:
            now = {side: rows.get(key) for side, rows in sides.items()}
            before = known.get(key) or Agreed(key, None, None)
            self._one(before, now, waiting.get(key), (items, quiet, found))
        if self.stage == "shadow":
            items, quiet.waiting = [], []
        self.book.settle(self.name, quiet.settlement())
        for item, outcomes in saga.carry_out(items, self._remembered):
            self._counted(found, outcomes)
            if "stale" in outcomes and "refused" not in outcomes:
                found.again.append(item.id)
        if items:
            found.seconds.append((self.clock() - began, len(items)))

    def _now(self, keys: Sequence[str], found: Found) -> dict[str, Mapping[str, str]]:
        sides = {}
        for side, place in self.places.items():
            try:
                sides[side] = place.fetch(keys)
            except ConnectorError as error:
                found.unreached[side] = error.code
        return sides

    def _one(
        self,
        before: Agreed,
        now: Mapping[str, str | None],
        waits: Waiting | None,
        into: tuple[list[Item], _Quiet, Found],
    ) -> None:
        items, quiet, found = into
        found.records += 1
        rows = {side: meant(self.shape, before, side, text) for side, text in now.items()}
        if waits and not waits.ruling and _same(waits.sides, now):
            found.conflicts += waits.kind == "conflict"
            found.differences += 1
            return
        decision = self._decided(before, rows, now, waits)
        found.held += bool(decision.held)
        if decision.asks:
            found.conflicts += 1
            found.differences += 1
            quiet.waiting.append(Waiting(before.key, "conflict", now))
            return
        settled = [waits.id] if waits else []
        if self.stage == "shadow" and decision.writes:
            found.differences += 1
            for side in decision.writes:
                found.would[side] = found.would.get(side, 0) + 1
            return
        found.differences += bool(decision.drifts)
        found.changed += bool(decision.changed)
        found.overruled += len(decision.lost)
        text = self.shape.text(decision.row)
        overruled = [[side, self.shape.text(said), text] for side, said in decision.lost.items()]
        if not decision.writes:
            after = self._after(before, text, decision, now, {})
            after = reformed(after, before, self.shape, self.policy, Done(now, decision.changed))
            quiet.add(after, before, overruled, settled)
            return
        wants = [(side, Want(before.key, now[side], text)) for side in decision.writes]
        note = {
            "before": [before.row, before.last, dict(before.bases), before.version, before.origin, before.made,
                       before.echoes],
            "row": text, "now": dict(now), "left": [*decision.held, *decision.drifts], "origin": decision.origin,
            "changed": decision.changed, "overruled": overruled, "settled": settled,
        }  # fmt: skip
        items.append(Item(before.key, wants, whole=False, refusal=self.compensates, note=note))

    def _known(self, before: Agreed) -> Known:
        bases = {side: self.shape.row(text) for side, text in before.bases.items()}
        return Known(self.shape.row(before.row), bases, self.shape.row(before.last), before.origin)

    def _decided(
        self, before: Agreed, rows: Mapping[str, Row], now: Mapping[str, str | None], waits: Waiting | None
    ) -> Decision:
        """By the policy, or by what somebody chose while the sides stood as they do now."""
        known = self._known(before)
        decision = decide(known, rows, self.policy)
        if waits is None or not waits.ruling or not _same(waits.sides, now):
            return decision
        chosen = _chosen(waits, self.shape, before)
        if chosen is RETRY:
            return decision
        changed = {side: rows[side] for side in decision.changed}
        return ruled(known, rows, self.policy, chosen, (changed, decision.held))  # type: ignore[arg-type]  # no RETRY

    # ---- remembering

    def _remembered(self, done: Sequence[tuple[Item, Outcomes]]) -> Settlement:
        """What came of a batch. Everything it needs stands in the items, so that it is the same after a crash."""
        quiet = _Quiet()
        for item, outcomes in done:
            note = item.note
            before = Agreed(item.id, *note["before"])
            told = dict(zip((side for side, _ in item.wants), outcomes, strict=True))
            forms = note.get("forms", {})
            refused = sorted(side for side, outcome in told.items() if outcome == "refused")
            if refused:
                now = dict(note["now"])
                if not self.compensates:
                    now |= {side: note["row"] for side, outcome in told.items() if outcome == "done"} | forms
                now |= note.get("undone", {})
                quiet.waiting.append(Waiting(item.id, "refused", now, ", ".join(refused)))
                if self.compensates:
                    quiet.add(restored(before, note["now"], note.get("undone", {}), self.shape), before, (), ())
                    continue
            decision = Decision(None, held=tuple(note["left"]), origin=note["origin"])
            agreed = reformed(
                self._after(before, note["row"], decision, note["now"], told), before, self.shape, self.policy,
                Done(note["now"], note.get("changed", ()), told, forms),
            )  # fmt: skip
            quiet.add(agreed, before, note["overruled"], [] if refused else note["settled"])
        return quiet.settlement()

    def _after(
        self,
        before: Agreed,
        text: str | None,
        decision: Decision,
        now: Mapping[str, str | None],
        told: Mapping[str, str],
    ) -> Agreed:
        """The record as it is agreed now: sides that do not hold it are known to hold what they were seen to hold, of
        which the decision took account; drafts and sides that were not seen, what they were known to hold before."""
        left = {*decision.held, *decision.drifts}
        bases: dict[str, str | None] = {}
        for side in self.policy.sides:
            holds = side in now and side not in left and told.get(side, "done") == "done"
            base = before.bases.get(side, before.row)
            if side in now and side not in left:
                base = self.shape.text(meant(self.shape, before, side, now[side]))
            if side in left or (not holds and base != text):  # looked at again by each round
                bases[side] = base
        last = before.last if text is not None else (before.row or before.last)
        changed = text != before.row
        return Agreed(
            before.key, text, None if text is not None else last, bases,
            before.version + changed, decision.origin if changed else before.origin,
        )  # fmt: skip

    def _counted(self, found: Found, outcomes: Outcomes) -> None:
        found.written += sum(outcome == "done" for outcome in outcomes)
        found.stale += sum(outcome == "stale" for outcome in outcomes)
        found.refused += "refused" in outcomes
        found.differences += _open(outcomes)


def _open(outcomes: Outcomes) -> bool:
    return any(outcome in ("stale", "refused", "unreached") for outcome in outcomes)


def taken(stage: str, policy: Policy) -> frozenset[str]:
    """The sides whose changes are taken at a stage."""
    return frozenset((policy.chief,) if stage == "one_way" else policy.sides) - policy.readers


RETRY = object()
"""What is chosen where somebody says that a refused record is to be tried again."""


def _chosen(waits: Waiting, shape: Shape, before: Agreed) -> Row | object:
    import json

    ruling: dict[str, Any] = json.loads(waits.ruling)
    if ruling.get("retry"):
        return RETRY
    if "use" in ruling:
        return meant(shape, before, ruling["use"], waits.sides.get(ruling["use"]))
    return None if ruling["row"] is None else dict(ruling["row"])


def _same(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> bool:
    """Whether every side that can be asked still says what it said."""
    return all(before.get(side) == text for side, text in now.items())


@dataclass
class _Quiet:
    """What is remembered, collected."""

    agreed: list[Agreed] = field(default_factory=list)
    overruled: list[Overruled] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    settled: list[int] = field(default_factory=list)

    def add(self, now: Agreed, before: Agreed, overruled: Sequence[Sequence[Any]], settled: Sequence[int]) -> None:
        """A record, where it is another than before."""
        if now != before:
            self.agreed.append(now)
        self.overruled += [Overruled(now.key, side, said, text) for side, said, text in overruled]
        self.settled += settled

    def settlement(self) -> Settlement:
        """All of it."""
        return Settlement(self.agreed, self.overruled, self.waiting, self.settled)
