"""The replication connection: messages in blocks as they come, and word to the server of what is durable.

Source of the protocol: PostgreSQL docs 55.4 and 55.5. libpq's copy functions are called through psycopg's `pq`.
"""

from __future__ import annotations

import select
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tongqu.connectors.postgres.db import SESSION, translate
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.core.errors import ConnectError
from tongqu.kit.drivers import driver

_BLOCK_BYTES = 8 << 20
_BUSY, _MANY = 30_000.0, 1_000
"""So many messages at such a pace per second are a backlog: the next block waits for more, so that it is large."""
_LINGER = 0.02
"""How long it waits at most, in seconds."""
_PULSE = 5.0
"""Seconds after which the server hears from us even if nobody reads."""
_UNIX_EPOCH = 946_684_800


def options() -> str:
    """Startup options that give every value its one spelling."""
    return " ".join(f"-c {key}={value.replace(' ', chr(92) + ' ')}" for key, value in SESSION.items())


def text_of(lsn: int) -> str:
    """An LSN as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def number_of(text: str) -> int:
    """The LSN that this text is."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) | int(low, 16)


class Replication:
    """One connection in replication mode. `receive` is called by one thread, `confirm` by any."""

    def __init__(self, settings: PostgresSettings, role: str):
        psycopg = driver("psycopg", "postgres")
        self._settings = settings
        self._error = psycopg.Error
        self._lock = threading.Lock()
        self._durable = 0
        self._told = 0.0
        self._backlog = False
        self._last = time.monotonic()
        self._ended = threading.Event()
        self._pulse: threading.Thread | None = None
        words = settings.libpq() | {
            "replication": "database",
            "application_name": f"tongqu {role}",
            "options": options(),
        }
        with self._translated():
            conninfo = psycopg.conninfo.make_conninfo(**words)
            self._connection = psycopg.pq.PGconn.connect(conninfo.encode())
            if self._connection.status != psycopg.pq.ConnStatus.OK:
                message = self._connection.get_error_message()
                self._connection.finish()
                raise translate(settings, "", message)
        self._copying = psycopg.pq.ExecStatus.COPY_BOTH
        self._good = (psycopg.pq.ExecStatus.TUPLES_OK, psycopg.pq.ExecStatus.COMMAND_OK)

    def rows(self, command: str) -> list[tuple[str | None, ...]]:
        """What a replication command or a query answers, as texts."""
        with self._translated():
            result = self._connection.exec_(command.encode())
        if result.status not in self._good:
            raise translate(self._settings, _state(result), result.get_error_message())
        cells = [[result.get_value(row, place) for place in range(result.nfields)] for row in range(result.ntuples)]
        return [tuple(None if cell is None else cell.decode() for cell in row) for row in cells]

    def start(self, slot: str, lsn: int, publication: str) -> None:
        """Begin to stream transactions that are committed at or behind `lsn`."""
        command = (
            f'START_REPLICATION SLOT "{slot}" LOGICAL {text_of(lsn)} '
            f"(proto_version '1', publication_names '\"{publication}\"')"
        )
        with self._translated():
            result = self._connection.exec_(command.encode())
        if result.status != self._copying:
            raise translate(self._settings, _state(result), result.get_error_message())
        self._durable = lsn
        self._told = time.monotonic()
        self._pulse = threading.Thread(target=self._beat, name="tongqu postgres log", daemon=True)
        self._pulse.start()

    def receive(self, limit: int, seconds: float) -> list[Any]:
        """The messages that are there: at most `limit` or 8 MiB; waits up to `seconds` for the first. While there is
        a backlog a block is gathered for 20 ms."""
        found: list[Any] = []
        until = time.monotonic() + seconds
        patient = self._backlog
        with self._translated():
            while True:
                ended = self._drain(found, limit)
                if ended or len(found) >= limit:
                    break
                if found and not patient:
                    break
                if found and until > (linger := time.monotonic() + _LINGER):
                    until = linger
                left = until - time.monotonic()
                if left <= 0 or not self._readable(left):
                    break
        now = time.monotonic()
        self._backlog = len(found) >= _MANY and len(found) >= _BUSY * (now - self._last)
        self._last = now
        return found

    def _drain(self, found: list[Any], limit: int) -> bool:
        """Take what has arrived; whether the block is full by its bytes."""
        size = 0
        with self._lock:
            connection = self._connection
            connection.consume_input()
            take = connection.get_copy_data
            append = found.append
            for _ in range(limit - len(found)):
                length, message = take(1)
                if length > 0:
                    append(message)
                    size += length
                    if size > _BLOCK_BYTES:
                        return True
                elif length == 0:
                    return False
                else:
                    self._finished()
        return False

    def _finished(self) -> None:
        result = self._connection.get_result()
        state, message = ("", "") if result is None else (_state(result), result.get_error_message())
        if state:
            raise translate(self._settings, state, message)
        raise ConnectError("the server ended the stream of its log", path=self._settings.display())

    def _readable(self, seconds: float) -> bool:
        return bool(select.select([self._connection.socket], [], [], seconds)[0])

    def confirm(self, lsn: int) -> None:
        """Everything up to `lsn` is durable; the server is told with the next word to it."""
        self._durable = max(self._durable, lsn)

    def tell(self, received: int, *, ask: bool = False) -> None:
        """Tell the server what is durable (and what was received), and ask for an answer."""
        micros = int((time.time() - _UNIX_EPOCH) * 1_000_000)
        durable = self._durable
        word = struct.pack("!cqqqqc", b"r", max(received, durable), durable, durable, micros, b"\1" if ask else b"\0")
        with self._translated(), self._lock:
            self._connection.put_copy_data(word)
            self._connection.flush()
            self._told = time.monotonic()

    @property
    def silent(self) -> float:
        """Seconds since the server heard from us."""
        return time.monotonic() - self._told

    def _beat(self) -> None:
        while not self._ended.wait(1.0):
            if self.silent >= _PULSE:
                try:
                    self.tell(0)
                except ConnectError:
                    return  # whoever reads finds the same

    def close(self) -> None:
        """End the stream and the connection."""
        self._ended.set()
        if self._pulse is not None:
            self._pulse.join()
            try:
                self._connection.put_copy_end()
                self._connection.flush()
            except self._error:
                pass  # it is broken: there is nobody to take leave of
        self._connection.finish()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise translate(self._settings, getattr(error, "sqlstate", None) or "", str(error)) from error


def _state(result: Any) -> str:
    found = result.error_field(ord("C"))
    return found.decode() if found else ""


def up_to(messages: Sequence[Any], end: int) -> Sequence[Any]:
    """The messages up to the first commit that ends there or behind: each begins with its place in the log."""
    if not messages or int.from_bytes(messages[-1][1:9], "big") < end:
        return messages
    for number, message in enumerate(messages):
        if message[25:26] == b"C" and int.from_bytes(message[35:43], "big") >= end:
            return messages[: number + 1]
    return messages
