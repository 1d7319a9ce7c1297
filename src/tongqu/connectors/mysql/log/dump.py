"""Asks a server for its binary log and hands over the events as they arrive."""

from __future__ import annotations

import secrets
import select
import struct
import time
from typing import Any

from tongqu.connectors.mysql.db import MysqlDb, literal
from tongqu.connectors.mysql.errors import translate
from tongqu.connectors.mysql.log.events import FORMAT, Event, checksum
from tongqu.connectors.mysql.log.places import executed_blocks
from tongqu.connectors.mysql.settings import MysqlSettings
from tongqu.core.errors import ConnectError, LostPositionError, PrivilegeError, ReadError

_BINLOG_DUMP, _BINLOG_DUMP_GTID = 0x12, 0x1E
_HEARTBEAT_NS = 500_000_000
_SILENCE = 60.0
_LOST, _TRUNCATED = 1236, "truncated in the middle of event"
_TAKE = 1 << 20
_WHOLE = 0xFFFFFF
RESYNC = "run the sync again with --restart: it loads the tables in full and follows from there"


class TornError(Exception):
    """A file of the log ends within a transaction: the server died while it wrote it, and has rolled it back since."""


class Dump:
    """One connection that the server sends its log to, as it does to a replica. For one thread."""

    def __init__(self, settings: MysqlSettings, file: str, pos: int, *, gtid: str = "", executed: str = ""):
        """Begin at `pos` of `file`; on another server behind MariaDB's `gtid` or MySQL's set `executed`."""
        self._settings = settings
        self._db = MysqlDb(settings, reading=True)
        self._held = bytearray()
        self._whole = b""
        self._refused = b""
        self._heard = time.monotonic()
        try:
            self._prepare(gtid)
            server = secrets.randbelow(1 << 30) + (1 << 31)
            if executed:
                command = _with_gtids(server, executed)
            else:
                name = b"" if gtid else file.encode()
                command = struct.pack("<BIHI", _BINLOG_DUMP, 4 if gtid else pos, 0, server) + name
            self._ask(command)
        except BaseException:
            self.close()
            raise

    def _prepare(self, gtid: str) -> None:
        """What a replica says before it asks: that it knows checksums and GTID events, and wants heartbeats."""
        self._db.run("SET @master_binlog_checksum = @@global.binlog_checksum")
        self._db.run("SET @source_binlog_checksum = @@global.binlog_checksum")
        self._tail = 4 if str(self._db.rows("SELECT @@global.binlog_checksum")[0][0]).upper() == "CRC32" else 0
        self._db.run(f"SET @master_heartbeat_period = {_HEARTBEAT_NS}, @source_heartbeat_period = {_HEARTBEAT_NS}")
        if self._db.is_mariadb:
            self._db.run("SET @mariadb_slave_capability = 4")
            if gtid:
                self._db.run(f"SET @slave_connect_state = {literal(gtid)}, @slave_gtid_strict_mode = 1")

    def _ask(self, command: bytes) -> None:
        connection = self._db.connection
        connection._next_seq_id = 0
        connection.write_packet(command)
        self._socket: Any = connection._sock
        self._socket.settimeout(0.2)

    def take(self, seconds: float) -> list[Event]:
        """The events that have arrived, waiting up to `seconds` for the first. Raises ConnectError for a lost
        connection, LostPositionError where the server no longer has the place, TornError."""
        deadline = time.monotonic() + seconds
        while True:
            found = self._split()
            if found:
                self._heard = time.monotonic()
                return found
            if self._refused:
                self._refuse(self._refused)
            if not self._wait(max(0.0, deadline - time.monotonic())):
                if time.monotonic() - self._heard > _SILENCE:
                    raise ConnectError("the server sent no heartbeat for a minute", path=self._settings.display())
                return []
            self._receive()

    @property
    def idle(self) -> bool:
        """Whether nothing more is there to be taken at this moment."""
        return len(self._held) < 4 and not self._wait(0)

    def _wait(self, seconds: float) -> bool:
        pending = getattr(self._socket, "pending", None)
        if pending is not None and pending():
            return True
        try:
            return bool(select.select([self._socket], [], [], seconds)[0])
        except (OSError, ValueError) as error:
            raise translate(self._settings, error, reading=True) from None

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_TAKE)
        except TimeoutError:
            return
        except OSError as error:
            raise translate(self._settings, error, reading=True) from None
        if not data:
            raise ConnectError("the server closed the connection", path=self._settings.display())
        self._held += data

    def _split(self) -> list[Event]:
        """Cut what was received into packets; a packet of the greatest length goes on in the next."""
        found: list[Event] = []
        data, at = bytes(self._held), 0
        size = len(data)
        while at + 4 <= size:
            length = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            end = at + 4 + length
            if end > size:
                break
            packet = data[at + 4 : end]
            at = end
            if self._whole or length == _WHOLE:
                self._whole += packet
                if length == _WHOLE:
                    continue
                packet, self._whole = self._whole, b""
            if packet[0] != 0:
                self._refused = packet
                break
            found.append(self._event(packet))
        if at:
            del self._held[:at]
        return found

    def _event(self, packet: bytes) -> Event:
        if packet[5] == FORMAT:
            self._tail = checksum(Event.parse(packet, 0))
            return Event.parse(packet, 0)
        return Event.parse(packet, self._tail)

    def _refuse(self, packet: bytes) -> None:
        where = self._settings.display()
        if packet[0] == 0xFE and len(packet) < 9:
            raise ConnectError("the server ended the log", path=where)
        if packet[0] != 0xFF:
            raise ReadError(f"the server sent something else than its log ({packet[0]})", path=where)
        code, text = int.from_bytes(packet[1:3], "little"), packet[9:].decode(errors="replace")
        if code == _LOST and _TRUNCATED in text:
            raise TornError(text)
        if code == _LOST:
            raise LostPositionError(f"the server no longer has this place of its log: {text}", path=where, hint=RESYNC)
        if code in (1227, 1045, 1142):
            hint = f"GRANT REPLICATION SLAVE ON *.* TO '{self._settings.user}'@'%'"
            raise PrivilegeError(f"not allowed to read the log: {text}", path=where, hint=hint)
        raise translate(self._settings, self._db._driver.err.OperationalError(code, text), reading=True)

    def close(self) -> None:
        """Drop the connection; may be called twice."""
        self._db.close()


def _with_gtids(server: int, executed: str) -> bytes:
    """MySQL's COM_BINLOG_DUMP_GTID: everything that is not in the set."""
    blocks = executed_blocks(executed)
    return struct.pack("<BHIIQI", _BINLOG_DUMP_GTID, 4, server, 0, 4, len(blocks)) + blocks
