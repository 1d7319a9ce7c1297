"""Sends the audit trail to further places, in order and at least once, from the trail's own files.

The trail is the spool: a sink has only a cursor, so a sink that is down costs no memory and no further disk, and goes
on where it stopped. One process of a home ships to each sink; another takes over when that one ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tongqu.core.errors import TongquError
from tongqu.kit import lasting
from tongqu.store.audit.chain import Place

_LINE = re.compile(rb"(s\d) (\d+) ([0-9a-f]+) ([0-9a-f]+) (\{.*\})")
_BATCH = 500
_BATCH_BYTES = 1 << 20


@dataclass(frozen=True)
class Sent:
    """One record with its place in the trail, so that a copy elsewhere can be compared with it and verified."""

    chain: str
    seq: int
    hash: str
    line: bytes
    """The whole line as it stands in the trail."""
    record: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The same whenever the record is sent."""
        return f"{self.chain}-{self.seq}"

    def document(self) -> dict[str, Any]:
        """The record with where it stands, as JSON."""
        return {**self.record, "trail": {"chain": self.chain, "seq": self.seq, "hash": self.hash}}


class AuditSink(ABC):
    """A further place for audit records."""

    @abstractmethod
    def send(self, records: Sequence[Sent]) -> None:
        """Hand over records; when it returns the place has them, as far as its protocol tells. Raises TongquError or
        OSError, and then all of them are sent again."""

    @abstractmethod
    def close(self) -> None:
        """Release connections; may be called twice."""


@dataclass
class Shipped:
    """How a sink does."""

    records: int = 0
    failures: int = 0
    error: str = ""
    behind: int = 0
    """Bytes of the trail that were not sent yet."""


@dataclass
class _Cursor:
    at: dict[str, list[Any]] = field(default_factory=dict)
    """By chain: day and offset behind what was sent."""


class Shipper:
    """Sends a home's trail to one sink. Not safe for several threads, but for several processes."""

    def __init__(self, place: Place, name: str, sink: AuditSink, warn: Callable[[str], None] = lambda text: None):
        self.state = Shipped()
        self.name = name
        self._place = place
        self._sink = sink
        self._warn = warn
        self._file = place.folder.parent / "audit-sinks" / f"{name}.json"
        self._lock = -1
        self._cursor = _Cursor()

    def ship(self, most: int = 100) -> int:
        """Send what is there, at most `most` batches; how many records were sent. Nothing is sent where another process
        ships to the same sink. Errors of the sink are told by `state.error`."""
        if not self._held():
            return 0
        sent = 0
        for _ in range(most):
            batch, moved = self._next()
            if batch:
                try:
                    self._sink.send(batch)
                except (TongquError, OSError) as error:
                    self._failed(str(error))
                    break
            if not moved:
                break
            self._cursor.at |= moved
            self._keep()
            sent += len(batch)
            self.state.records += len(batch)
            self.state.error = ""
        self.state.behind = sum(size - offset for _, _, offset, size in self._pending())
        return sent

    def behind(self) -> float:
        """Bytes of the trail that were not sent when this process last shipped."""
        return self.state.behind

    def failing(self) -> float:
        """1 while the sink takes nothing."""
        return float(bool(self.state.error))

    def close(self) -> None:
        """Release the sink and let another process ship; may be called twice."""
        self._sink.close()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def _held(self) -> bool:
        if self._lock >= 0:
            return True
        lasting.make_folder(self._file.parent, 0o700)
        handle = os.open(self._file.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._lock = handle
        with suppress(FileNotFoundError, ValueError):
            self._cursor = _Cursor(json.loads(self._file.read_text(encoding="utf-8")))
        return True

    def _pending(self) -> Iterator[tuple[str, str, int, int]]:
        """Chain, day, offset and size of each file that has more, a chain's days in order."""
        for day in self._place.days():
            for path in sorted((self._place.folder / day).glob("*.log")):
                reached, offset = self._cursor.at.get(path.stem, ["", 0])
                with suppress(FileNotFoundError):
                    size = path.stat().st_size
                    start = offset if day == reached else 0
                    if day >= reached and size > start:
                        yield path.stem, day, start, size

    def _next(self) -> tuple[list[Sent], dict[str, list[Any]]]:
        batch: list[Sent] = []
        moved: dict[str, list[Any]] = {}
        left = _BATCH_BYTES
        for chain, day, start, size in self._pending():
            if chain in moved:
                continue  # its older day first
            offset = start
            for line in _whole_lines(self._place.segment(chain, day), start, min(size, start + left)):
                offset += len(line) + 1
                left -= len(line) + 1
                if sent := _sent(chain, line):
                    batch.append(sent)
                if len(batch) >= _BATCH:
                    break
            if offset > start:
                moved[chain] = [day, offset]
            if len(batch) >= _BATCH or left <= 0:
                break
        return batch, moved

    def _keep(self) -> None:
        """The cursor on disk."""
        oldest = next(iter(self._place.days()), "")
        self._cursor.at = {chain: at for chain, at in self._cursor.at.items() if at[0] >= oldest}
        lasting.put(self._file, json.dumps(self._cursor.at).encode())

    def _failed(self, error: str) -> None:
        self.state.failures += 1
        if not self.state.error:
            self._warn(f"audit sink {self.name}: {error}")
        self.state.error = error


class Shipping:
    """Ships to all sinks of a home, each in a thread of its own: one that hangs keeps no other waiting."""

    def __init__(self, shippers: Sequence[Shipper], seconds: float = 1.0, longest: float = 60.0):
        self.shippers = tuple(shippers)
        self._seconds = seconds
        self._longest = longest
        self._running: dict[Shipper, tuple[threading.Thread, threading.Event]] = {}

    def start(self) -> None:
        """Begin."""
        for shipper in self.shippers:
            self._begin(shipper)

    def swap(self, gone: Sequence[Shipper], new: Sequence[Shipper]) -> Callable[[], None]:
        """Ship to new sinks and to some no more. What is given back waits for the end of those: it may take as long as
        a sink does."""
        ending = [(shipper, *self._running.pop(shipper)) for shipper in gone if shipper in self._running]
        for _, _, stop in ending:
            stop.set()
        self.shippers = (*(one for one in self.shippers if one not in gone), *new)
        for shipper in new:
            self._begin(shipper)

        def end() -> None:
            for shipper, thread, _ in ending:
                thread.join()
                shipper.close()

        return end

    def close(self) -> None:
        """Send what is left (one attempt) and stop; may be called twice."""
        self.swap(self.shippers, ())()

    def _begin(self, shipper: Shipper) -> None:
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(shipper, stop), name=f"audit-{shipper.name}", daemon=True)
        self._running[shipper] = thread, stop
        thread.start()

    def _run(self, shipper: Shipper, stop: threading.Event) -> None:
        wait = self._seconds
        while not stop.wait(wait):
            shipper.ship()
            wait = min(wait * 2, self._longest) if shipper.state.error else self._seconds
        shipper.ship()


def _whole_lines(path: Path, start: int, end: int) -> list[bytes]:
    """The lines between two offsets; a first line that reaches further is read to its end."""
    with path.open("rb") as stream:
        stream.seek(start)
        data = stream.read(end - start)
        if b"\n" not in data:
            data += stream.readline()
    return data.split(b"\n")[:-1]


def _sent(chain: str, line: bytes) -> Sent | None:
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    try:
        record = json.loads(found[5])
    except ValueError:
        return None
    return Sent(chain, int(found[2]), found[3].decode(), line, record)
