"""Reads datasets from files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Event, Lock

import pyarrow as pa

from tongqu.connectors.file.arrivals import (
    COUNT,
    PARTS,
    SEEN,
    Known,
    fresh,
    packed,
    place_of,
    put_away,
    ready,
    unpacked,
    versions,
)  # fmt: skip
from tongqu.connectors.file.choices import chosen
from tongqu.connectors.file.completing import completed
from tongqu.connectors.file.finding import find
from tongqu.connectors.file.layout import Layout, Part
from tongqu.connectors.file.looking import Looked, look_at_all, look_at_new
from tongqu.connectors.file.memory import Memory
from tongqu.connectors.file.passing import passing, pieces
from tongqu.connectors.file.scanning import scannable, scanned
from tongqu.connectors.file.settings import FileSettings
from tongqu.connectors.file.shelf import Shelf, path_of
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Bytes, Dataset, Mode, Position, Read, Split
from tongqu.core.errors import InvalidPlanError, NotFoundError
from tongqu.core.log import Log
from tongqu.core.scan import Scan
from tongqu.core.select import Select
from tongqu.kit import files
from tongqu.kit.formats.columnar import ParquetFile, fitted
from tongqu.kit.patterns import wanted

_NOTHING = pa.RecordBatch.from_pylist([])
_PARQUET_SPLIT = 64 << 20
"""Row groups are read as splits of their own when they hold more bytes than this together."""


class FileSource(Source):
    """Datasets of a file, glob or folder, here or elsewhere. A read can be cut after any batch.

    An incremental read gives the files that are new since the last finished run, without a cursor: the position holds
    what is known of each (`arrivals`). A file that changes meanwhile stops a run (LostPositionError). Rows that cannot
    be read come as `Batch.bad`.
    """

    tracks = True

    def __init__(self, settings: FileSettings):
        self._settings = chosen(settings)
        self._shelf = Shelf(self._settings)
        self._memory = Memory(None)
        self._looked: dict[str, Looked] = {}
        self._found: dict[str, list[files.Found]] = {}
        self._lock = Lock()
        self._done: dict[str, set[str]] = {}
        """By path of a file: the datasets in it that are read and finished."""

    def lodge(self, folder: Path) -> None:
        """See Source.lodge: copies of files that must be sought, while they are needed; remembered schemas."""
        self._shelf.lodge(folder)
        self._memory = Memory(folder)

    def check(self) -> Iterator[str]:
        """For files elsewhere the stages of the connection; `path`, then each file with what was detected about it."""
        if self._shelf.place is not None:
            yield from self._shelf.place.stages()
        try:
            self._found = found = self._arrived()
        except NotFoundError:
            if not self._memory.datasets(None):
                raise
            found = {}  # all that came so far is read and put away
        yield "path"
        for name in found:
            for part in self._layout(name).parts:
                yield part.describe()

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """The datasets with their inferred schemas; inference reads the files (see `layout.SCAN`)."""
        try:
            self._found = found = self._arrived()
        except NotFoundError:
            if gone := self._memory.datasets(patterns):
                return gone
            raise
        names = [name for name in found if wanted(name, patterns)]
        with self._lock:
            self._looked = {name: look_at_new(self._shelf, self._memory, name, found[name]) for name in names}
        layouts = [one.layout for one in self._looked.values()]
        forms = {one.form for one in self._looked.values()}
        self.formats = tuple(form for form in forms if form) if len(forms) == 1 else ()
        here = [Dataset(one.name, one.schema, key=one.key, rows=one.rows) for one in layouts]
        away = self._memory.datasets(patterns) if self._settings.after != "keep" else []
        return here + [one for one in away if one.name not in found]

    def _arrived(self) -> dict[str, list[files.Found]]:
        """The files that are there and complete; raises NotFoundError if there is none."""
        found = ready(self._shelf, find(self._shelf), Event())
        if not found:
            shown = self._settings.display()
            raise NotFoundError(
                f"no file of {shown} is complete", path=shown, hint="see marker, min_age_seconds and stable_seconds"
            )
        return found

    def _layout(self, name: str) -> Layout:
        return self._whole(name).layout

    def _whole(self, name: str) -> Looked:
        """All files of a dataset looked at; with the columns' types that are told already."""
        with self._lock:
            looked = self._looked.get(name)
            if looked is None or not looked.whole:
                found = self._found = self._found or self._arrived()
                if name not in found:
                    raise NotFoundError(
                        f"no dataset {name!r} in {self._settings.display()}",
                        path=self._settings.identity(),
                        hint=f"there are: {', '.join(list(found)[:20])}",
                    )
                known = looked.layout.schema if looked is not None else None
                looked = self._looked[name] = look_at_all(self._shelf, name, found[name], known)
            return looked

    def scan(self, dataset: Dataset) -> AbstractContextManager[Scan] | None:
        """See Source.scan: plain Parquet."""
        layout = self._layout(dataset.name)
        return scanned(layout) if self._shelf.place is None and scannable(layout) else None

    def can_resume(self, dataset: Dataset) -> bool:
        """Always: positions are places in the files."""
        return True

    def splits(self, dataset: Dataset, wanted: int) -> list[Split]:
        """One split a file, neighbours together if there are more files than wanted; large Parquet files by row
        groups if there are fewer."""
        parts = list(self._layout(dataset.name).parts)
        if len(parts) < wanted:
            parts = [piece for part in parts for piece in self._by_groups(part, max(wanted // len(parts), 1))]
        count = max(min(wanted, len(parts)), 1)
        bounds = [len(parts) * i // count for i in range(count + 1)]
        groups = [parts[a:b] for a, b in pairwise(bounds)]
        return [Split(_split_id(group), dataset.name, {"parts": [p.to_json() for p in group]}) for group in groups]

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """The position after all files that are there now; None if none of them is new. What a run before has left to
        be put away is put away. Raises InvalidPlanError for a cursor: files have none."""
        del ties
        if cursor:
            raise InvalidPlanError(
                f"files have no cursor column ({dataset.name} by {cursor})", hint="leave the cursor out"
            )
        found, known = self._found.get(dataset.name, []), Known.of(after)
        if self._settings.after != "keep":
            found = self._without_known(dataset.name, found, known)
        new = fresh(self._shelf, found, known, self._settings.display())
        now = Known(versions(self._shelf, found).values())
        if looked := self._looked.get(dataset.name):
            self._memory.keep(dataset, self._settings.of(dataset.name), now, looked.form)
        if not new or looked is None:
            return None
        parts = looked.parts()
        if any(id(one) not in parts for one in new):  # its columns are known, and this stream has not read it
            parts = self._whole(dataset.name).parts()
        return {SEEN: now.to_text(), COUNT: len(now), PARTS: packed([parts[id(one)] for one in new])}

    def _without_known(self, dataset: str, found: list[files.Found], known: Known) -> list[files.Found]:
        """The files less those that were read before and are the same, which are put away."""
        listed = versions(self._shelf, found)
        old = {path for path, (name, version) in listed.items() if known.get(name) == version}
        self._put_away(dataset, old, known)
        return [one for one in found if path_of(one.path)[0] not in old]

    def finished(self, dataset: Dataset, position: Position | None) -> None:
        """See Source.finished: the files that were read are put away, if the settings say so."""
        if self._settings.after != "keep" and position:
            paths = {part.path for part in unpacked(position.get(PARTS, ()))}
            self._put_away(dataset.name, paths, Known.of(position))

    def _put_away(self, dataset: str, paths: Iterable[str], known: Known) -> None:
        """Put away the files that no other dataset is in which has yet to be finished."""
        with self._lock:
            bundle = place_of(self._shelf).bundle
            here = {path: bundle(path) for path in paths}
            for path in here:
                self._done.setdefault(path, set()).add(dataset)
            waiting: set[str] = set()
            for name, found in self._found.items():
                listed = {path_of(one.path)[0] for one in found}
                waiting |= {bundle(path) for path in listed if name not in self._done.get(path, ())}
            over = [path for path, own in here.items() if own not in waiting]
        put_away(self._shelf, over, known)

    def _parts(self, read: Read) -> list[Part]:
        if read.mode is Mode.INCREMENTAL:
            return unpacked((read.split.spec.get("until") or {}).get(PARTS, ()))
        if read.mode is not Mode.FULL:
            raise InvalidPlanError(
                f"files have no mode {read.mode.value}", hint="valid modes: full, incremental, stream"
            )
        spec = read.split.spec.get("parts")
        return [Part.from_json(one) for one in spec] if spec else list(self._layout(read.dataset.name).parts)

    def read(self, read: Read) -> Iterator[Batch]:
        """Batches of the split's files in order; the position is (part, place in it)."""
        schema = read.dataset.schema
        asked = schema if read.columns is None else pa.schema([schema.field(name) for name in read.columns])
        after, until = dict(read.after or {}), dict(read.until or {})
        ended, _ = after.pop("end", False), until.pop("end", None)
        last: int | None = -1 if ended else until.pop("part", None)
        position: Position = dict(read.after or {})
        for number, part in enumerate(self._parts(read)):
            if number < after.get("part", 0) or (last is not None and number > last):
                continue
            start = {k: v for k, v in after.items() if k != "part"} if number == after.get("part") else None
            end = until if number == last else None
            own = pa.schema([f for f in asked if f.name in part.columns])
            with files.translated(self._shelf.file(part.path, part.member)):
                for piece in part.reader(schema, self._shelf).read(own, start or None, end, read.batch_rows):
                    if read.stop.is_set():
                        return
                    position = {"part": number, **piece.position}
                    if piece.rows.num_rows or piece.bad:
                        yield Batch(read.dataset.name, completed(piece.rows, asked, part), position, bad=piece.bad)
                if self._shelf.place is None:  # a stream from elsewhere looks by itself when it is at its end
                    part.unchanged(self._shelf)
        if read.until is None or position != read.until:
            yield Batch(read.dataset.name, fitted(_NOTHING, asked), read.until or {**position, "end": True})

    def wire_types(self, dataset: Dataset, select: Select) -> list[str]:
        """Arrow's names of the columns' types: in a CSV file they are inferred and the bytes are text."""
        return [str(dataset.schema.field(column.name).type) for column in select.columns]

    def copy_out(self, read: Read, select: Select, format: str) -> Iterator[Bytes]:
        """The rows as they stand in the files; `types` are Arrow's names.

        `csv`: without the header, cut at record ends into chunks of about `chunk_rows` rows (at most 32 MiB); a chunk
        that CSV readers may understand differently raises RefusedRowsError when its bytes are asked for.
        `parquet-path`: ranges of about `chunk_rows` rows, see `kit.formats.parquet_chunks`.
        Raises InvalidPlanError if the files cannot pass so, LostPositionError if one has changed.
        """
        schema = read.dataset.schema
        parts = self._parts(read)
        plain = [c.name for c in select.columns] == schema.names and not any(c.sql for c in select.columns)
        if select.where or not plain or any(passing(part, schema, self._shelf) != format for part in parts):
            raise InvalidPlanError(f"{read.dataset.name}: cannot be passed as raw {format}", hint="use lane columnar")
        for piece in pieces(parts, schema, read.after or {}, read.chunk_rows, self._shelf):
            if read.stop.is_set():
                return
            yield piece

    def _by_groups(self, part: Part, wanted: int) -> list[Part]:
        if part.format != "parquet" or part.identity["size"] < _PARQUET_SPLIT or wanted < 2:
            return [part]
        count = len(ParquetFile(files.local(self._shelf.file(part.path, part.member))).sizes())
        wanted = min(wanted, count)
        bounds = [count * i // wanted for i in range(wanted + 1)]
        return [replace(part, groups=(a, b)) for a, b in pairwise(bounds)]

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log: files that arrive, each read once when it is whole."""
        from tongqu.connectors.file.following import FileLog

        if len(datasets) != 1:
            raise InvalidPlanError(f"files of each dataset are followed by themselves, not of {len(datasets)} together")
        dataset = datasets[0]

        def found() -> list[files.Found]:
            try:
                self._found = self._arrived()
            except NotFoundError:
                self._found = {}
            return self._found.get(dataset.name, [])

        def put_away_some(paths: Iterable[str], known: Known) -> None:
            self._put_away(dataset.name, paths, known)

        if self._settings.tail:
            from tongqu.connectors.file.tailing import tailed

            return tailed(self._shelf, dataset, found)
        return FileLog(self._shelf, self._memory, dataset, found, put_away_some)

    def close(self) -> None:
        """See Source.close."""
        self._shelf.close()


def _split_id(parts: Sequence[Part]) -> str:
    first = parts[0]
    groups = f"#{first.groups[0]}-{first.groups[1]}" if first.groups else ""
    more = f"+{len(parts) - 1}" if len(parts) > 1 else ""
    return f"{first.label}{groups}{more}"
