"""Reads the streams of a foreign program as datasets, whatever protocol it speaks."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any, Literal, cast

import pyarrow as pa

from tongqu.core.connector import Source
from tongqu.core.data import BadRow, Batch, Dataset, Mode, Position, Read
from tongqu.core.errors import InvalidPlanError, NotFoundError, altered
from tongqu.kit import lasting
from tongqu.kit.answers.rows import Rows, Shape
from tongqu.kit.foreign.json_schema import fields
from tongqu.kit.foreign.messages import Event, Failure, Protocol, Records, Schema, State
from tongqu.kit.foreign.process import Process, Sandbox, whole_lines
from tongqu.kit.foreign.settings import ForeignSettings
from tongqu.kit.foreign.shelf import Shelf
from tongqu.kit.patterns import nearest, wanted

_GATHER_ROWS = 32_768
_GATHER_BYTES = 16 << 20
_GATHER_SECONDS = 2.0
STATE = "state"


@dataclass(frozen=True)
class Described:
    """A stream as the program describes it."""

    name: str
    schema: Mapping[str, Any]
    key: tuple[str, ...] = ()
    incremental: bool = True
    """Whether the program can go on from a state."""
    raw: Mapping[str, Any] = field(default_factory=dict)
    """All that the program says of it."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Types of single fields, by our names, where the whole schema is not said."""


