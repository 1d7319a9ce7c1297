"""Two-way syncs of the project: rounds as runs, the queue of conflicts, and the stages with their gates."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from tongqu.app.services.execution import Outcome, Recorder, Run
from tongqu.app.services.flows import Names
from tongqu.app.services.twoway_sides import Opened, sides
from tongqu.core.errors import InvalidPlanError, NotFoundError, SchemaError, TongquError
from tongqu.core.events import Warned
from tongqu.engine.twoway.packing import Shape, pack
from tongqu.engine.twoway.round import Found, TwoWay, taken
from tongqu.meaning.agreeing import Policy
from tongqu.meaning.gates import STAGES, Gate, Missed, Round, Standing, breaks, missing, standing
from tongqu.store.twoway import GATE, Book

if TYPE_CHECKING:
    from tongqu.app.project.twoway import TwoWayEntry
    from tongqu.app.wire import Wire

_PAUSE = 0.2
_LONGEST = 1.0
"""Seconds between two rounds of a sync that has no schedule: while something happens, and at most."""
_NOTE_SECONDS = 60.0
"""Of rounds without anything to do one in so many seconds is noted."""
_SHOWN = 20


def command_of(name: str) -> str:
    """What stands as command in the runs of an entry."""
    return f"tongqu twoway run {name}"


def run(wire: Wire, name: str, *, whole: bool = False, watch: bool = False) -> Outcome:
    """Do a round, or with `watch` one after the other until stopped. It is a run of the kind `twoway`. Exit code 3 if
    records differ in the end, wait for a person, or a side could not be reached. Raises ConfigError."""
    entry = wire.project.two_way(name)
    told = Run("twoway", command_of(name), tuple(side.connection for side in entry.between), Names())
    recorder = Recorder(told, wire.runs, wire.scrubber)
    id = wire.surroundings.new_id()
    document: dict[str, Any] = {"run": id, "twoway": name, "status": "failed", "attempts": 1, "lane": "", "streams": []}
    try:
        with book_of(wire) as book, opened(wire, name, entry, book) as sync:
            document |= _rounds(wire, sync, entry, recorder, (id, whole, watch))
        return Outcome(document, 0 if document["status"] in ("succeeded", "stopped") else 3)
    except TongquError as error:
        document |= {"ok": False, "problems": [wire.scrubber.problem(error.problem())]}
        return Outcome(document, error.exit_code)
    finally:
        recorder.finish(id, document)


def _rounds(
    wire: Wire, sync: TwoWay, entry: TwoWayEntry, recorder: Recorder, told: tuple[str, bool, bool]
) -> dict[str, Any]:
    id, whole, watch = told
    pause, noted = _PAUSE, -_NOTE_SECONDS
    while True:
        stage, since = sync.book.stage(sync.name, entry.begins)
        sync.stage = stage  # type: ignore[assignment]  # one of STAGES
        sync.policy = replace(sync.policy, takes=taken(stage, sync.policy))
        sync.whole = whole or (sync.book.count(sync.name) + 1) % entry.compare_every == 0
        found = sync.round()
        if sync.stop.is_set() and not watch:
            return {**_shown(found, stage), "status": "stopped"}
        idle = not (found.records or found.errors or sync.whole)
        if not idle or monotonic() - noted >= _NOTE_SECONDS:
            sync.book.note(sync.name, stage, (found.records, found.differences, found.errors, found.p95_ms))
            noted = monotonic()
        shut = _shut(sync, entry, stage, since)
        if shut:
            recorder(Warned(id, sync.name, "two_way.gate_shut", f"back to {shut['to']}: {shut['why']}"))
        document = _shown(found, stage) | ({"shut": shut} if shut else {})
        if found.written:
            for side in entry.between:
                wire.touching(side.connection, [side.dataset])
        if not watch:
            return document
        pause = min(pause * 2, _LONGEST) if idle else _PAUSE
        if sync.stop.wait(pause):
            return {**document, "status": "stopped"}


def _shown(found: Found, stage: str) -> dict[str, Any]:
    numbers = {
        name: getattr(found, name)
        for name in ("records", "changed", "written", "differences", "conflicts", "overruled", "held", "refused",
                     "stale", "errors", "recovered")
    }  # fmt: skip
    clean = not (found.differences or found.conflicts or found.errors)
    stream = {"name": stage, "read": found.records, "written": found.written, "quarantined": 0,
              "updated": found.written}  # fmt: skip
    return {
        "ok": clean, "status": "succeeded" if clean else "attention", "stage": stage, **numbers, "would": found.would,
        "unreached": found.unreached, "p95_ms": round(found.p95_ms, 3), "streams": [stream],
    }  # fmt: skip


# ---- opening


@contextmanager
def book_of(wire: Wire) -> Iterator[Book]:
    """The book of the project's home."""
    book = Book.open(wire.home, wire.now)
    try:
        yield book
    finally:
        book.close()


