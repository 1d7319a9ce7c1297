"""Files on a Windows share (SMB 2 and 3), as Windows, Samba and file servers of many makers serve them."""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, RLock
from typing import Any

from tongqu.core.errors import (
    AuthError,
    BusyError,
    ConnectError,
    InvalidSettingsError,
    NotFoundError,
    PrivilegeError,
    TongquError,
    WriteError,
)
from tongqu.kit.drivers import driver
from tongqu.kit.egress.dial import Egress
from tongqu.kit.egress.policy import Grant
from tongqu.kit.local_path import FULL_DISK
from tongqu.kit.places.place import BLOCK, MISSING, RIGHTS, Entry, Place, blocks, temporary_of
from tongqu.kit.places.settings import Address, PlaceSettings

_FOLDER = 0x10
_SHARING = 0xC0000043
_BAD_SHARE = (0xC00000CC, 0xC000000F)
_LOGIN = (0xC000006D, 0xC000006E, 0xC0000071, 0xC0000072, 0xC0000193, 0xC0000234, 0xC000006F)
"""What servers say of a wrong password, and of an expired, disabled, locked or restricted account."""


class SmbPlace(Place):
    """One share; the first part of the path is its name. Signed always, encrypted where the server asks for it."""

    def __init__(self, address: Address, settings: PlaceSettings, egress: Egress):
        share = address.path.partition("/")[0]
        if not share:
            raise InvalidSettingsError("the address names no share", path="path", hint="smb://host/share/folder/*.csv")
        super().__init__(address.shown)
        self._address, self._settings, self._egress = address, settings, egress
        self._smb = driver("smbclient", "smb")
        self._errors = driver("smbprotocol.exceptions", "smb")
        self._lock, self._turn = Lock(), RLock()
        self._connections: Any = _Connections(self._connection)

    # ---- the port

    def stages(self) -> Iterator[str]:
        """`dns`, `tcp`, `login`."""
        address = self._address
        yield from self._egress.stages(address.host, address.port, seconds=self._settings.timeouts.connect_seconds)
        self._do("", lambda: self._smb.register_session(address.host, **self._login()))
        yield "login"
        self.look(address.path.partition("/")[0])
        yield "share"

    def entries(self, folder: str) -> list[Entry]:
        """See Place.entries."""

        def listed() -> list[Entry]:
            with self._smb.scandir(self._unc(folder), **self._login()) as found:
                return [self._entry(f"{folder}/{one.name}", one.smb_info) for one in found]

        return sorted(self._do(folder, listed), key=lambda one: one.path)

    def look(self, path: str) -> Entry:
        """See Place.look."""
        found = self._do(path, lambda: self._smb.stat(self._unc(path), **self._login()))
        folder = bool(found.st_file_attributes & _FOLDER)
        return Entry(path, -1 if folder else found.st_size, found.st_mtime_ns // 1000 * 1000, folder=folder)

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """See Place.read."""
        file = self._do(path, lambda: self._open(path, "rb"))
        try:
            if offset:
                self._do(path, lambda: file.seek(offset))
            while block := self._do(path, lambda: file.read(BLOCK)):
                yield block
        finally:
            with suppress(OSError, self._errors.SMBException):
                file.close()

    def put(self, path: str, source: Path) -> Entry:
        """See Place.put: a temporary name, then a rename over the old one in one step."""
        temporary = temporary_of(path)

        def written() -> None:
            with self._open(temporary, "wb") as file:
                for block in blocks(source):
                    rest = memoryview(block)
                    while rest:
                        rest = rest[file.write(rest) :]

        self._do(path, written)
        self.verified(temporary, source.stat().st_size)
        self.rename(temporary, path)
        return self.look(path)

    def rename(self, path: str, new: str) -> None:
        """See Place.rename."""
        self._do(path, lambda: self._smb.replace(self._unc(path), self._unc(new), **self._login()))

    def copy(self, path: str, new: str) -> None:
        """See Place.copy: the server copies."""
        temporary = temporary_of(new)
        self._do(path, lambda: self._smb.copyfile(self._unc(path), self._unc(temporary), **self._login()))
        self.rename(temporary, new)

    def delete(self, path: str) -> None:
        """See Place.delete."""
        with suppress(NotFoundError):
            self._do(path, lambda: self._smb.remove(self._unc(path), **self._login()))

    def make_folder(self, path: str) -> None:
        """See Place.make_folder."""
        self._do(path, lambda: self._smb.makedirs(self._unc(path), exist_ok=True, **self._login()))

    def delete_folder(self, path: str) -> None:
        """See Place.delete_folder."""
        with suppress(NotFoundError):
            self._do(path, lambda: self._smb.rmdir(self._unc(path), **self._login()))

    def close(self) -> None:
        """See Place.close."""
        with self._lock:
            connections, self._connections = self._connections, _Connections(self._connection)
        for connection in connections.values():
            with suppress(self._errors.SMBException, OSError, ValueError):
                connection.disconnect(close=True, timeout=5)

    # ---- the connection

    def _open(self, path: str, mode: str) -> Any:
        share = {"share_access": "r"} if mode == "rb" else {}
        return self._smb.open_file(self._unc(path), mode=mode, buffering=0, **share, **self._login())

    def _unc(self, path: str) -> str:
        return "\\\\" + self._address.host + "\\" + path.replace("/", "\\")

    def _login(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "username": self._address.user or None,
            "password": settings.password.get_secret_value() if settings.password else None,
            "port": self._address.port,
            "connection_cache": self._connections,
            "auth_protocol": "ntlm" if settings.password else "negotiate",
        }

    def _connection(self, host: str, port: int) -> Any:
        """A connection over a socket of the egress. A host that the server referred us to (DFS) came from data."""
        protocol, transport = driver("smbprotocol.connection", "smb"), driver("smbprotocol.transport", "smb")
        own = (host.lower(), port) == (self._address.host.lower(), self._address.port)
        timeouts = self._settings.timeouts
        sock = self._egress.connect(host, port, timeouts.connect_seconds, Grant.OPERATOR if own else Grant.DATA)

        class _Dialled(protocol.Connection):  # type: ignore[misc, name-defined]  # the driver is imported on first use
            def __setattr__(self, name: str, value: Any) -> None:
                if name == "transport" and isinstance(value, transport.Tcp):
                    value._sock, value.connected = sock, True
                super().__setattr__(name, value)

        made = _Dialled(uuid.uuid4(), host, port, True)
        made.connect(timeout=timeouts.connect_seconds)
        made._receive_timeout = timeouts.read_seconds
        return made

    @staticmethod
    def _entry(path: str, info: Any) -> Entry:
        folder = bool(info.file_attributes & _FOLDER)
        since = info.last_write_time
        return Entry(path, -1 if folder else info.end_of_file, _nanoseconds(since), folder=folder)

    def _do(self, path: str, work: Callable[[], Any]) -> Any:
        """One request after the other: the driver's sessions are not made for several threads."""
        with self._turn, self._translated(path):
            return work()

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        shown, errors = self.shown(path), self._errors
        try:
            yield
        except TongquError:
            raise
        except errors.SMBAuthenticationError as error:
            raise self._refused(error) from None
        except errors.SMBOSError as error:
            if error.ntstatus in _LOGIN:
                raise self._refused(error) from None
            raise _system_error(shown, error) from error
        except errors.SMBResponseException as error:
            if error.status in _LOGIN:
                raise self._refused(error) from None
            if error.status in _BAD_SHARE:
                raise NotFoundError(f"there is no share {shown}", path=shown, hint=MISSING) from error
            raise WriteError(f"{shown}: the server refused: {str(error).splitlines()[0]}", path=shown) from error
        except (errors.SMBException, OSError, ValueError, TimeoutError) as error:
            self.close()
            raise ConnectError(
                f"the connection was lost at {shown}: {str(error).splitlines()[0]}", path=shown
            ) from error

    def _refused(self, error: BaseException) -> AuthError:
        return AuthError(
            f"login: {self._address.host} refused the user {self._address.user!r}", path=self.url,
            hint=f"check user and password: {str(error).splitlines()[0][:200]}",
        )  # fmt: skip


class _Connections(dict[str, Any]):
    """The driver's cache of connections by `host:port`, in which those that are missing are made by us."""

    def __init__(self, connect: Callable[[str, int], Any]):
        super().__init__()
        self._connect = connect
        self._lock = Lock()

    def get(self, key: str, default: Any = None) -> Any:
        """The living connection to a host and port; a new one if there is none."""
        del default
        with self._lock:
            found = super().get(key)
            if found is None or not found.transport.connected:
                host, _, port = key.rpartition(":")
                found = self[key] = self._connect(host, int(port))
            return found


def _system_error(shown: str, error: Any) -> TongquError:
    if error.errno == errno.ENOENT:
        return NotFoundError(f"no such file: {shown}", path=shown, hint=MISSING)
    if error.errno in (errno.EACCES, errno.EPERM):
        if error.ntstatus == _SHARING:
            return BusyError(f"{shown} is open in another program", path=shown, hint="wait until it is closed")
        return PrivilegeError(f"no right to use {shown}", path=shown, hint=RIGHTS)
    hint = FULL_DISK if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return WriteError(f"{shown}: {str(error.strerror).splitlines()[0]}", path=shown, hint=hint)


def _nanoseconds(instant: Any) -> int:
    """A datetime of the driver, exact to its microseconds."""
    return int(instant.timestamp() * 1_000_000 + 0.5) * 1000
