"""Reads lists of records behind HTTP calls as datasets."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa

from tongqu.core.connector import Source
from tongqu.core.data import BadRow, Batch, Counts, Dataset, Mode, Position, Read, Split
from tongqu.core.errors import (
    CancelledError,
    InvalidPlanError,
    LostPositionError,
    NotFoundError,
)
from tongqu.kit.answers.doubles import Doubles
from tongqu.kit.answers.increments import Cursor, IncrementalSettings
from tongqu.kit.answers.rows import Rows
from tongqu.kit.lists.ahead import Ahead
from tongqu.kit.lists.catalog import Catalog, Listed
from tongqu.kit.lists.endpoint import Bounds, EmptyListError
from tongqu.kit.lists.parents import Target, same, targets
from tongqu.kit.patterns import nearest

_log = logging.getLogger(__name__)
_GATHER_ROWS = 32_768
_GATHER_BYTES = 16 << 20
_GATHER_SECONDS = 2.0


@dataclass(frozen=True)
class _Piece:
    """Records of one parent, and where to go on after them; None in the middle of an answer."""

    lines: bytes
    count: int
    target: Target
    after: Position | None


class ListSource(Source):
    """Datasets that are lists of an API.

    A full read goes on after any page; incremental reads ask for what has changed where the
    API can be asked, and drop the rest here.

    Records that come twice within 20,000 are read once where the key is known; those that do not fit the schema come as
    `Batch.bad`; an API that goes round in circles, or answers with an error in place of records, raises AnswerError.
    """

    def __init__(self, identity: str):
        self._identity = identity
        self.folder: Path | None = None
        """The connector's place in the project's home."""
        self._opened: Catalog | None = None

    @abstractmethod
    def open(self) -> Catalog:
        """The datasets, found when they are first needed."""

    def lodge(self, folder: Path) -> None:
        """See Source.lodge."""
        self.folder = folder

    @property
    def _catalog(self) -> Catalog:
        if self._opened is None:
            self._opened = self.open()
        return self._opened

    def check(self) -> Iterator[str]:
        """dns, tcp, tls and login where they apply, then the first page of the first dataset as `sample`."""
        catalog = self._catalog
        yield from catalog.http.stages()
        first = next(iter(catalog.names()), None)
        if first is not None:
            listed = catalog.listed(first)
            pager = listed.endpoint.pager()
            if not listed.endpoint.settings.parent:
                listed.endpoint.fetch(pager.first(), Bounds(), pager)
            yield f"sample {first}"

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """The datasets of the settings and of the document. Fields that are not given are found in the first page,
        which is kept for the read. Empty lists whose fields are not given have no schema: they are left out, with a
        warning, unless they are named; then SchemaError is raised."""
        found = []
        for listed in self._catalog.matching(patterns):
            try:
                found.append(self._dataset(listed))
            except EmptyListError as error:
                if listed.name in (patterns or ()):
                    raise
                _log.warning("left out: %s", error.message)
        return found

    def _dataset(self, listed: Listed) -> Dataset:
        rows = self._catalog.rows(listed)
        settings = listed.endpoint.settings
        cursor = settings.incremental.cursor if settings.incremental and not listed.inside else None
        schema = self._schema(listed, rows)
        own = () if not rows.key else (*self._kept_keys(listed, rows), *rows.key)
        return Dataset(listed.name, schema, key=tuple(dict.fromkeys(own)), cursor=cursor, title=settings.title)

    def _kept_keys(self, listed: Listed, rows: Rows) -> tuple[str, ...]:
        """Parents are part of a record's key, since its own may be unique below its parent only."""
        return tuple(f.name for f in self._catalog.kept(listed))

    def _schema(self, listed: Listed, rows: Rows) -> pa.Schema:
        own = set(rows.schema.names)
        return pa.schema([*(f for f in self._catalog.kept(listed) if f.name not in own), *rows.schema])

    def can_resume(self, dataset: Dataset) -> bool:
        """Always: positions are pages."""
        return True

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """One part, whose pages are asked for side by side; it remembers what was asked for."""
        del wanted
        return [Split("0", dataset.name, {"asked": self._need(dataset.name).endpoint.question()})]

    # ---- incremental

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """See Source.horizon: `{"cursor": value}`, for times the API's clock less the lag, for numbers the greatest
        among the changed records, for which those are read once more."""
        listed = self._need(dataset.name)
        marks = self._cursor(listed, dataset, cursor)
        before = after["cursor"] if after else None
        if not marks.scans:
            if not listed.endpoint.clock:
                bounds = self._catalog.bounds(listed)
                listed.endpoint.sample(bounds) if bounds is not None else None
            upper = marks.upper(listed.endpoint.clock or None, ties=ties)
            return {"cursor": before if before is not None and marks.greater(before, upper) else upper}
        greatest = None
        everything = Read(dataset, self.splits(dataset, 1)[0], mode=Mode.INCREMENTAL, cursor=cursor, ties=ties)
        for batch in self._batches(replace(everything, columns=(cursor,)), marks, (before, None)):
            found = marks.greatest(batch.rows)
            if found is not None and (greatest is None or marks.greater(found, greatest)):
                greatest = found
        if before is None:
            return None if greatest is None else {"cursor": greatest}
        if greatest is None or not marks.greater(greatest, before):
            return {"cursor": before} if ties else None
        return {"cursor": greatest}

    def _cursor(self, listed: Listed, dataset: Dataset, cursor: str) -> Cursor:
        told = listed.endpoint.settings.incremental
        settings = told if told is not None and told.cursor == cursor else IncrementalSettings(cursor=cursor)
        return Cursor(settings, dataset.schema.field(cursor).type)

    # ---- reading

    def read(self, read: Read) -> Iterator[Batch]:
        """Batches of whole pages, each with the state of the next one; see Source.read."""
        if read.after is not None and read.after.get("end"):
            return
        listed = self._need(read.dataset.name)
        asked = listed.endpoint.question()
        if read.after is not None and read.split.spec.get("asked", asked) != asked:
            raise LostPositionError(
                f"{read.dataset.name} asks for other records than when this run began", path=read.dataset.name,
                hint="put its path and parameters back, or run with --restart",
            )  # fmt: skip
        if read.mode is Mode.INCREMENTAL and read.cursor:
            spec = read.split.spec
            after = spec["after"]["cursor"] if spec.get("after") else None
            marks = self._cursor(listed, read.dataset, read.cursor)
            yield from self._batches(read, marks, (after, spec["until"]["cursor"]))
        elif read.mode is Mode.FULL:
            yield from self._batches(read, None, (None, None))
        else:
            raise InvalidPlanError(f"an API has no mode {read.mode.value}", hint="valid modes: full, incremental")

    def _batches(self, read: Read, marks: Cursor | None, range_: tuple[Any, Any]) -> Iterator[Batch]:
        listed = self._need(read.dataset.name)
        params = self.narrowed(read)
        if marks is not None:
            params, range_ = _parameters(listed, marks, range_, ties=read.ties)
        reading = _Reading(self._catalog, listed, read, marks, range_)
        last: Position = dict(read.after or {})
        try:
            for batch in reading.batches(Bounds(params=params)):
                last = batch.position or last
                yield batch
        except CancelledError:
            if not read.stop.is_set():
                raise
        if not read.stop.is_set():
            empty = pa.RecordBatch.from_pylist([], schema=reading.schema)
            yield Batch(read.dataset.name, empty, read.until or {**last, "end": True})

    def narrowed(self, read: Read) -> tuple[tuple[str, str], ...]:
        """The parameters by which a full read is narrowed to its split, where a dataset has several."""
        del read
        return ()

    def _need(self, name: str) -> Listed:
        listed = self._catalog.find(name)
        if listed is None:
            names = self._catalog.names()
            raise NotFoundError(
                f"there is no dataset {name!r} in {self._identity}", path=self._identity,
                hint=f"near are: {nearest(name, names) or 'none'}",
            )  # fmt: skip
        return listed

    def close(self) -> None:
        """See Source.close."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None


def _parameters(
    listed: Listed, marks: Cursor, range_: tuple[Any, Any], *, ties: bool
) -> tuple[tuple[tuple[str, str], ...], tuple[Any, Any]]:
    """What the API is asked, and the range that rows are held to."""
    settings = marks.settings
    after = None if range_[0] is None else marks.lower(range_[0], ties=ties)
    params = []
    if settings.param and after is not None:
        params.append((settings.param, marks.parameter(after)))
    if settings.until_param and range_[1] is not None:
        params.append((settings.until_param, marks.parameter(range_[1], up=True)))
    return tuple(params), (after, range_[1])


class _Reading:
    """One read: gathers pages into batches."""

    def __init__(self, catalog: Catalog, listed: Listed, read: Read, marks: Cursor | None, range_: tuple[Any, Any]):
        self._catalog, self._listed, self._read = catalog, listed, read
        self._marks, self._range = marks, range_
        self._rows = catalog.rows(listed)
        whole = read.dataset.schema
        self.schema = whole if read.columns is None else pa.schema([whole.field(name) for name in read.columns])
        self._doubles = Doubles(read.dataset.key)
        self._records = 0

    def batches(self, bounds: Bounds) -> Iterator[Batch]:
        """Batches from the read's position on; each position is the state after whole pages."""
        waiting: list[_Piece] = []
        begun = monotonic()
        for piece in self._pieces(bounds):
            if self._read.stop.is_set():
                return
            waiting.append(piece)
            ended = same(piece.after, self._read.until)
            rows, size = sum(one.count for one in waiting), sum(len(one.lines) for one in waiting)
            full = rows >= min(self._read.batch_rows, _GATHER_ROWS) or size >= _GATHER_BYTES
            if full or ended or monotonic() - begun > _GATHER_SECONDS:
                if ended and piece.after is not None:
                    waiting[-1] = replace(piece, after=self._read.until)
                yield from self._batch(waiting)
                waiting, begun = [], monotonic()
            if ended:
                return
        if waiting:
            yield from self._batch(waiting)

    def _batch(self, waiting: list[_Piece]) -> Iterator[Batch]:
        """Pieces as rows; records of one parent are parsed together."""
        parts: list[pa.RecordBatch] = []
        bad: list[BadRow] = []
        at = 0
        while at < len(waiting):
            end = at + 1
            while end < len(waiting) and waiting[end].target.values == waiting[at].target.values and not self._rows.csv:
                end += 1
            group = waiting[at:end]
            lines = b"".join(_ended(one.lines) for one in group)
            rows, refused = self._rows.parse(lines, self._records, texts=self._listed.endpoint.texts)
            self._records += sum(one.count for one in group)
            bad += refused
            parts.append(group[0].target.completed(rows, self._read.dataset.schema))
            at = end
        table = pa.Table.from_batches(parts, schema=self._read.dataset.schema).combine_chunks()
        batches = table.to_batches()
        rows = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
        rows, doubles = self._doubles.without(rows)
        if self._marks is not None:
            rows = rows.filter(self._marks.between(rows, *self._range, ties=self._read.ties))
        counts = Counts(read=doubles, deduplicated=doubles) if doubles else None
        position = next((one.after for one in reversed(waiting) if one.after is not None), None)
        position = position if waiting[-1].after is not None else None
        rows = rows.select(self.schema.names)
        if rows.num_rows or bad or counts or position is not None:
            yield Batch(self._read.dataset.name, rows, position, bad=tuple(bad), counts=counts)

    def _pieces(self, bounds: Bounds) -> Iterator[_Piece]:
        """What comes of the lists in order; below parents, several are asked for at the same time, unless the reader
        wants so many rows only: then nothing is asked for before its turn."""
        catalog, listed, read = self._catalog, self._listed, self._read
        width = catalog.http.settings.limits.concurrency if read.limit is None else 1
        ahead = Ahead(
            listed.endpoint, width if listed.endpoint.settings.parent else 1,
            streams=not listed.inside, stop=read.stop,
        )  # fmt: skip
        with closing(ahead.lists(targets(catalog, listed, bounds, read.after, width), read.until)) as lists:
            for target, parts in lists:
                for part in parts:
                    yield _Piece(part.lines, part.count, target, target.after(part.next) if part.whole else None)


def _ended(lines: bytes) -> bytes:
    return lines if lines.endswith(b"\n") or not lines else lines + b"\n"