@contextmanager
def opened(wire: Wire, name: str, entry: TwoWayEntry, book: Book) -> Iterator[TwoWay]:
    """The sync with its sides open. Raises ConfigError, SchemaError, and ConnectorError for a side that cannot be
    reached to be described."""
    with asyncio.Runner() as runner, ExitStack() as stack:
        opened: Opened = sides(wire.ends, name, entry, runner, stack)
        stage, _ = book.stage(name, entry.begins)
        tables = {side.called: pack([side.connection, side.dataset]) for side in entry.between}
        _check_systems(wire, name, book, tables, {side.called: side.connection for side in entry.between})
        book.take(name)
        names = tuple(side.called for side in entry.between)
        approved = (entry.approved.field, entry.approved.value) if entry.approved else None
        policy = Policy(
            names,
            entry.masters,
            entry.conflict,
            entry.version,
            approved,
            frozenset(),
            entry.deletes == "restore",
            frozenset(side.called for side in entry.between if side.reader),
        )
        for told in filter(
            None, (entry.version, entry.cursor, approved[0] if approved else "", *set(entry.masters) - {"*"})
        ):
            if told not in opened.shape.fields:
                raise SchemaError(f"{told!r} is no field that all sides have", field=told)
        if not book.shaped(name, _fingerprint(opened.shape)):
            raise SchemaError(
                f"the fields that the sides of {name!r} have in common are others than before",
                hint=f"tongqu twoway forget {name}: the next round agrees on all records anew",
            )
        yield TwoWay(
            name, opened.shape, opened.places, policy, book, wire.surroundings.new_id, monotonic,
            tables=tables, stage=stage, compensates=entry.refused == "compensate", stop=wire.stop,  # type: ignore[arg-type]  # one of STAGES
        )  # fmt: skip


def _check_systems(
    wire: Wire, name: str, book: Book, tables: Mapping[str, str], connections: Mapping[str, str]
) -> None:
    """Raise InvalidPlanError if a connection leads to another system than what was agreed is of: what that one lacks
    would be taken for deleted, and be deleted everywhere. A project's folder may move with the files in it."""
    here = str(wire.folder.absolute())
    ends = {
        side: (table, wire.ends.end(connections[side]).identity.replace(here, ".")) for side, table in tables.items()
    }
    for side, system in book.elsewhere(name, ends).items():
        raise InvalidPlanError(
            f"{side!r} is in {ends[side][1]} now, and what was agreed is of {system}",
            path=f"sync.{name}",
            hint=f"give each environment a home of its own (TONGQU_HOME); or tongqu twoway forget {name}: the next "
            "round agrees on all records anew",
        )


def _fingerprint(shape: Shape) -> str:
    return pack([*shape.key, "", *(f"{field.name} {field.type}" for field in shape.schema)])


def _fields(book: Book, name: str) -> tuple[str, ...]:
    """The common fields, as the book knows them; none before the first round."""
    told = book.shape(name)
    return tuple(part.rpartition(" ")[0] for part in told[told.index("") + 1 :]) if told else ()


