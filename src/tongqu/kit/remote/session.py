"""One split's way to a remote system: rows become effects, effects calls, and the position follows them."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from tongqu.core.connector import Session
from tongqu.core.data import BadRow, Checkpoint, Deletes, Split, Write, WriteMode, Written
from tongqu.core.errors import ConnectError, InvalidPlanError, SupersededError, WriteError
from tongqu.kit.faults import crash_point
from tongqu.kit.remote.calls import AtPeer, Known, Scope
from tongqu.kit.remote.effect import Op, Outcome, Result, Seen
from tongqu.kit.remote.journal import Books, now
from tongqu.kit.remote.sending import Sending
from tongqu.kit.remote.undoing import take_back
from tongqu.kit.remote.work import Work, last_of_each, number, superseded, work_of
from tongqu.kit.remote.writer import Writer

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.kit.remote.sink import Landing, RemoteSink

REFUSED, UNKNOWN, UNDONE, NOT_UNDONE = "call.refused", "call.unknown", "call.undone", "call.not_undone"
"""Codes of quarantined rows: the peer refused the call; nobody knows whether it had its effect; it was taken back (or
never sent) because another row of its group was refused; it should have been taken back and could not be."""
_MOST_REFUSED = 5_000


def removes(writer: Writer, write: Write) -> bool:
    """Whether single rows can be taken out of what is written so."""
    whole = write.deletes is not Deletes.SOFT
    return Op.DELETE in writer.ops and write.mode is WriteMode.UPSERT and bool(write.key) and whole


class RemoteSession(Session):
    """Writes one split. Calls go out in `write`; `commit` stores the position over them, `abort` takes none back: what
    went through is not sent again when its row comes again."""

    def __init__(self, sink: RemoteSink, landing: Landing, writer: Writer, split: Split):
        self._sink = sink
        self._landing = landing
        self._writer = writer
        self._split = split
        write = landing.write
        taken = uuid.uuid4().hex[:12]
        self._scope = Scope(write.sync, write.stream, write.dataset.name, write.run, split.id, taken)
        self._sending = Sending(writer, sink.journal, sink.manner, self._scope, self._hold)

    def _hold(self, books: Books) -> None:
        books.ledger.hold(self._scope.sync, self._scope.stream, self._landing.fence)

    def write(self, rows: pa.Table) -> Written:
        """See Session.write. Of several rows with one key an upsert sends the last; the others are merged."""
        write = self._landing.write
        written = Written(bytes=rows.nbytes)
        if self._landing.settled.sieving:
            from tongqu.kit.sieve import sieved

            rows = sieved(self._landing.settled.sieving, rows, written)
        if write.mode is not WriteMode.APPEND:
            rows = self._keyed(rows, written)
        if rows.num_rows:
            op = Op.CREATE if write.mode is WriteMode.APPEND else Op.UPSERT
            work = self._work(rows, op)
            self._carry_out(work)
            self._count(work, written)
        return written

    def remove(self, rows: pa.Table) -> int:
        """See Session.remove."""
        if not removes(self._writer, self._landing.write):
            raise InvalidPlanError(
                f"{self._sink.name} cannot delete single rows of {self._scope.stream!r}",
                path=self._scope.stream,
                hint="write by upsert with a key, where the peer can delete",
            )
        return self.take_out(self._given(rows))

    def _given(self, rows: pa.Table) -> pa.Table:
        """The rows that the peer may have from this project: what it has from others is not ours to delete."""
        import pyarrow as pa

        from tongqu.kit.originals import originals

        keys = originals(rows.select(list(self._landing.write.key)))
        with self._sink.journal.transaction() as books:
            known = books.calls.maybe_at_peer(self._scope.target, keys)
        return rows.filter(pa.array([key in known for key in keys], pa.bool_()))

    def take_out(self, rows: pa.Table) -> int:
        """Delete the rows of these keys at the peer; returns how many it had. Raises WriteError if it refuses one."""
        rows, _ = last_of_each(rows.select(list(self._landing.write.key)), self._landing.write.key)
        work = self._work(rows, Op.DELETE)
        self._carry_out(work)
        bad = [outcome for outcome in work.outcomes if outcome is not None and outcome.result is not Result.OK]
        if bad:
            raise WriteError(
                f"the peer did not delete {len(bad)} of {rows.num_rows} rows: {bad[0].detail}",
                path=self._scope.stream,
                hint="look at the calls with `tongqu calls list --outcome failed`; the others are done and noted",
            )
        return sum(outcome is not None and outcome.done is Op.DELETE for outcome in work.outcomes)

    # ---- from rows to effects

    def _keyed(self, rows: pa.Table, written: Written) -> pa.Table:
        """Rows that have their whole key, the last of each."""
        import pyarrow.compute as pc

        from tongqu.kit.sql.session import bad_row

        key = self._landing.write.key
        nulls: list[Any] = [rows.column(name).is_null() for name in key if rows.column(name).null_count]
        if nulls:
            bad: Any = reduce(pc.or_, nulls)
            nameless = rows.filter(bad)
            message = f"a key column ({', '.join(key)}) is null"
            for place in range(nameless.num_rows):
                written.refused.append(bad_row(nameless.slice(place, 1), "key.null", message, field=key[0]))
            rows = rows.filter(pc.invert(bad))
        rows, written.merged = last_of_each(rows, key)
        return rows

    def _work(self, rows: pa.Table, op: Op) -> Work:
        key = self._landing.write.key
        key = key if set(key) <= set(rows.column_names) else ()
        group = self._sink.manner.group if op is not Op.DELETE else ""
        if group and group not in rows.column_names:
            raise InvalidPlanError(
                f"group: there is no column {group!r} in {self._scope.stream!r}",
                path=self._scope.stream,
                hint=f"columns: {', '.join(rows.column_names)}",
            )
        from tongqu.kit.originals import originals

        cursor = self._landing.write.cursor or ""
        cursor = cursor if cursor in rows.column_names else ""
        work = work_of(rows, key, op, self._scope, group=group, cursor=cursor)
        if self._writer.together:
            work.bundles = originals(rows.select(list(self._writer.together)))
        return work

    def _carry_out(self, work: Work) -> None:
        """Write down what is to be sent, send it, and take back the groups that failed."""
        places = range(len(work.ids))
        with self._sink.journal.transaction() as books:
            self._hold(books)
            number(work, books.calls.occurred(self._scope, work.bases))
            earlier = books.calls.known(work.ids) if books.calls.left_over(self._scope) else {}
            keys = [key for key in work.keys if key]
            at_peer = books.calls.at_peer(self._scope.target, keys)
            work.standing, failed = books.calls.groups(self._scope, work.groups, work.ids)
        known = {place: earlier[work.ids[place]] for place in places if work.ids[place] in earlier}
        if self._sink.manner.whole_calls:
            for place, one in known.items():
                work.belong([place] if one.call else [], one.call)
        to_send = self._chosen(work, known, at_peer, failed)
        with self._sink.journal.transaction() as books:
            self._hold(books)
            books.calls.take(self._scope, [work.ids[place] for place in known])
            fresh = [place for place in to_send if place not in known]
            books.calls.plan(self._scope, work.planned(fresh), now())
            if self._landing.follows and Op.DELETE not in work.ops:
                books.calls.arrived(self._scope.target, keys, self._scope.run)
        crash_point("mid_write")
        self._sending.send(work, to_send, known)
        self._take_back(work)

    def _chosen(
        self, work: Work, known: dict[int, Known], at_peer: dict[str, AtPeer], failed: dict[str, str]
    ) -> list[int]:
        """Which effects go out, each as what kind; those that went through before are settled. Of groups that have
        `failed` in this run nothing more is sent."""
        skips = self._landing.skips
        open_places: list[int] = []
        if self._landing.write.replay:
            work.superseded = superseded(work, at_peer, self._landing.write.cursor)
        for place, key in enumerate(work.keys):
            there = at_peer.get(key)
            work.peers[place] = there.peer if there else ""
            earlier = known.get(place)
            if place in work.superseded:
                continue
            if earlier is None:
                work.expected[place] = Op.UPDATE if key in at_peer else Op.CREATE
                if skips and work.ops[place] is Op.UPSERT and there and there.digest == work.digests[place]:
                    work.unchanged.add(place)
                    continue
            else:
                work.ops[place], work.expected[place] = earlier.op, earlier.done
                work.peers[place] = earlier.peer or work.peers[place]
                if earlier.outcome == Result.OK:
                    work.outcomes[place] = Outcome(Result.OK, earlier.done)
                    if earlier.undo:
                        (work.undone if earlier.undo == "done" else work.half_undone)[place] = earlier.detail
                    continue
            open_places.append(place)
        group = self._sink.manner.group
        gone = {one: f"another row of {group} {one} was refused: {why}" for one, why in failed.items()}
        gone |= {work.groups[place]: why for place, why in (*work.undone.items(), *work.half_undone.items())}
        rest = [place for place in open_places if gone and work.groups[place] in gone]
        work.undone |= {place: gone[work.groups[place]] for place in rest}  # nor is the rest of such a group sent now
        return self._kinds(work, [place for place in open_places if place not in work.undone], known, at_peer)

    def _kinds(self, work: Work, places: list[int], known: dict[int, Known], at_peer: dict[str, AtPeer]) -> list[int]:
        """Turn upserts into what the peer can do: creates and updates, told apart by reading back or by the ledger."""
        fresh = [place for place in places if work.ops[place] is Op.UPSERT and place not in known]
        if not fresh or Op.UPSERT in self._writer.ops:
            return places
        if not self._writer.looks:
            for place in fresh:
                work.ops[place] = Op.UPDATE if work.keys[place] in at_peer else Op.CREATE
            return places
        seen = self._sending.seen(work, fresh)
        if Seen.UNKNOWN in seen.values():
            raise ConnectError("the peer does not tell which rows it has", path=self._scope.stream)
        for place, what in seen.items():
            work.ops[place] = work.expected[place] = Op.CREATE if what is Seen.ABSENT else Op.UPDATE
        if self._landing.skips:
            work.unchanged |= {place for place, what in seen.items() if what is Seen.SAME}
        return [place for place in places if place not in work.unchanged]

    # ---- what became of them

    def _take_back(self, work: Work) -> None:
        """Undo the effects that went through in groups of which the peer refused a row."""
        failed: dict[str, str] = {}
        for place, outcome in enumerate(work.outcomes):
            if work.groups[place] and outcome is not None and outcome.result is not Result.OK:
                failed.setdefault(work.groups[place], outcome.detail)
        column = f"{self._sink.manner.group} " if self._sink.manner.group else ""
        for place, group in enumerate(work.groups):
            if group in failed and work.went(place):
                work.half_undone[place] = f"another row of {column}{group} was refused: {failed[group]}"
        if work.half_undone:
            take_back(self._writer, self._sink.journal, self._sink.manner, work, self._hold)

    def _count(self, work: Work, written: Written) -> None:
        """Add what was done, and the rows that are refused."""
        done: Counter[str] = Counter()
        for place, outcome in enumerate(work.outcomes):
            if place in work.unchanged:
                done["unchanged"] += 1
            elif work.went(place) and outcome is not None:
                done["updated" if self._updated(work, place, outcome) else "inserted"] += 1
            else:
                written.refused.append(self._refused(work, place, outcome))
        written.inserted += done["inserted"]
        written.updated += done["updated"]
        written.unchanged += done["unchanged"]
        if len(written.refused) > _MOST_REFUSED:
            raise WriteError(
                f"the peer refuses more than {_MOST_REFUSED:,} rows of one chunk: {written.refused[-1].message}",
                path=self._scope.stream,
                hint="this is more than dirty data: compare what the peer wants with what arrives",
            )

    def _updated(self, work: Work, place: int, outcome: Outcome) -> bool:
        return (outcome.done or work.expected[place]) is Op.UPDATE

    def _refused(self, work: Work, place: int, outcome: Outcome | None) -> BadRow:
        from tongqu.kit.originals import shape_of, shown

        field, value = "", work.ids[place]
        if place in work.superseded:
            code, message = SupersededError.code, "the peer has a newer row of this key"
        elif place in work.undone:
            code, message = UNDONE, work.undone[place]
        elif place in work.half_undone:
            code, message = NOT_UNDONE, work.half_undone[place]
        elif outcome is not None and outcome.result is Result.FAILED:
            code, message = REFUSED, outcome.detail or f"the peer refused the call (status {outcome.status})"
            if outcome.field in work.rows.column_names:
                field = outcome.field
                value = shown(work.rows.column(field).slice(place, 1))[0] or ""
        else:
            code = UNKNOWN
            message = f"nobody knows whether the call had its effect: {outcome.detail if outcome else ''}"
        if stand := work.standing.get(work.groups[place]):
            message += f"; {stand} rows of its group came before these, and stand"
        shape = shape_of(work.rows.schema)
        return BadRow("sink", code, field, value, work.texts[place], message, shape=shape)

    # ---- ends

    def commit(self, checkpoint: Checkpoint) -> None:
        """See Session.commit: position, counts, quarantine and the calls they cover, in one transaction at home."""
        with self._sink.journal.transaction() as books:
            books.calls.commit(self._scope, done=checkpoint.done, at=now())
            note_checkpoint(books, self._landing, checkpoint)
            crash_point("in_commit")

    def abort(self) -> None:
        """See Session.abort: calls stay made, and are known when their rows come again."""
        self._scope = replace(self._scope, taken=uuid.uuid4().hex[:12])
        self._sending.close()
        self._sending = Sending(self._writer, self._sink.journal, self._sink.manner, self._scope, self._hold)

    def close(self) -> None:
        """See Session.close."""
        self._sending.close()


def note_checkpoint(books: Books, landing: Landing, checkpoint: Checkpoint) -> None:
    """Store position, counts and quarantined rows of a chunk; raises FencedError if the fence is not ours."""
    write, at = landing.write, now()
    if checkpoint.quarantine:
        counted = checkpoint.counts.quarantined + checkpoint.counts.repaired
        first = f"{write.run}-{write.stream}-{checkpoint.split.id}-{counted:09d}"
        books.ledger.quarantine.add(
            sync=write.sync, run=write.run, stream=write.stream, first=first, rows=checkpoint.quarantine, at=at
        )
    if checkpoint.settled:
        books.ledger.quarantine.settle(checkpoint.settled)
    books.ledger.advance(write.sync, write.stream, landing.fence, checkpoint, at)
