"""Follows streams by our own sequences: what comes is read in order, whoever else reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic

import numpy as np

from tongqu.connectors.nats.jetstream import JetStream, Reading, Stream, instant, lost, told
from tongqu.connectors.nats.settings import NatsSettings
from tongqu.connectors.nats.subject import Subject
from tongqu.connectors.nats.wire import Message
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Position
from tongqu.core.log import Finding, Follow, Lag, Log
from tongqu.kit.messages.logs import batches, beginning, heartbeat, only_changes

_IDLE, _POLL = 1.0, 0.1


class NatsLog(Log):
    """The messages of some streams. A position is, by dataset, which stream it was and the sequence of the last message
    that was read: `{streams: {orders: {made: "2026-…", at: 5}}}`."""

    def __init__(self, settings: NatsSettings, name: str, subjects: Sequence[Subject]):
        self._settings = settings
        self._subjects = {subject.dataset: subject for subject in subjects}
        self.changes = only_changes(name, "stream", subjects)

    def begin(self) -> Position:
        """See Log.begin: where streams begin or, with `start: latest`, end. Changes are always read from the beginning:
        what they add up to is the table."""
        latest = self._settings.start == "latest" and not self.changes
        return _position({d: (s, s.last if latest else s.first - 1) for d, s in self._streams().items()})

    def snapshot(self) -> Source | None:
        """See Log.snapshot: nothing has to be read beside the streams of changes."""
        return beginning([*self._subjects.values()])

    def head(self) -> Position:
        """See Log.head."""
        return _position({dataset: (stream, stream.last) for dataset, stream in self._streams().items()})

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        ours = sequences(position)
        return all(ours.get(dataset, -1) >= at for dataset, at in sequences(until).items())

    def _streams(self) -> dict[str, Stream]:
        jetstream = JetStream(self._settings)
        try:
            return {dataset: jetstream.stream(one.settings.stream) for dataset, one in self._subjects.items()}
        finally:
            jetstream.close()

    # ---- reading

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        jetstream = JetStream(self._settings)
        try:
            yield from self._follow(jetstream, follow)
        finally:
            jetstream.close()

    def _follow(self, jetstream: JetStream, follow: Follow) -> Iterator[Batch]:
        readings = {dataset: self._found(jetstream, dataset, follow.after) for dataset in self._subjects}
        said = monotonic()
        while not follow.stop.is_set():
            position = _position({dataset: (one.stream, one.at) for dataset, one in readings.items()})
            if follow.until is not None and self.reached(position, follow.until):
                if sequences(position) != sequences(follow.after):
                    yield self._heartbeat(position)
                return
            before = {dataset: one.at for dataset, one in readings.items()}
            fresh = self._take(jetstream, readings, follow.batch_rows)
            if any(fresh.values()):
                self._whole(jetstream, readings, before, fresh)
                yield from self._batches(readings, fresh)
                said = monotonic()
            elif monotonic() - said > _IDLE:
                said = monotonic()
                yield self._heartbeat(_position({dataset: (one.stream, one.at) for dataset, one in readings.items()}))

    def _found(self, jetstream: JetStream, dataset: str, after: Position) -> Reading:
        """Go to our place; raises LostPositionError for one that the stream does not have any more."""
        subject = self._subjects[dataset]
        stream = jetstream.stream(subject.settings.stream)
        given = (after.get("streams") or {}).get(dataset)
        if given is None:  # a dataset that came later
            return jetstream.reading(stream, subject.settings.subject, stream.first - 1)
        at = int(given["at"])
        if given["made"] != stream.made or stream.first > at + 1 or at > stream.last:
            raise lost(stream, at, jetstream.where)
        return jetstream.reading(stream, subject.settings.subject, at)

    def _take(self, jetstream: JetStream, readings: Mapping[str, Reading], most: int) -> dict[str, list[Message]]:
        """What has come: waits for one message, and takes the others that are there."""
        fresh: dict[str, list[Message]] = {dataset: [] for dataset in readings}
        for reading in readings.values():
            reading.ask()
        came, count = jetstream.wire.next(_POLL), 0
        while came is not None:
            for dataset, reading in readings.items():
                if reading.mine(came):
                    found = reading.take(came)
                    if found is not None:
                        fresh[dataset].append(found)
                        count += 1
                    break
            if count >= most:
                break
            came = jetstream.wire.next(0)
        return fresh

    def _whole(
        self, jetstream: JetStream, readings: Mapping[str, Reading], before: Mapping[str, int],
        fresh: Mapping[str, list[Message]],
    ) -> None:  # fmt: skip
        """Where sequences are missing, the stream must not have lost them before we came: raises LostPositionError."""
        for dataset, messages in fresh.items():
            numbers = np.array([before[dataset], *(told(message)[0] for message in messages)], np.int64)
            gaps = np.flatnonzero(np.diff(numbers) > 1)
            if not len(gaps):
                continue
            stream = jetstream.stream(self._subjects[dataset].settings.stream)
            at = int(numbers[gaps[-1]])
            if stream.first > at + 1 or stream.made != readings[dataset].stream.made:
                raise lost(stream, at, jetstream.where)

    def _batches(self, readings: Mapping[str, Reading], fresh: Mapping[str, list[Message]]) -> Iterator[Batch]:
        decoded = [(dataset, self._subjects[dataset].rows(some)) for dataset, some in fresh.items() if some]
        yield from batches(decoded, _position({dataset: (one.stream, one.at) for dataset, one in readings.items()}))

    def _heartbeat(self, position: Position) -> Batch:
        return heartbeat(next(iter(self._subjects.values())).described(), position)

    # ---- what is known of it

    def lag(self, position: Position) -> Lag:
        """See Log.lag: messages of the whole stream, and the time until the stream's age limit takes the next."""
        ours, behind, seconds, until_loss = sequences(position), 0, None, None
        jetstream = JetStream(self._settings)
        try:
            for dataset, subject in self._subjects.items():
                stream = jetstream.stream(subject.settings.stream)
                at = max(ours.get(dataset, 0), stream.first - 1)
                behind += max(stream.last - at, 0)
                following = {"seq": at + 1, "next_by_subj": subject.settings.subject or ">"}
                found = jetstream.message(stream.name, following) if stream.last > at else None
                if found is None:
                    continue
                age = max((datetime.now(UTC) - instant(found["time"])).total_seconds(), 0.0)
                seconds = max(seconds or 0.0, age)
                if stream.seconds is not None:
                    until_loss = min(until_loss if until_loss is not None else stream.seconds, stream.seconds - age)
        finally:
            jetstream.close()
        return Lag(rows=behind, seconds=seconds, until_loss=until_loss)

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        found = []
        for stream in self._streams().values():
            kept = stream.config.get("retention", "limits")
            if kept != "limits":
                fix = f"nats stream add {stream.name}_copy --source {stream.name} --retention limits"
                found.append(Finding("retention", "error", f"{stream.name}: {kept}, each message is given once", fix))
                continue
            limits = {name: stream.config.get(name, -1) for name in ("max_age", "max_msgs", "max_bytes")}
            told = ", ".join(f"{name} {value}" for name, value in limits.items() if int(value or 0) > 0)
            if int(stream.config.get("max_msgs_per_subject", -1)) > 0:
                fix = f"nats stream edit {stream.name} --max-msgs-per-subject=-1"
                what = f"{stream.name}: only the newest of each subject are kept; what was replaced is a lost position"
                found.append(Finding("retention", "warning", what, fix))
            else:
                found.append(Finding("retention", "ok", f"{stream.name}: {told or 'nothing is thrown away'}"))
        return found


def sequences(position: Position) -> dict[str, int]:
    """The sequences of a position, by dataset."""
    return {dataset: int(one["at"]) for dataset, one in (position.get("streams") or {}).items()}


def _position(at: Mapping[str, tuple[Stream, int]]) -> Position:
    return {"streams": {dataset: {"made": s.made, "at": n} for dataset, (s, n) in sorted(at.items())}}
