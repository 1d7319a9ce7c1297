"""Writes that belong together at several systems, all of them or none in the end, whenever the process dies.

Order: what is intended is durable before anything is done; every write is done once for its id in the system's own
transaction; what came of it is durable; then either all are done, or those that were are taken back; then what the
caller remembers is committed together with the end of the batch. Whoever finds an open batch does the very same steps
again, and those that were done answer as they did the first time (H. Garcia-Molina, K. Salem, "Sagas", 1987).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tongqu.core.errors import ConnectorError, DataError, NotFoundError, TimedOutError
from tongqu.engine.twoway.place import Place, Want
from tongqu.kit.faults import crash_point
from tongqu.store.agreements import Settlement
from tongqu.store.twoway import Book

Outcome = Literal["done", "stale", "refused", "unreached", "skipped", "undone", "stuck"]
"""`stale`: the row is not what it was; `unreached`: the system did not answer; `undone`: done, and taken back; `stuck`:
done, and somebody changed it before it could be taken back."""
_PASSES = 10
"""How often what was refused is tried at most while others of its batch are taken."""


@dataclass(frozen=True)
class Item:
    """Writes that belong together, in order, at most one for each place and key. `whole`: if one is not done the others
    are taken back. `refusal`: they are taken back where a system refuses one, and stay where a row was stale."""

    id: str
    wants: Sequence[tuple[str, Want]]
    whole: bool = True
    refusal: bool = True
    note: Mapping[str, Any] = field(default_factory=dict)
    """What the caller needs to remember what came of it. In the end it has `forms` and `undone` too: side → the row
    that the system made of what was written, and of what was taken back, where it is another one."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        wants = [[side, want.key, want.old, want.new] for side, want in self.wants]
        return {"id": self.id, "wants": wants, "whole": self.whole, "refusal": self.refusal, "note": dict(self.note)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Item:
        """The opposite of `to_json`."""
        wants = [(side, Want(key, old, new)) for side, key, old, new in told["wants"]]
        return cls(told["id"], wants, told["whole"], told["refusal"], told["note"])


Outcomes = Sequence[Outcome]
"""One for each want of an item, in order."""
Remember = Callable[[Sequence[tuple[Item, Outcomes]]], Settlement]
"""What came of items → what is remembered. A pure function of its arguments, as it may be asked twice."""


def _nothing(done: Sequence[tuple[Item, Outcomes]]) -> Settlement:
    del done
    return Settlement()


@dataclass
class Saga:
    """Carries items out under a name."""

    name: str
    book: Book
    places: Mapping[str, Place]
    new_id: Callable[[], str]
    unreached: dict[str, str] = field(default_factory=dict)
    """Sides that could not be written, with the code of the error."""

    def carry_out(self, items: Sequence[Item], remember: Remember = _nothing) -> list[tuple[Item, Outcomes]]:
        """Do the items, which touch no row twice. Raises ConnectError where an item that is `whole` cannot be brought
        to an end because a system does not answer: `recover` goes on with it."""
        if not items:
            return []
        batch = self.new_id()
        self.book.intend(batch, self.name, {"items": [item.to_json() for item in items]})
        crash_point("after_intent")
        return self._done(batch, items, remember)

    def recover(self, remember: Remember = _nothing) -> list[tuple[Item, Outcomes]]:
        """Bring what a dead process left to its end."""
        found = []
        for batch, body in self.book.open_batches(self.name):
            found += self._done(batch, [Item.from_json(told) for told in body["items"]], remember)
        return found

    def _done(self, batch: str, items: Sequence[Item], remember: Remember) -> list[tuple[Item, Outcomes]]:
        steps = self.book.steps(batch)
        outcomes: list[list[Outcome]] = [["skipped"] * len(item.wants) for item in items]
        for side in dict.fromkeys(side for item in items for side, _ in item.wants):
            chosen = [
                (number, place, want)
                for number, item in enumerate(items)
                for place, (at, want) in enumerate(item.wants)
                if at == side and not _failed(item, outcomes[number])
            ]
            told = self._step(batch, side, [want for *_, want in chosen], steps, patient=_patient(items, chosen))
            for (number, place, _), outcome in zip(chosen, told, strict=True):
                outcomes[number][place] = outcome
        self._undo(batch, items, outcomes, steps)
        done = list(zip([_formed(item, steps) for item in items], outcomes, strict=True))
        crash_point("before_agreed")
        self.book.close_batch(batch, self.name, remember(done))
        return [(item, tuple(told)) for item, told in done]

    def _step(
        self, batch: str, step: str, wants: Sequence[Want], steps: dict[str, Any], *, patient: bool, side: str = ""
    ) -> list[Outcome]:
        """One side's writes; what is known of them already is not done again."""
        if not wants:
            return []
        if step not in steps:
            forms: dict[str, str] = {}
            try:
                told = self._written(self._place(side or step), (batch, step), wants, steps, forms)
            except (ConnectorError, TimedOutError) as error:
                if not patient:
                    raise
                self.unreached[side or step] = error.code
                told = ["unreached"] * len(wants)
            crash_point("after_side")
            if forms:
                self.book.stepped(batch, f"{step}/forms", forms)
                steps[f"{step}/forms"] = forms
            self.book.stepped(batch, step, told)
            steps[step] = told
        found: list[Outcome] = steps[step]
        return found

    def _place(self, side: str) -> Place:
        if side not in self.places:
            raise NotFoundError(f"{side!r} is no side of {self.name!r} any more")
        return self.places[side]

    def _written(
        self, place: Place, at: tuple[str, str], wants: Sequence[Want], steps: dict[str, Any], forms: dict[str, str]
    ) -> list[Outcome]:
        """Together; one by one where the system refuses one of them. That it did is durable before they are, so that
        whoever goes on does it in the same way. What was refused is tried again as long as others were taken: they may
        have held a value that only one row may have. `forms` gets the rows of which the system made others."""
        batch, step = at
        id, alone = f"{batch}:{step}", f"{step}/alone"
        if alone not in steps:
            try:
                told = [_outcome(want, done, forms) for want, done in zip(wants, place.write(id, wants), strict=True)]
                return _taken(place, wants, told)
            except DataError:
                self.book.stepped(batch, alone, True)
                steps[alone] = True
        told = ["refused"] * len(wants)
        left = list(range(len(wants)))
        for _ in range(_PASSES):
            for number in left:
                want = wants[number]
                with suppress(DataError):
                    told[number] = _outcome(want, place.write(f"{id}:{want.key}", [want])[0], forms)
            refused = [number for number in left if told[number] == "refused"]
            if len(refused) in (0, len(left)):
                break
            left = refused
        return _taken(place, wants, told)

    def _undo(
        self, batch: str, items: Sequence[Item], outcomes: Sequence[list[Outcome]], steps: dict[str, Any]
    ) -> None:
        """Take back what was done of items that failed, the last side first."""
        failed = [
            (number, place, side, Want(want.key, want.new, want.old))
            for number, item in enumerate(items)
            if _failed(item, outcomes[number])
            for place, (side, want) in enumerate(item.wants)
            if outcomes[number][place] == "done"
        ]
        for side in reversed(dict.fromkeys(side for _, _, side, _ in failed)):
            chosen = [(number, place, want) for number, place, at, want in failed if at == side]
            crash_point("before_undo")
            wants, patient = [want for *_, want in chosen], _patient(items, chosen)
            told = self._step(batch, f"undo:{side}", wants, steps, patient=patient, side=side)
            for (number, place, _), outcome in zip(chosen, told, strict=True):
                outcomes[number][place] = "undone" if outcome == "done" else "stuck"


def _outcome(want: Want, done: bool | str, forms: dict[str, str]) -> Outcome:
    if isinstance(done, str):
        forms[want.key] = done
    return "done" if done else "stale"


def _taken(place: Place, wants: Sequence[Want], told: list[Outcome]) -> list[Outcome]:
    """New rows that are not there after all are refused: the system takes their keys for those of other rows."""
    new = [number for number, want in enumerate(wants) if told[number] == "stale" and want.old is None]
    there = place.fetch([wants[number].key for number in new]) if new else {}
    return [
        "refused" if number in new and wants[number].key not in there else outcome
        for number, outcome in enumerate(told)
    ]


def _formed(item: Item, steps: Mapping[str, Any]) -> Item:
    """The item with what systems made of its rows, when they were written and when they were taken back."""
    found: dict[str, dict[str, str]] = {"forms": {}, "undone": {}}
    for side, want in item.wants:
        for name, step in (("forms", side), ("undone", f"undo:{side}")):
            form = steps.get(f"{step}/forms", {}).get(want.key)
            if form is not None:
                found[name][side] = form
    more = {name: forms for name, forms in found.items() if forms}
    return replace(item, note={**item.note, **more}) if more else item


def _failed(item: Item, outcomes: Outcomes) -> bool:
    bad = {"refused", "stale", "unreached"} if item.whole else {"refused"} if item.refusal else set()
    return any(outcome in bad for outcome in outcomes)


def _patient(items: Sequence[Item], chosen: Sequence[tuple[int, int, Want]]) -> bool:
    """Whether it may stay open that a side did not answer."""
    return not any(items[number].whole for number, *_ in chosen)
