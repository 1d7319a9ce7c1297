"""Reads mailboxes: a row for every message, the newest last, only new ones by their numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from tongqu.connectors.imap.settings import ImapSettings
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Position, Read, Split
from tongqu.core.errors import InvalidPlanError, LostPositionError
from tongqu.kit.mail.mailbox import Mailbox, Message, State, fits
from tongqu.kit.patterns import wanted

_UTC = pa.timestamp("us", "UTC")
_FIELDS: list[pa.Field[Any]] = [
    pa.field("mailbox_validity", pa.int64(), nullable=False),
    pa.field("uid", pa.int64(), nullable=False),
    pa.field("from", pa.string()),
    pa.field("to", pa.list_(pa.string())),
    pa.field("cc", pa.list_(pa.string())),
    pa.field("subject", pa.string()),
    pa.field("date", _UTC),
    pa.field("received", _UTC),
    pa.field("size", pa.int64()),
    pa.field("seen", pa.bool_()),
    pa.field("flagged", pa.bool_()),
    pa.field("message_id", pa.string()),
    pa.field("attachments", pa.list_(pa.string())),
]
SCHEMA = pa.schema(_FIELDS)
KEY = ("mailbox_validity", "uid")
VALIDITY, UID, FROM, FILTER = "validity", "uid", "from", "filter"
_AT_ONCE = 500
_SEARCHED = 20_000
"""Messages are asked for by ranges of so many numbers."""


class ImapSource(Source):
    """Datasets are mailboxes. A position is the mailbox's UIDVALIDITY and the number of a message, all up to which are
    read; and from which number on, and with which filter, the last run read. Reading changes nothing in a mailbox; what
    `after` asks for is done when a whole run is visible."""

    tracks = True

    def __init__(self, settings: ImapSettings):
        self._settings = settings
        self._box = Mailbox(settings)

    def check(self) -> Iterator[str]:
        """dns, tcp, tls, login, then each mailbox with the number of its messages."""
        yield from self._box.stages()
        for name in self._names():
            state = self._box.select(name, write=self._settings.after != "keep")
            yield f"{name} ({state.next - 1} messages so far)"

    def _names(self) -> list[str]:
        return [self._settings.mailbox] if self._settings.mailbox else self._box.names()

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets: the mailboxes. Raises NotFoundError for one that is named and not there."""
        names = self._names()
        if self._settings.mailbox:
            self._box.select(self._settings.mailbox)
        return [Dataset(name, SCHEMA, key=KEY) for name in names if wanted(name, patterns)]

    def can_resume(self, dataset: Dataset) -> bool:
        """Always: numbers of messages only grow."""
        return True

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """The newest message there is now; None if it was read. What an earlier run left undone of `after` is done.
        Raises LostPositionError if the server has numbered the mailbox anew."""
        del ties
        if cursor:
            raise InvalidPlanError(f"a mailbox needs no cursor column ({cursor})", hint="leave the cursor out")
        state = self._box.select(dataset.name)
        if after is not None:
            self._same(dataset.name, state, after)
            self._put_away(dataset.name, after)
        newest, before = state.next - 1, int(after[UID]) if after else 0
        if newest <= before:
            return None
        return {VALIDITY: state.validity, UID: newest, FROM: before + 1, FILTER: self._filter}

    def _same(self, name: str, state: State, position: Position) -> None:
        if position.get(VALIDITY) not in (None, state.validity):
            raise LostPositionError(
                f"the server has numbered the messages of {name!r} anew (UIDVALIDITY {position[VALIDITY]} then, "
                f"{state.validity} now)",
                path=name,
                hint="run with --restart: all messages are read again; the key keeps them apart from the old ones",
            )

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        name = read.dataset.name
        state = self._box.select(name)
        spec: dict[str, Any] = dict(read.split.spec)
        after = read.after or spec.get("after") or {}
        until = read.until or spec.get("until") or {}
        for one in (after, until):
            self._same(name, state, one)
        position: Position = {VALIDITY: state.validity, UID: int(after.get(UID, 0))}
        last = int(until.get(UID, state.next - 1))
        schema = SCHEMA if read.columns is None else pa.schema([SCHEMA.field(column) for column in read.columns])
        for messages, upto in self._blocks(name, int(after.get(UID, 0)), last):
            if read.stop.is_set():
                return
            position = {VALIDITY: state.validity, UID: upto}
            if messages:
                yield Batch(name, _rows(messages, state.validity, schema), position)
        end = {**position, UID: max(last, int(position[UID])), "end": True}
        yield Batch(name, pa.RecordBatch.from_pylist([], schema=schema), read.until or end)

    def _blocks(self, name: str, after: int, last: int) -> Iterator[tuple[list[Message], int]]:
        """The messages after a number up to another, in order, with the number up to which they are all."""
        mail = self._settings.mail
        for first in range(after + 1, last + 1, _SEARCHED):
            upto = min(first + _SEARCHED - 1, last)
            uids = self._box.uids(name, first, upto, mail.criteria())
            for start in range(0, len(uids), _AT_ONCE):
                some = uids[start : start + _AT_ONCE]
                found = [one for one in self._box.messages(name, some) if fits(one, mail)]
                yield found, upto if start + _AT_ONCE >= len(uids) else some[-1]

    # ---- afterwards

    @property
    def _filter(self) -> str:
        """What tells this filter from others."""
        return hashlib.sha256(self._settings.mail.model_dump_json().encode()).hexdigest()[:16]

    def finished(self, dataset: Dataset, position: Position | None) -> None:
        """See Source.finished: what `after` asks for."""
        if position is not None:
            self._put_away(dataset.name, position)

    def _put_away(self, name: str, position: Position) -> None:
        """Mark, move or delete the messages that the run to a position has read; those that are done already are left
        alone. Nothing is done where the filter or the numbers are others by now: they would mean messages that nobody
        has read."""
        settings = self._settings
        if settings.after == "keep" or position.get(FILTER) != self._filter:
            return
        if self._box.select(name).validity != position[VALIDITY]:
            return
        undone = {"seen": ("UNSEEN",), "flag": ("UNFLAGGED",)}.get(settings.after, ("UNDELETED",))
        uids = self._box.uids(name, int(position[FROM]), int(position[UID]), (*settings.mail.criteria(), *undone))
        found = [one.uid for one in self._box.messages(name, uids) if fits(one, settings.mail)]
        if not found:
            return
        if settings.after == "move":
            if settings.archive not in self._box.names():
                self._box.make(settings.archive)
            self._box.move(name, found, settings.archive)
        elif settings.after == "delete":
            self._box.delete(name, found)
        else:
            self._box.flag(name, found, "\\Seen" if settings.after == "seen" else "\\Flagged")

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """One: a server answers one question after the other."""
        del wanted
        state = self._box.select(dataset.name)
        return [Split("0", dataset.name, {"until": {VALIDITY: state.validity, UID: state.next - 1}})]

    def close(self) -> None:
        """See Source.close."""
        self._box.close()


def _rows(messages: Sequence[Message], validity: int, schema: pa.Schema) -> pa.RecordBatch:
    columns: dict[str, list[Any]] = {
        "mailbox_validity": [validity] * len(messages),
        "uid": [one.uid for one in messages],
        "from": [one.sender for one in messages],
        "to": [list(one.to) for one in messages],
        "cc": [list(one.cc) for one in messages],
        "subject": [one.subject for one in messages],
        "date": [one.date for one in messages],
        "received": [one.received for one in messages],
        "size": [one.size for one in messages],
        "seen": ["\\Seen" in one.flags for one in messages],
        "flagged": ["\\Flagged" in one.flags for one in messages],
        "message_id": [one.message_id for one in messages],
        "attachments": [[part.name for part in one.attached] for one in messages],
    }
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
