"""A chain on disk: its lines in one file a day, and its head, which says how far it was committed."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tongqu.core.errors import AuditError
from tongqu.kit import lasting
from tongqu.store.audit.line import Line, Link, first, read, written

DAY = re.compile(r"\d{4}-\d\d-\d\d")
_HEADS = "heads"
_HEAD_BYTES = 256
_BLOCK = 1 << 20


class Head(NamedTuple):
    """How far a chain was committed: the last line, and the day and length of the file it ends."""

    link: Link
    day: str
    size: int


@dataclass
class Place:
    """The folder of an audit trail and its key; `scheme` is what new lines are made with, and may be changed."""

    folder: Path
    key: bytes
    scheme: str = "s2"

    def head(self, chain: str) -> Path:
        """The file of a chain's head."""
        return self.folder / _HEADS / chain

    def segment(self, chain: str, day: str) -> Path:
        """The file of a chain's lines of a day."""
        return self.folder / day / f"{chain}.log"

    def days(self) -> Sequence[str]:
        """The days that there are files of, in order."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if DAY.fullmatch(path.name))

    def chains(self) -> Sequence[str]:
        """All chains that have lines or a head, in order of their names."""
        found = {path.stem for day in self.days() for path in (self.folder / day).glob("*.log")}
        with suppress(FileNotFoundError):
            found |= {path.name for path in (self.folder / _HEADS).iterdir()}
        return sorted(found)

    def segments(self, chain: str) -> list[tuple[str, Path]]:
        """The days of a chain and their files, in order."""
        return [(day, path) for day in self.days() if (path := self.segment(chain, day)).exists()]

    def closed(self, chain: str) -> bool:
        """Whether it was written down how the chain ended (or it has no head): nobody needs to look after it."""
        try:
            return not self.head(chain).stat().st_mode & 0o200
        except FileNotFoundError:
            return True

    def close(self, chain: str) -> None:
        """Mark a chain as looked after."""
        self.head(chain).chmod(0o400)

    def read_head(self, chain: str) -> Head | None:
        """The head of a chain, None if there is none; raises ValueError if it was changed."""
        for attempt in range(5):  # the writer may be at it
            try:
                text = self.head(chain).read_bytes()
            except FileNotFoundError:
                return None
            with suppress(ValueError):
                return self._head(chain, text)
            if attempt < 4:
                time.sleep(0.002)
        raise ValueError("head")

    def _head(self, chain: str, text: bytes) -> Head:
        line = read(f"head {chain}", None, text.rstrip(b" \n"), self.key)
        if line.link.seq != 0:
            raise ValueError("head")
        seq, hash, day, size = line.body.decode().split(" ")
        return Head(Link(int(seq), hash), day, int(size))


def lines(
    place: Place, chain: str, after: Link | None, *, day: str = "", offset: int = 0, until: dict[str, int] | None = None
) -> Iterator[tuple[str, int, Line]]:
    """The whole lines of a chain behind `after` (None: as they claim), each with day and the offset behind it.

    `day` and `offset` are where to begin, `until` how much of each day's file is read. What has no line break at the
    end is left out. Raises AuditError with params `day seq reason` at the first line that is wrong.
    """
    before = after
    for name, path in place.segments(chain):
        if name < day:
            continue
        most = path.stat().st_size if until is None else until.get(name, 0)
        at = offset if name == day else 0
        for text in _texts(path, at, most):
            at += len(text) + 1
            try:
                line = read(chain, before, text, place.key)
            except ValueError as error:
                seq = (before.seq if before else -1) + 1
                raise AuditError(
                    f"record {seq} of {chain} on {name} is wrong: {error}",
                    params={"chain": chain, "day": name, "seq": seq, "reason": str(error)},
                ) from None
            before = line.link
            yield name, at, line


def torn(place: Place, chain: str) -> int:
    """How many bytes stand behind the last line break of a chain."""
    found = place.segments(chain)
    if not found:
        return 0
    path = found[-1][1]
    size, rest = path.stat().st_size, b""
    with path.open("rb") as stream:
        while size - len(rest) > 0 and b"\n" not in rest:
            start = max(0, size - len(rest) - _BLOCK)
            stream.seek(start)
            rest = stream.read(size - len(rest) - start) + rest
    return len(rest) - rest.rfind(b"\n") - 1


def _texts(path: Path, start: int, most: int) -> Iterator[bytes]:
    with path.open("rb") as stream:
        stream.seek(start)
        left, rest = most - start, b""
        while left > 0 and (block := stream.read(min(_BLOCK, left))):
            left -= len(block)
            texts = (rest + block).split(b"\n")
            rest = texts.pop()
            yield from texts


class Chain:
    """A chain that this process appends to. Not safe for several threads.

    While it is open its head is locked, unless `shared`: then whoever appends locks it for the length of one `append`.
    """

    def __init__(self, place: Place, name: str, *, shared: bool = False):
        self._place = place
        self.name = name
        self._shared = shared
        self._day = ""
        self._file = -1
        self._size = 0
        fresh = not place.head(name).exists()
        lasting.make_folder(place.head(name).parent, 0o700)
        self._head = os.open(place.head(name), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        self.link = first(name, place.scheme)
        self.torn = 0
        """Bytes that an ended process had not finished writing, found and cut off by the last `append` or `lock`."""
        if not shared:
            fcntl.flock(self._head, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not fresh:
                self.close()
                raise AuditError(f"there is already a chain {name}")
            self._note_head(sync=True)
            lasting.sync(place.head(name).parent)

    def lock(self) -> None:
        """For a shared chain: nobody else appends until `unlock`; what others appended is known."""
        fcntl.flock(self._head, fcntl.LOCK_EX)
        try:
            self._catch_up()
        except BaseException:
            self.unlock()
            raise

    def unlock(self) -> None:
        """Let others append."""
        fcntl.flock(self._head, fcntl.LOCK_UN)

    def append(self, day: str, bodies: Sequence[bytes], *, sync_head: bool = False) -> Link:
        """Append records and wait until they are on disk; raises AuditError, and then none of them counts.

        `sync_head`: also wait for the head, so that a loss of power cannot bring an older one back.
        """
        if day > self._day:  # a clock that went back does not break the order
            self._open(day)
        link, texts = self.link, []
        for body in bodies:
            link, text = written(self.name, self._place.scheme, link, body, self._place.key)
            texts.append(text)
        data = b"".join(texts)
        try:
            _write(self._file, data)
            os.fdatasync(self._file)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise AuditError(f"the audit trail cannot be written: {error.strerror}", hint="free space on its disk",
                             path=str(self._place.folder)) from error  # fmt: skip
        self.link, self._size = link, self._size + len(data)
        self._note_head(sync=sync_head)
        return link

    def close(self) -> None:
        """Release the files; may be called twice."""
        for handle in (self._file, self._head):
            if handle >= 0:
                os.close(handle)
        self._file = self._head = -1

    def _open(self, day: str) -> None:
        path = self._place.segment(self.name, day)
        fresh = not path.exists()
        try:
            lasting.make_folder(path.parent, 0o700)
            file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
            if fresh:
                lasting.sync(path.parent)
        except OSError as error:
            raise AuditError(f"the audit trail cannot be written: {error.strerror}", path=str(path)) from error
        if self._file >= 0:
            os.close(self._file)
        self._file, self._day, self._size = file, day, os.fstat(file).st_size

    def _note_head(self, *, sync: bool) -> None:
        body = f"{self.link.seq} {self.link.hash} {self._day or '-'} {self._size}".encode()
        name = f"head {self.name}"
        scheme = self._place.scheme  # which may change meanwhile
        _, text = written(name, scheme, first(name, scheme), body, self._place.key)
        os.pwrite(self._head, text[:-1].ljust(_HEAD_BYTES), 0)
        if sync:
            os.fdatasync(self._head)

    def _catch_up(self) -> None:
        """Read what others appended behind the last line known here, and cut off what a killed one left unfinished."""
        try:
            head = self._place.read_head(self.name) if os.fstat(self._head).st_size else None
        except ValueError:
            raise _changed(self.name) from None
        if head is None and self._place.segments(self.name):
            raise _changed(self.name)
        if head is not None:
            self.link = head.link
            day = "" if head.day == "-" else head.day
            path = self._place.segment(self.name, day)
            if day and (not path.exists() or path.stat().st_size < head.size):
                raise _changed(self.name)
            for name, at, line in lines(self._place, self.name, head.link, day=day, offset=head.size):
                self.link, head = line.link, Head(line.link, name, at)
            if head.day != "-":
                self._open(head.day)
        self.torn = max(0, self._size - head.size) if head and self._file >= 0 else 0
        if self.torn and head:
            os.ftruncate(self._file, head.size)
            self._size = head.size


def _changed(chain: str) -> AuditError:
    return AuditError(
        f"the audit trail was changed: the head of {chain} does not fit its records", hint="tongqu audit verify"
    )


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