class ForeignSource(Source):
    """Datasets are the program's streams; each read runs the program for one stream alone.

    A position is the program's own state. A full read begins without state and cannot be cut: its rows wait until all
    have come. An incremental read begins with the state that the last one left, can be cut wherever the program gives
    a state, and what it leaves is known when it has ended (`learns`). What a program gives twice after such a cut is
    merged by key where there is one. Records that do not fit the schema come as `Batch.bad`.
    """

    tracks = True
    learns = True
    resumable = False

    def __init__(self, settings: ForeignSettings):
        self.settings = settings
        self.sandbox = Sandbox(settings)
        self._lodging: Path | None = None
        self._found: dict[str, Described] | None = None
        self._rows: dict[str, Rows] = {}

    # ---- what a protocol brings

    @abstractmethod
    def discover(self) -> list[Described]:
        """The program's streams."""

    @abstractmethod
    def command(self, stream: Described, *, incremental: bool, state: Any) -> Sequence[str | Path]:
        """The command that reads one stream, on from a state if it is not None."""

    @abstractmethod
    def protocol(self, stream: str) -> Protocol:
        """How its messages are read."""

    # ----

    def lodge(self, folder: Path) -> None:
        """See Source.lodge: home is where packages are installed; schemas that a program said while it was read."""
        self._lodging = folder

    @abstractmethod
    def installed(self) -> Path:
        """The program; raises MissingDriverError if it is not installed."""

    def program(self, name: str) -> Path:
        """The path of an installed program; raises MissingDriverError."""
        return self.shelf.program(self.settings.package or name, name)

    @property
    def shelf(self) -> Shelf:
        """Where packages are installed."""
        return Shelf.of_lodging(self._lodging, self.settings.installed)

    def check(self) -> Iterator[str]:
        """installed, the label of its egress, the number of streams, then the first record of the first stream as
        `sample`."""
        self.installed()
        yield "installed"
        yield self.settings.reach
        found = self._streams()
        yield f"streams ({len(found)})"
        first = next(iter(found.values()), None)
        if first is not None:
            count = sum(1 for _ in self._sampled(first, 1))
            yield f"sample {first.name}" if count else f"sample {first.name} (empty)"

    def _streams(self) -> dict[str, Described]:
        if self._found is None:
            self._found = {one.name: self._remembered(one) for one in self.discover()}
        return self._found

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets. A stream whose schema the program does not say is sampled."""
        return [self._dataset(one) for one in self._streams().values() if wanted(one.name, patterns)]

    def _dataset(self, stream: Described) -> Dataset:
        rows = self._shape(stream)
        return Dataset(stream.name, rows.schema, key=rows.key)

    def _need(self, name: str) -> Described:
        found = self._streams()
        if name not in found:
            raise NotFoundError(
                f"{self.settings.program} has no stream {name!r}",
                path=self.settings.program,
                hint=f"near are: {nearest(name, list(found)) or 'none'}",
            )
        return found[name]

    def _shape(self, stream: Described) -> Rows:
        if stream.name not in self._rows:
            told = self.settings.of(stream.name)
            key = tuple(told.key) or stream.key
            others = cast(Literal["error", "ignore"], self.settings.others)
            known, loose = fields(stream.schema, key, told.fields)
            if known and stream.schema.get("properties"):
                key = tuple(name for name in key if name in {one.name for one in known}) if stream.key else key
                made = Rows(pa.schema(known), Shape(), key, loose, others)
            else:
                sample = list(self._sampled(stream, self.settings.sample))
                types = {**stream.types, **told.fields}
                made = Rows.learnt(sample, Shape(), key if sample else (), types, others=others)
            self._rows[stream.name] = made
        return self._rows[stream.name]

    def _sampled(self, stream: Described, most: int) -> Iterator[bytes]:
        """The first records of a stream, about so many."""
        seen = 0
        for event in self._events(stream, incremental=False, state=None, stop=lambda: False):
            if isinstance(event, Records):
                seen += event.count
                yield event.lines if event.lines.endswith(b"\n") else event.lines + b"\n"
                if seen >= most:
                    return

    # ---- what a program says while it is read

    def _remembered(self, stream: Described) -> Described:
        """The stream with the schema that the program said when it was read, if it has described it the same since."""
        held = self._memory().get(stream.name)
        if not held or held["described"] != _digest(stream):
            return stream
        return replace(stream, schema=held["schema"], key=tuple(held["key"]))

    def _memory(self) -> dict[str, Any]:
        if self._lodging is None or not (file := self._lodging / "schemas.json").is_file():
            return {}
        held: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return held

    def _meet(self, stream: Described, said: Schema, rows: Rows) -> None:
        """Raise SchemaError if records will not be as planned; the next discovery then knows."""
        told = self.settings.of(stream.name)
        if not said.schema.get("properties") or not stream.schema.get("properties"):
            return
        coming, _ = fields(said.schema, rows.key, told.fields)
        planned = {one.name: one.type for one in rows.schema}
        differ = [str(one) for one in coming if planned.get(one.name) != one.type]
        if not differ:
            return
        if self._lodging is not None:
            described = next(one for one in self.discover() if one.name == stream.name)
            held = self._memory()
            held[stream.name] = {"described": _digest(described), "schema": said.schema, "key": said.key or stream.key}
            lasting.make_folder(self._lodging, 0o700)
            lasting.put(self._lodging / "schemas.json", json.dumps(held).encode())
        raise altered(stream.name, ", ".join(differ))

    # ---- reading

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """Where the read begins: the state that the last one left. Raises InvalidPlanError for a cursor column, and for
        a stream that the program cannot read on from a state."""
        del ties
        if cursor:
            raise InvalidPlanError(
                f"{self.settings.program} finds what is new by itself ({dataset.name} by {cursor})",
                hint=f"leave the cursor out, or set streams.{dataset.name}.cursor of the connection",
            )
        if not self._need(dataset.name).incremental:
            raise InvalidPlanError(
                f"{self.settings.program} cannot read {dataset.name!r} incrementally", hint="valid modes: full"
            )
        return {STATE: after.get(STATE) if after else None}

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read."""
        if read.after is not None and read.after.get("end"):
            return
        if read.mode not in (Mode.FULL, Mode.INCREMENTAL):
            raise InvalidPlanError(
                f"{self.settings.program} has no mode {read.mode.value}", hint="valid modes: full, incremental"
            )
        stream = self._need(read.dataset.name)
        yield from _Reading(self, stream, self._shape(stream), read).batches()

    def _events(self, stream: Described, *, incremental: bool, state: Any, stop: Any) -> Iterator[Event]:
        """The events of one run of the program. Raises ReadError if it fails."""
        process = self.sandbox.start([*map(str, self.command(stream, incremental=incremental, state=state))])
        failure: Failure | None = None
        try:
            blocks = whole_lines(process.blocks(stop), self.settings.program)
            for event in self.protocol(stream.name).events(blocks):
                if isinstance(event, Failure):
                    failure = event
                else:
                    yield event
            if not stop():
                self._end(process, failure)
        finally:
            process.close()

    def _end(self, process: Process, failure: Failure | None) -> None:
        if failure is not None:
            process.finish()
            raise failure.error
        process.need_success()

    def close(self) -> None:
        """See Source.close."""
        self.sandbox.close()


