"""What a person does with noted calls: look at them, take them back, make them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongqu.core.data import Dataset, Write, WriteMode
from tongqu.core.dirty import OPEN, STATES, Dirty, Settled
from tongqu.core.errors import BusyError, TongquError
from tongqu.kit.remote.calls import Known, Scope, Which
from tongqu.kit.remote.effect import Op, Result
from tongqu.kit.remote.journal import Books
from tongqu.kit.remote.sending import Sending
from tongqu.kit.remote.undoing import take_back
from tongqu.kit.remote.work import Work

if TYPE_CHECKING:
    from tongqu.kit.remote.sink import RemoteSink

_MOST_DIRTY = 1_000_000


@dataclass(frozen=True)
class Handled:
    """What became of one noted call: `undone`, `ok`, `failed`, `unknown`, or `refused` (nothing was sent) and why."""

    id: str
    state: str
    message: str = ""


def undo_calls(sink: RemoteSink, which: Which) -> list[Handled]:
    """Take back the effects that are meant and went through, the last first. Raises BusyError while a run writes."""
    handled: list[Handled] = []
    for same in _alike(sink, which):
        wanted = [call for call in same if call["outcome"] == Result.OK and call["undo"] != "done" and call["row"]]
        skipped = {call["id"]: call for call in same if call not in wanted}
        handled += [Handled(id, "refused", _why_not(call)) for id, call in skipped.items()]
        if not wanted:
            continue
        write = _write(sink, wanted[0])
        writer = sink.writer(write)
        try:
            if not writer.undoes:
                handled += [Handled(call["id"], "refused", "the connection names no undoing call") for call in wanted]
                continue
            work = _work(wanted)
            work.half_undone = dict.fromkeys(range(len(wanted)), "undone by hand")
            take_back(writer, sink.journal, sink.manner, work)
        finally:
            writer.close()
        for place, call in enumerate(wanted):
            state = "undone" if place in work.undone else "failed"
            handled.append(Handled(call["id"], state, work.half_undone.get(place, "")))
    return handled


def retry_calls(sink: RemoteSink, which: Which) -> list[Handled]:
    """Make the calls that are meant and were refused or are of unknown outcome again, under the same idempotency keys;
    who asks for this decides that an unknown call may be repeated. A quarantined row whose call goes through is settled
    as replayed; one that was settled otherwise is not sent. Raises BusyError while a run writes the target."""
    handled: list[Handled] = []
    for same in _alike(sink, which):
        open_rows, closed = _quarantined(sink, same[0])
        wanted: list[dict[str, Any]] = []
        for call in _as_sent(sink, same):
            if call["outcome"] not in (Result.FAILED, Result.UNKNOWN) or not call["row"]:
                handled.append(Handled(call["id"], "refused", f"its outcome is {call['outcome']}"))
            elif call["row"] in closed and call["row"] not in open_rows:
                handled.append(Handled(call["id"], "refused", "its quarantined row has been settled otherwise"))
            else:
                wanted.append(call)
        if wanted:
            handled += _retry(sink, wanted, open_rows)
    return handled


def _retry(sink: RemoteSink, wanted: list[dict[str, Any]], open_rows: dict[str, list[str]]) -> list[Handled]:
    from tongqu.kit.originals import originals

    write, work = _write(sink, wanted[0]), _work(wanted)
    writer = sink.writer(write)
    if writer.together:
        work.bundles = originals(work.rows.select(list(writer.together)))
    first = wanted[0]
    scope = Scope(first["sync"], first["stream"], first["target"], first["run"], first["split"], "")
    manner = sink.manner.model_copy(update={"unknown": "repeat"})
    sending = Sending(writer, sink.journal, manner, scope, lambda books: _alone(books, write))
    known = {place: _known(call) for place, call in enumerate(wanted)}
    failure = ""
    try:
        sending.send(work, range(len(wanted)), known)
    except TongquError as error:
        if not error.retryable:
            raise
        failure = error.message
    finally:
        sending.close()
        writer.close()
    settled: list[Settled] = []
    handled: list[Handled] = []
    for place, call in enumerate(wanted):
        outcome = work.outcomes[place]
        if outcome is not None and outcome.result is Result.OK and open_rows.get(call["row"]):
            settled.append(Settled(open_rows[call["row"]].pop(), "replayed"))
        state = outcome.result.value if outcome is not None else "failed"
        handled.append(Handled(call["id"], state, (outcome.detail if outcome else "") or failure))
    if settled:
        with sink.journal.transaction() as books:
            books.ledger.quarantine.settle(settled)
    return handled


def _alike(sink: RemoteSink, which: Which) -> Iterable[list[dict[str, Any]]]:
    """The calls that are meant, in the order they were made, those of one part and shape together."""
    if not sink.journal.exists():
        return []
    with sink.journal.transaction() as books:
        found = books.calls.stored(which)
    parts: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for call in reversed(found):
        place = tuple(str(call[name]) for name in ("sync", "stream", "target", "run", "split", "shape"))
        parts.setdefault(place, []).append(call)
    return parts.values()


def _as_sent(sink: RemoteSink, calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """These calls; with all the rows that went with them where a part of a call means another one (a mail)."""
    write = _write(sink, calls[0])
    writer = sink.writer(write)
    writer.close()
    if writer.divides:
        return calls
    with sink.journal.transaction() as books:
        return books.calls.with_mates(calls)


def _why_not(call: dict[str, Any]) -> str:
    if call["undo"] == "done":
        return "it is undone"
    return f"its outcome is {call['outcome']}" if call["row"] else "its content was not kept: nothing could undo it"


def _write(sink: RemoteSink, call: dict[str, Any]) -> Write:
    """How the stream of a noted call is written. Raises BusyError if a run writes it now."""
    from tongqu.kit.originals import schema_of

    with sink.journal.transaction() as books:
        head = books.ledger.head(call["sync"], call["stream"])
        spec = head.spec if head else {}
        key = tuple(str(name) for name in spec.get("key", ()))
        mode = WriteMode(spec.get("write", WriteMode.APPEND))
        dataset = Dataset(call["target"], schema_of(call["shape"]), key=key)
        write = Write(call["stream"], dataset, mode, call["sync"], call["run"], key)
        _alone(books, write)
    return write


def _alone(books: Books, write: Write) -> None:
    run = books.ledger.writer(write.dataset.name)
    if run is not None:
        raise BusyError(
            f"the run {run} writes {write.dataset.name!r} and has not ended",
            path=write.stream,
            hint="let it end, or run the same command again to complete it; then repeat this one",
            params={"table": write.dataset.name, "run": run},
        )


def _work(calls: Sequence[dict[str, Any]]) -> Work:
    from tongqu.kit.originals import restored, schema_of

    rows = restored([call["row"] for call in calls], schema_of(calls[0]["shape"])).rows
    count = len(calls)
    return Work(
        rows=rows,
        texts=[call["row"] for call in calls],
        ids=[call["id"] for call in calls],
        bases=[""] * count,
        keys=[call["key"] for call in calls],
        digests=[call["digest"] for call in calls],
        ops=[Op(call["op"]) for call in calls],
        peers=[call["peer"] for call in calls],
        groups=[""] * count,
        cursors=[""] * count,
        expected=[None] * count,
        outcomes=[None] * count,
    )


def _known(call: dict[str, Any]) -> Known:
    done = Op(call["done"]) if call["done"] else None
    return Known(
        call["outcome"], Op(call["op"]), done, call["call"], call["size"], call["undo"], call["detail"], call["peer"]
    )


def _quarantined(sink: RemoteSink, call: dict[str, Any]) -> tuple[dict[str, list[str]], set[str]]:
    """Ids of the open quarantined rows of a call's stream and run by their content, and the contents settled by now."""
    which = Dirty(sync=call["sync"], run=call["run"], stream=call["stream"], states=STATES, limit=_MOST_DIRTY)
    open_rows: dict[str, list[str]] = {}
    closed: set[str] = set()
    for row in sink.dirty(which):
        if str(row["code"]).startswith("call."):
            if row["state"] in OPEN:
                open_rows.setdefault(row["original"], []).append(row["id"])
            else:
                closed.add(row["original"])
    return open_rows, closed