# ---- stages


def gate_of(book: Book, name: str, entry: TwoWayEntry, now: float) -> tuple[str, float, Standing]:
    """The stage of an entry, since when, and how the gate to the next one stands."""
    stage, since = book.stage(name, entry.begins)
    return stage, since, standing(_gate(entry), _of_stage(book, name, stage, since), stage, since, now)


def in_words(missed: Sequence[Missed]) -> str:
    """What keeps a gate shut, in one line."""
    return ", ".join(f"{one.what} {one.found:g} (asked: {one.asked:g})" for one in missed)


def _gate(entry: TwoWayEntry) -> Gate:
    return Gate(**entry.gates.model_dump()) if entry.gates else Gate()


def _of_stage(book: Book, name: str, stage: str, since: float) -> list[Round]:
    found = [Round(*one) for one in book.rounds(name, since)]
    return [one for one in found if one.stage == stage]


def _shut(sync: TwoWay, entry: TwoWayEntry, stage: str, since: float) -> dict[str, str] | None:
    """Go back one stage if the newest round breaks what the gate asks."""
    broken = breaks(_gate(entry), _of_stage(sync.book, sync.name, stage, since))
    if not broken or stage == STAGES[0]:
        return None
    before, why = STAGES[STAGES.index(stage) - 1], in_words(broken)
    if not sync.book.move(sync.name, stage, before, why, GATE):
        return None
    return {"from": stage, "to": before, "why": why}


def advance(wire: Wire, name: str, who: str, *, force: bool = False, reason: str = "") -> dict[str, Any]:
    """Open the gate to the next stage if everything holds that it asks, or by force with a reason. Raises
    InvalidPlanError saying what is missing."""
    entry = wire.project.two_way(name)
    if force and not reason.strip():
        raise InvalidPlanError("a gate is opened by force only with a reason", path="--reason", hint="--reason TEXT")
    with book_of(wire) as book:
        stage, since = book.stage(name, entry.begins)
        if stage == STAGES[-1]:
            raise InvalidPlanError(f"{name!r} is at its last stage, {stage}", path=name)
        rounds = _of_stage(book, name, stage, since)
        missed = missing(_gate(entry), rounds, since, wire.now())
        if missed and not force:
            raise InvalidPlanError(
                f"the gate stays shut: {in_words(missed)}",
                path=name,
                hint="--force --reason TEXT opens it all the same",
            )
        after = STAGES[STAGES.index(stage) + 1]
        why = f"forced: {reason.strip()}" if missed else reason.strip() or "all conditions hold"
        if not book.move(name, stage, after, why, who):
            raise InvalidPlanError(f"{name!r} has left the stage {stage} meanwhile", path=name)
    return {"twoway": name, "from": stage, "stage": after, "forced": bool(missed), "why": why}


# ---- looking


def listed(wire: Wire) -> dict[str, Any]:
    """All entries: sides, stage, and the newest round."""
    found = []
    for name, entry in wire.project.sync.items():
        found.append({"name": name, "sides": [side.called for side in entry.between], **_state(wire, name, entry)})
    return {"twoway": found}


def shown(wire: Wire, name: str) -> dict[str, Any]:
    """One entry: its stage, what keeps the gate shut, the newest rounds, moves and batches."""
    entry = wire.project.two_way(name)
    document = {"name": name, "sides": [side.called for side in entry.between], **_state(wire, name, entry)}
    if not wire.home.two_way.exists():
        return {**document, "gate": [], "moves": [], "rounds": [], "steps": []}
    with book_of(wire) as book:
        stage, since = book.stage(name, entry.begins)
        rounds = _of_stage(book, name, stage, since)
        missed = missing(_gate(entry), rounds, since, wire.now())
        return document | {
            "gate": [vars(one) for one in missed],
            "moves": book.moves(name),
            "rounds": [vars(one) for one in rounds[-_SHOWN:]],
            "steps": book.history(name, _SHOWN),
        }


