"""Files that arrive as a log: each is read once, when whoever writes it has finished."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import pyarrow as pa

from tongqu.connectors.file.arrivals import COUNT, SEEN, Known, entry_of, fresh, packed, unpacked, versions
from tongqu.connectors.file.completing import completed
from tongqu.connectors.file.layout import Part
from tongqu.connectors.file.looking import look_at_all
from tongqu.connectors.file.memory import Memory
from tongqu.connectors.file.shelf import Shelf, path_of
from tongqu.connectors.file.watching import Watching, root_of
from tongqu.core.data import Batch, Dataset, Position
from tongqu.core.errors import NotFoundError
from tongqu.core.log import Finding, Follow, Lag, Log
from tongqu.kit import files
from tongqu.kit.files import Found
from tongqu.kit.formats.columnar import fitted

_SETTLES = 1.0
"""A file must be the same twice, so many seconds apart, where the settings say nothing else about when it is whole."""
_ORDER, _READING, _PART, _AT, _FILE = "order", "reading", "part", "at", "file"
_NOTHING = pa.RecordBatch.from_pylist([])


@dataclass
class _Place:
    """Where a reader is: `done` files finished, `step` batches into the next one, of which `reading` are the parts."""

    known: Known
    done: int = 0
    step: int = 0
    reading: Sequence[Part] = ()
    part: int = 0
    at: Position | None = None
    file: tuple[bytes, bytes] = (b"", b"")

    @classmethod
    def of(cls, position: Position) -> _Place:
        """The place that a position tells."""
        done, step = position.get(_ORDER, (0, 0))
        parts = unpacked(position.get(_READING, ()))
        name, version = (bytes.fromhex(one) for one in position.get(_FILE, ("", "")))
        return cls(Known.of(position), done, step, parts, position.get(_PART, 0), position.get(_AT), (name, version))

    def position(self) -> Position:
        """The position of this place: 16 bytes for each file that is there."""
        told: Position = {_ORDER: [self.done, self.step], SEEN: self.known.to_text(), COUNT: len(self.known)}
        if self.reading:
            own = {_READING: packed(self.reading), _PART: self.part, _AT: self.at}
            told |= own | {_FILE: [one.hex() for one in self.file]}
        return told

    def finish(self) -> None:
        """The file that was read is finished."""
        name, version = self.file
        self.known[name] = version
        self.done, self.step, self.reading, self.part, self.at = self.done + 1, 0, (), 0, None


@dataclass
class FileLog(Log):
    """The files of one dataset in the order of their times. A position holds the files that are finished and still
    there, and how far the one that is being read is. `find` gives the files that are whole by the settings, `put_away`
    moves or deletes some as the settings say."""

    shelf: Shelf
    memory: Memory
    dataset: Dataset
    find: Callable[[], Sequence[Found]]
    put_away: Callable[[Iterable[str], Known], None]
    _acknowledged: Known = field(default_factory=Known)
    _before: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)

    changes = False

    def begin(self) -> Position:
        """See Log.begin: before the oldest file that is there."""
        return _Place(Known()).position()

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read. Raises LostPositionError if a file that is half read has changed."""
        place = _Place.of(follow.after)
        schema = self.dataset.schema
        root = root_of(self.shelf.path) if self.shelf.place is None else None
        with closing(Watching(root, self.shelf.settings.watch_seconds, follow.stop)) as watching:
            if place.reading:
                yield from self._file(place, schema, follow)
            while not follow.stop.is_set() and not self._over(place, follow):
                try:
                    whole, unsteady = self._look(place, follow)
                except NotFoundError:  # one has gone since they were listed
                    whole, unsteady = [], True
                if unsteady:
                    watching.soon(_SETTLES)
                for path, found in whole:
                    try:
                        looked = look_at_all(self.shelf, self.dataset.name, found, schema).layout
                    except NotFoundError:
                        continue
                    if added := [one for one in looked.schema if one.name not in schema.names]:
                        schema = pa.schema([*schema, *added])
                        yield Batch(self.dataset.name, fitted(_NOTHING, schema), None, kind="schema")
                    place.reading, place.file = looked.parts, versions(self.shelf, found)[path]
                    yield from self._file(place, schema, follow)
                    if follow.stop.is_set() or self._over(place, follow):
                        return
                if follow.until is not None and not whole and not unsteady:
                    place.known |= Known.of(follow.until)  # what is not there any more will not come
                    yield self._beat(schema, place.position())
                    return
                yield self._beat(schema, None)
                while not watching.wait() and not follow.stop.is_set():
                    yield self._beat(schema, None)

    def _over(self, place: _Place, follow: Follow) -> bool:
        return follow.until is not None and self.reached(place.position(), follow.until)

    def _look(self, place: _Place, follow: Follow) -> tuple[list[tuple[str, list[Found]]], bool]:
        """The new files, the oldest first, each with the places in it that are meant; and whether others are there that
        may be unfinished."""
        settings, found = self.shelf.settings, list(self.find())
        listed = versions(self.shelf, found)
        here = {name for name, _ in listed.values()} | set(Known.of(follow.until))
        place.known = Known({name: version for name, version in place.known.items() if name in here})
        if settings.after != "keep":
            durable = self._acknowledged or Known.of(follow.after)
            over = {path for path, (name, version) in listed.items() if durable.get(name) == version}
            self.put_away(over, durable)
            found = [one for one in found if path_of(one.path)[0] not in over]
        told = settings.marker or settings.min_age_seconds or settings.stable_seconds
        steady = {path for path, version in listed.items() if told or self._before.get(path) == version}
        self._before = listed
        new = fresh(self.shelf, found, place.known, settings.display())
        groups: dict[str, list[Found]] = {}
        for one in new:
            groups.setdefault(path_of(one.path)[0], []).append(one)
        times = {path: entry_of(self.shelf, some[0].path).mtime for path, some in groups.items()}
        chosen = sorted((path for path in groups if path in steady), key=lambda path: (times[path], path))
        return [(path, groups[path]) for path in chosen], len(chosen) < len(groups)

    def _file(self, place: _Place, schema: pa.Schema, follow: Follow) -> Iterator[Batch]:
        """The rows of the file that the place is in, from there to its end."""
        name = self.dataset.name
        while place.part < len(place.reading):
            part = place.reading[place.part]
            own = pa.schema([one for one in schema if one.name in part.columns])
            with files.translated(self.shelf.file(part.path, part.member)):
                for piece in part.reader(schema, self.shelf).read(own, place.at, None, follow.batch_rows):
                    if follow.stop.is_set():
                        return
                    place.at, place.step = piece.position, place.step + 1
                    if piece.rows.num_rows or piece.bad:
                        yield Batch(name, completed(piece.rows, schema, part), place.position(), bad=piece.bad)
                if self.shelf.place is None:  # a stream from elsewhere looks by itself when it is at its end
                    part.unchanged(self.shelf)
            place.part, place.at = place.part + 1, None
        place.finish()
        self.memory.keep(self.dataset, self.shelf.settings.of(name), place.known, "")
        yield self._beat(schema, place.position())

    def _beat(self, schema: pa.Schema, position: Position | None) -> Batch:
        return Batch(self.dataset.name, fitted(_NOTHING, schema), position, kind="heartbeat")

    def head(self) -> Position:
        """See Log.head: behind the files that are there now."""
        known = Known(versions(self.shelf, self.find()).values())
        return {SEEN: known.to_text(), COUNT: len(known)}

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        if _ORDER in until:
            return list(position.get(_ORDER, (0, 0))) >= list(until[_ORDER])
        return Known.of(until).keys() <= Known.of(position).keys()

    def acknowledge(self, position: Position) -> None:
        """See Log.acknowledge: files that are durable everywhere are put away with the next look."""
        self._acknowledged = Known.of(position)

    def lag(self, position: Position) -> Lag:
        """See Log.lag: bytes of the files that are not finished."""
        known, sizes = Known.of(position), 0
        found = {path_of(one.path)[0]: one for one in self.find()}
        for path, (name, version) in versions(self.shelf, found.values()).items():
            if known.get(name) != version:
                sizes += entry_of(self.shelf, found[path].path).size
        return Lag(bytes=sizes)

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        settings = self.shelf.settings
        if settings.marker or settings.min_age_seconds or settings.stable_seconds:
            return [Finding("complete", "ok", "the settings say when a file is whole")]
        said = f"a file counts as whole when it is the same twice within {_SETTLES:g} s"
        fix = "marker: '{name}.done', or have files renamed into the folder when they are whole"
        return [Finding("complete", "warning", said, fix)]
