"""Files that grow as a log: each line that is added is a row, across rotations."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.connectors.file.completing import completed
from tongqu.connectors.file.layout import Part
from tongqu.connectors.file.looking import look_at_all
from tongqu.connectors.file.shelf import Shelf
from tongqu.connectors.file.watching import Watching, root_of
from tongqu.core.data import Batch, Dataset, Position
from tongqu.core.errors import InvalidPlanError, NotFoundError
from tongqu.core.log import Finding, Follow, Lag, Log
from tongqu.kit.files import Found
from tongqu.kit.formats.columnar import fitted
from tongqu.kit.formats.text_stream import TextStream

_ORDER, _TAILS = "order", "tails"
_HEAD, _BLOCK = 256, 1 << 16
_BOM = b"\xef\xbb\xbf"
_NOTHING = pa.RecordBatch.from_pylist([])


@dataclass
class _Tail:
    """How far one file was read. `head` is how many of its first bytes are known, and their hash: a file that has other
    ones is another file."""

    path: str
    part: Part
    at: Position
    head: tuple[int, str] = (0, "")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"path": self.path, "part": self.part.to_json(), "at": dict(self.at), "head": list(self.head)}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> _Tail:
        """The opposite of `to_json`."""
        return cls(told["path"], Part.from_json(told["part"]), told["at"], (told["head"][0], told["head"][1]))

    def is_in(self, path: Path) -> bool:
        """Whether what was read is still there."""
        count, wanted = self.head
        with path.open("rb") as file:
            start = file.read(count)
            whole = self.at["offset"] + (len(_BOM) if start.startswith(_BOM) else 0) <= os.fstat(file.fileno()).st_size
        return whole and hashlib.sha256(start).hexdigest()[:16] == wanted

    def note(self, path: Path) -> None:
        """Know the file again by its beginning."""
        if self.head[0] < _HEAD:
            with path.open("rb") as file:
                start = file.read(min(_HEAD, int(self.at["offset"])))
            self.head = (len(start), hashlib.sha256(start).hexdigest()[:16])


@dataclass
class TailLog(Log):
    """The lines of growing CSV and JSON Lines files of one dataset. A file is known by what the system calls it, so it
    is read on after it was renamed in its folder; one that was cut off and begun again is read from its beginning. A
    line counts when its end is there; a CSV record is one line. `find` gives the files that are there."""

    shelf: Shelf
    dataset: Dataset
    find: Callable[[], Sequence[Found]]
    _tails: dict[str, _Tail] = field(default_factory=dict)
    _order: int = 0

    changes = False

    def begin(self) -> Position:
        """See Log.begin: before the first line of the files that are there."""
        return {_ORDER: 0, _TAILS: {}}

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read. Raises InvalidPlanError for files that cannot be followed so."""
        self._order = int(follow.after.get(_ORDER, 0))
        self._tails = {key: _Tail.from_json(told) for key, told in follow.after.get(_TAILS, {}).items()}
        schema = self.dataset.schema
        with closing(Watching(root_of(self.shelf.path), self.shelf.settings.watch_seconds, follow.stop)) as watching:
            while not follow.stop.is_set():
                progress = False
                for key, path, found in self._files():
                    tail = self._tail(key, path, found, schema)
                    if tail is None:
                        continue
                    if added := [name for name in tail.part.columns if name not in schema.names]:
                        schema = pa.schema([*schema, *(pa.field(name, pa.string()) for name in added)])
                        yield Batch(self.dataset.name, fitted(_NOTHING, schema), None, kind="schema")
                    for batch in self._lines(tail, path, schema, follow):
                        progress = True
                        yield batch
                        if follow.stop.is_set() or self._over(follow):
                            return
                if follow.until is not None and not progress:
                    return
                yield self._beat(schema)
                while not watching.wait() and not follow.stop.is_set():
                    yield self._beat(schema)

    def _over(self, follow: Follow) -> bool:
        return follow.until is not None and self.reached(self._position(), follow.until)

    def _files(self) -> list[tuple[str, Path, Found | None]]:
        """The files, the oldest first: those that are found, and those that were renamed in their folder since."""
        here: dict[str, tuple[int, Path, Found | None]] = {}
        for one in self.find():
            path = Path(str(one.path))
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            here[f"{stat.st_dev}:{stat.st_ino}"] = (stat.st_mtime_ns, path, one)
        for key, tail in list(self._tails.items()):
            if key in here:
                continue
            moved = _moved(key, Path(tail.path).parent)
            if moved is None:
                del self._tails[key]  # it is gone
            else:
                here[key] = (moved.stat().st_mtime_ns, moved, None)
        return [(key, path, one) for key, (_, path, one) in sorted(here.items(), key=lambda item: item[1][:2])]

    def _tail(self, key: str, path: Path, found: Found | None, schema: pa.Schema) -> _Tail | None:
        """How far a file was read; its beginning where it is new or begun again, None while that is not known."""
        tail = self._tails.get(key)
        try:
            if tail is not None and tail.is_in(path):
                return tail
            self._tails.pop(key, None)
            if found is None or not _end(path, 0):
                return None
            part = look_at_all(self.shelf, self.dataset.name, [found], schema).layout.parts[0]
        except (FileNotFoundError, NotFoundError):
            return None
        tail = _Tail(str(path), part, _start(part, path, schema))
        self._tails[key] = tail
        return tail

    def _lines(self, tail: _Tail, path: Path, schema: pa.Schema, follow: Follow) -> Iterator[Batch]:
        end = _end(path, int(tail.at["offset"]))
        if end <= int(tail.at["offset"]):
            return
        own = pa.schema([one for one in schema if one.name in tail.part.columns])
        for piece in _reader(tail.part, path, schema).read(own, tail.at, {"offset": end}, follow.batch_rows):
            tail.at, self._order = piece.position, self._order + 1
            tail.note(path)
            yield Batch(self.dataset.name, completed(piece.rows, schema, tail.part), self._position(), bad=piece.bad)

    def _beat(self, schema: pa.Schema) -> Batch:
        return Batch(self.dataset.name, fitted(_NOTHING, schema), None, kind="heartbeat")

    def _position(self) -> Position:
        return {_ORDER: self._order, _TAILS: {key: tail.to_json() for key, tail in self._tails.items()}}

    def head(self) -> Position:
        """See Log.head: the last whole lines that are there now."""
        return {_TAILS: {key: {"at": {"offset": _end(path, 0)}} for key, path, _ in self._files()}}

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        if _ORDER in until:
            return int(position.get(_ORDER, 0)) >= int(until[_ORDER])
        mine = position.get(_TAILS, {})
        return all(
            key in mine and mine[key]["at"]["offset"] >= one["at"]["offset"] for key, one in until[_TAILS].items()
        )

    def lag(self, position: Position) -> Lag:
        """See Log.lag."""
        mine, left = position.get(_TAILS, {}), 0
        for one in self.find():
            path = Path(str(one.path))
            stat = path.stat()
            told = mine.get(f"{stat.st_dev}:{stat.st_ino}")
            left += max(0, stat.st_size - (told["at"]["offset"] if told else 0))
        return Lag(bytes=left)

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        return [
            Finding("rotation", "warning", "lines whose file is deleted before the next look are lost",
                    "keep rotated files in the folder for a while")
        ]  # fmt: skip