class _Reading:
    """One read of one stream: gathers records into batches, cut where the program gives a state."""

    def __init__(self, source: ForeignSource, stream: Described, rows: Rows, read: Read):
        self._source, self._stream, self._shape, self._read = source, stream, rows, read
        whole = read.dataset.schema
        self._schema = whole if read.columns is None else pa.schema([whole.field(name) for name in read.columns])
        self._cuts = read.mode is Mode.INCREMENTAL
        begun = read.after or (read.split.spec.get("after") if self._cuts else None) or {}
        self._state: Any = begun.get(STATE)
        self._waiting: list[bytes] = []
        self._rows = self._bytes = self._before = 0
        self._firm: Position | None = None
        """The position after all that waits up to `_firm_at`, if the program has given one."""
        self._firm_at = 0

    def batches(self) -> Iterator[Batch]:
        stop, since = self._read.stop.is_set, monotonic()
        events = self._source._events(  # the two are one
            self._stream, incremental=self._cuts, state=self._state, stop=stop
        )
        for event in events:
            if isinstance(event, Records):
                self._take(event)
            elif isinstance(event, State):
                self._state = event.value
                if self._cuts and event.firm:
                    self._firm, self._firm_at = {STATE: event.value}, len(self._waiting)
            elif isinstance(event, Schema):
                self._source._meet(self._stream, event, self._shape)
            many = self._rows >= min(self._read.batch_rows, _GATHER_ROWS) or self._bytes >= _GATHER_BYTES
            if many or (self._firm is not None and monotonic() - since > _GATHER_SECONDS):
                yield from self._flush()
                since = monotonic()
        if stop():
            return
        yield from self._all()
        empty = pa.RecordBatch.from_pylist([], schema=self._schema)
        end: Position = {STATE: self._state, "end": True}
        yield Batch(self._read.dataset.name, empty, end)

    def _take(self, records: Records) -> None:
        lines = records.lines if records.lines.endswith(b"\n") or not records.lines else records.lines + b"\n"
        self._waiting.append(lines)
        self._rows += records.count
        self._bytes += len(lines)

    def _flush(self) -> Iterator[Batch]:
        """What waits up to the last state, with it as position; all that waits if there was none."""
        if self._firm is None:
            yield from self._all()
            return
        rest, position = self._waiting[self._firm_at :], self._firm
        self._waiting = self._waiting[: self._firm_at]
        batch = self._batch(position)
        self._waiting, self._firm, self._firm_at = rest, None, 0
        self._rows, self._bytes = sum(one.count(b"\n") for one in rest), sum(map(len, rest))
        yield batch

    def _all(self) -> Iterator[Batch]:
        if not self._waiting:
            return
        batch = self._batch(None)
        self._waiting, self._rows, self._bytes, self._firm, self._firm_at = [], 0, 0, None, 0
        yield batch

    def _batch(self, position: Position | None) -> Batch:
        lines = b"".join(self._waiting)
        rows, bad = self._parsed(lines)
        self._before += lines.count(b"\n")
        return Batch(self._read.dataset.name, rows.select(self._schema.names), position, bad=bad)

    def _parsed(self, lines: bytes) -> tuple[pa.RecordBatch, tuple[BadRow, ...]]:
        return self._shape.parse(lines, self._before)


def _digest(stream: Described) -> str:
    text = json.dumps([stream.schema, stream.key], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
