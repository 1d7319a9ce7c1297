"""A file in a place, as formats read files: streamed from any offset, its beginning kept, lost connections mended."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Event, Lock
from typing import Any

from tongqu.core.errors import ConnectError, LostPositionError, ReadError
from tongqu.kit.places.place import Entry, Place
from tongqu.kit.places.spool import Spool

_HEAD = 8 << 20
"""Bytes of a file's beginning that are kept: what is detected and inferred is read from there, and small files are
fetched once."""
_HEADS = 64 << 20
"""Most that is kept of all files together."""
_TRIES = 4
_WAIT = 0.2


@dataclass(frozen=True)
class Stat:
    """The two numbers of `os.stat_result` that formats ask for."""

    st_size: int
    st_mtime_ns: int


class Files:
    """The files of one place: what they share (kept beginnings, copies that can be sought)."""

    def __init__(self, place: Place, spool: Spool):
        self.place, self.spool = place, spool
        self._heads: OrderedDict[tuple[str, str], bytearray] = OrderedDict()
        self._lock = Lock()

    def file(self, path: str, entry: Entry | None = None) -> PlaceFile:
        """The file of that path; `entry` is what a list told of it, else the place is asked when it matters."""
        return PlaceFile(self, path, entry)

    def head(self, entry: Entry) -> bytearray:
        """What is kept of this content's beginning; grows by `keep`."""
        key = (entry.path, str(entry.identity))
        with self._lock:
            found = self._heads.setdefault(key, bytearray())
            self._heads.move_to_end(key)
            while len(self._heads) > 1 and sum(map(len, self._heads.values())) > _HEADS:
                self._heads.popitem(last=False)
            return found

    def forget(self) -> None:
        """Let go of all kept beginnings."""
        with self._lock:
            self._heads.clear()

    def keep(self, head: bytearray, offset: int, data: bytes) -> None:
        """Keep bytes that follow what is kept."""
        with self._lock:
            if offset == len(head) < _HEAD:
                head += data[: _HEAD - len(head)]


class PlaceFile:
    """As much of `pathlib.Path` as the formats need. Two are equal if they mean the same path of the same place."""

    def __init__(self, files: Files, path: str, entry: Entry | None = None):
        self._files, self.path, self._entry = files, path, entry

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def suffixes(self) -> list[str]:
        """The name's endings: `.csv`, `.gz`."""
        return PurePosixPath(self.path).suffixes

    @property
    def entry(self) -> Entry:
        """What is known of the file; the place is asked once."""
        if self._entry is None:
            self._entry = self._files.place.look(self.path)
        return self._entry

    def absolute(self) -> PlaceFile:
        """Itself."""
        return self

    def is_file(self) -> bool:
        """Whether it is there and no folder."""
        found = self._files.place.there(self.path)
        return found is not None and not found.folder

    def stat(self) -> Stat:
        """Size and time, as first seen."""
        return Stat(max(self.entry.size, 0), self.entry.mtime)

    def identity(self) -> dict[str, Any]:
        """What the file is right now, asked of the place; JSON. See `Entry.identity`."""
        self._entry = self._files.place.look(self.path)
        return dict(self._entry.identity)

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """The content; seeking forward is cheap. Only `rb`."""
        assert mode == "rb", mode  # noqa: S101  # formats only read
        return io.BufferedReader(_Reading(self._files, self.entry), 1 << 18)

    def local(self) -> Path:
        """A copy on this machine, for formats that must be sought; kept as long as the place is open. Raises
        ReadError if the spool has no room for it."""
        entry = self.entry
        return self._files.spool.copy(f"{self._files.place.url}/{entry.path} {entry.identity}", self.name, self._whole)

    def _whole(self) -> Iterator[bytes]:
        with self.open() as file:
            while data := file.read(1 << 20):
                yield data

    def __str__(self) -> str:
        return self._files.place.shown(self.path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlaceFile) and (self._files, self.path) == (other._files, other.path)

    def __hash__(self) -> int:
        return hash((id(self._files), self.path))


class _Reading(io.RawIOBase):
    """A stream over a file of known identity. After a lost connection it goes on where it was, if the file is still
    the same: LostPositionError if it is not, ConnectError if the place stays away."""

    def __init__(self, files: Files, entry: Entry):
        super().__init__()
        self._files, self._entry = files, entry
        self._head = files.head(entry)
        self._at = 0
        self._block, self._block_at = b"", 0
        """The last block that arrived, and the offset of its first byte."""
        self._blocks: Iterator[bytes] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """To an offset; a transfer that is elsewhere begins anew at the next read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: max(self._entry.size, 0)}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Some bytes, at least one before the end."""
        wanted, at = len(buffer), self._at
        if at < len(self._head):
            data = bytes(self._head[at : at + wanted])
        else:
            if not self._block_at <= at < self._block_at + len(self._block):
                self._fetch()
            data = self._block[at - self._block_at : at - self._block_at + wanted]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._stop()
        super().close()

    def _stop(self) -> None:
        blocks, self._blocks = self._blocks, None
        close: Callable[[], None] | None = getattr(blocks, "close", None)
        if close is not None:
            close()

    def _fetch(self) -> None:
        """Get the block at the present offset; an empty one at the end."""
        size, at = self._entry.size, self._at
        if self._block_at + len(self._block) != at:
            self._stop()
        self._block, self._block_at = b"", at
        ended = 0 <= size <= at
        if ended and self._blocks is None:
            return
        for number in range(_TRIES):
            try:
                if ended or number:  # what has arrived is of one content only if that is still there
                    self._same()
                data = b"" if ended else self._next()
            except ConnectError:
                self._stop()
                if number + 1 == _TRIES:
                    raise
                Event().wait(_WAIT * 2**number)
                continue
            if ended:
                self._stop()
                return
            if not data and size >= 0:
                self._same()
                raise ReadError(f"{self._shown} ended after {at} of {size} bytes", path=self._shown, hint="run again")
            self._block = data if size < 0 else data[: size - at]
            self._files.keep(self._head, at, self._block)
            return

    def _next(self) -> bytes:
        if self._blocks is None:
            self._blocks = self._files.place.read(self._entry.path, self._at)
        return next(self._blocks, b"")

    def _same(self) -> None:
        now = self._files.place.look(self._entry.path)
        if now.identity != self._entry.identity:
            raise LostPositionError(
                f"{self._shown} has changed while it was being read (size {self._entry.size} then, {now.size} now)",
                path=self._shown,
                hint="run again with --restart",
            )

    @property
    def _shown(self) -> str:
        return self._files.place.shown(self._entry.path)