def _state(wire: Wire, name: str, entry: TwoWayEntry) -> dict[str, Any]:
    if not wire.home.two_way.exists():
        return {"stage": entry.begins, "since": None, "waiting": 0, "last": None, "gate_state": "early", "due": None}
    with book_of(wire) as book:
        stage, since, stands = gate_of(book, name, entry, wire.now())
        rounds = book.rounds(name)
        last = vars(Round(*rounds[-1])) if rounds else None
        gate = {"gate_state": stands.state, "due": stands.due}
        return {"stage": stage, "since": since, "waiting": len(book.waiting(name)), "last": last, **gate}


def newest(wire: Wire, name: str, *, limit: int = 1000, after: str = "") -> dict[str, Any]:
    """The newest agreed version of each record, which is the newest approved one where the entry says what approved is;
    in the order of their keys, behind the key `after`."""
    wire.project.two_way(name)
    if not wire.home.two_way.exists():
        return {"twoway": name, "records": [], "after": ""}
    with book_of(wire) as book:
        fields = _fields(book, name)
        found = book.newest(name, limit, after)
        records = [
            {"key": one.key, "version": one.version, "origin": one.origin, "row": _row(fields, one.row)}
            for one in found
        ]
    return {"twoway": name, "records": records, "after": found[-1].key if len(found) == limit else ""}


# ---- what waits for a person


def conflicts(wire: Wire, name: str = "") -> dict[str, Any]:
    """What waits, of one entry or of all."""
    if name:
        wire.project.two_way(name)
    names = [name] if name else list(wire.project.sync)
    found = []
    if wire.home.two_way.exists():
        with book_of(wire) as book:
            for one in names:
                fields = _fields(book, one)
                found += [
                    {
                        "id": waits.id, "twoway": one, "key": waits.key, "kind": waits.kind, "why": waits.why,
                        "ruled": bool(waits.ruling),
                        "sides": {side: _row(fields, text) for side, text in waits.sides.items()},
                    }
                    for waits in book.waiting(one)
                ]  # fmt: skip
    return {"conflicts": found}


def resolve(wire: Wire, name: str, id: int, who: str, *, use: str = "", retry: bool = False) -> dict[str, Any]:
    """Choose the row of a side (which may be its absence), or have a refused record tried again; the next round does
    it, if the sides still say what they said. Raises NotFoundError, InvalidPlanError."""
    wire.project.two_way(name)
    if bool(use) == retry:
        raise InvalidPlanError("say which side's row counts, or that it is tried again", hint="--use SIDE, or --retry")
    with book_of(wire) as book:
        found = next((one for one in book.waiting(name, limit=1 << 30) if one.id == id), None)
        if found is None:
            raise NotFoundError(f"nothing waits under {id}", path=name, hint=f"tongqu twoway conflicts {name}")
        if use and use not in found.sides:
            raise InvalidPlanError(f"{use!r} is no side of it", path="--use", hint=", ".join(found.sides))
        ruling: Mapping[str, Any] = {"use": use} if use else {"retry": True}
        if not book.rule(name, id, ruling, who):
            raise NotFoundError(f"nothing waits under {id}", path=name)
    return {"twoway": name, "id": id, "key": found.key, **ruling}


def forget(wire: Wire, name: str) -> dict[str, Any]:
    """Forget what was agreed, with its tombstones and positions; stage, rounds and the ledger stay. The next round
    agrees on all records anew. Raises InvalidPlanError while steps are open."""
    wire.project.two_way(name)
    with book_of(wire) as book:
        if book.open_batches(name):
            raise InvalidPlanError(f"{name!r} has steps that are not over", path=name, hint=command_of(name))
        return {"twoway": name, "forgotten": book.forget(name)}


def _row(fields: tuple[str, ...], text: str | None) -> dict[str, str | None] | None:
    from tongqu.engine.twoway.packing import unpacked

    return None if text is None else dict(zip(fields, unpacked(text), strict=True))