def tailed(shelf: Shelf, dataset: Dataset, find: Callable[[], Sequence[Found]]) -> TailLog:
    """The log; raises InvalidPlanError for files elsewhere."""
    if shelf.place is not None:
        raise InvalidPlanError("only files of this machine can be followed line by line", hint="leave tail out")
    return TailLog(shelf, dataset, find)


def _reader(part: Part, path: Path, schema: pa.Schema) -> Any:
    """What reads lines of a file that grows meanwhile."""
    stream = TextStream(path, part.compression, part.encoding)
    plain = not part.compression and not part.member and part.encoding in ("utf-8", "ascii")
    if part.format == "csv" and plain:
        from tongqu.kit.formats.csv import CsvFile
        from tongqu.kit.formats.dialect import Dialect

        return CsvFile(stream, Dialect.from_json(dict(part.dialect)), part.columns)
    if part.format == "jsonl" and plain and part.document().form == "lines":
        from tongqu.kit.formats.jsonl import JsonFile

        own = pa.schema([schema.field(n) if n in schema.names else pa.field(n, pa.string()) for n in part.columns])
        return JsonFile(stream, own, part.loose)
    raise InvalidPlanError(
        f"{path.name} cannot be followed line by line", path=str(path), hint="plain CSV and JSON Lines in UTF-8 can be"
    )


def _start(part: Part, path: Path, schema: pa.Schema) -> Position:
    """Before the first record."""
    reader = _reader(part, path, schema)
    start: Position = reader.start() if part.format == "csv" else {"offset": 0, "line": 0, "rows": 0}
    return start


def _end(path: Path, after: int) -> int:
    """Where the last whole line ends, counted as positions are: without a byte order mark; `after` if none does."""
    with path.open("rb") as file:
        mark = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
        at = file.seek(0, os.SEEK_END)
        while at > after + mark:
            begin = max(after + mark, at - _BLOCK)
            file.seek(begin)
            found = file.read(at - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1 - mark
            at = begin
    return after


def _moved(key: str, folder: Path) -> Path | None:
    """Where a file of the folder is now; None if it is gone."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stat = entry.stat(follow_symlinks=False)
                if f"{stat.st_dev}:{stat.st_ino}" == key:
                    return Path(entry.path)
    except FileNotFoundError:
        return None
    return None
