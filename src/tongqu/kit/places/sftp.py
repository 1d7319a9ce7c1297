"""Files behind SSH (SFTP version 3, as OpenSSH serves it)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Any, TypeVar

from tongqu.core.errors import (
    AuthError,
    BusyError,
    CertificateError,
    ConnectError,
    InvalidSettingsError,
    NotFoundError,
    PrivilegeError,
    TongquError,
    WriteError,
)
from tongqu.kit.drivers import driver
from tongqu.kit.egress.dial import Egress
from tongqu.kit.local_path import FULL_DISK
from tongqu.kit.places.place import BLOCK, MISSING, RIGHTS, Entry, Place, parent, temporary_of
from tongqu.kit.places.settings import Address, PlaceSettings

T = TypeVar("T")
_AHEAD = 6
"""Blocks that are asked for before the first of them is used: a link of 60 ms still gives 100 MB/s."""
_CIPHERS = "^aes128-gcm@openssh.com"
"""Preferred where the server has it: the fastest by far on machines with AES instructions."""


class SftpPlace(Place):
    """Files on an SSH server. The server's key must be known: never trusted because it was seen first.

    Absolute paths begin at the server's root, `~/…` at the user's home.
    """

    def __init__(self, address: Address, settings: PlaceSettings, egress: Egress):
        super().__init__(address.shown)
        self._address, self._settings, self._egress = address, settings, egress
        self._ssh = driver("asyncssh", "ssh")
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Any = None
        self._client: Any = None

    # ---- the port

    def stages(self) -> Iterator[str]:
        """`dns`, `tcp`, `host key`, `login`."""
        yield from self._egress.stages(
            self._address.host, self._address.port, seconds=self._settings.timeouts.connect_seconds
        )
        self._sftp()
        key = self._connection.get_server_host_key()
        yield f"host key: {key.get_fingerprint() if key else 'certificate'}"
        yield "login"

    def entries(self, folder: str) -> list[Entry]:
        """See Place.entries."""
        with self._translated(folder):
            names = self._ask(self._sftp().readdir(_real(folder) if folder else "/"))
        found = []
        for one in names:
            if one.filename in (".", ".."):
                continue
            path = f"{folder}/{one.filename}" if folder else one.filename
            attributes = one.attrs
            if attributes.type == self._ssh.FILEXFER_TYPE_SYMLINK:
                with suppress(NotFoundError, PrivilegeError):  # a link that leads nowhere is no file
                    linked = self.look(path)
                    found += [] if linked.folder else [linked]  # a folder may lead back to where it is
                continue
            found.append(self._entry(path, attributes))
        return sorted(found, key=lambda one: one.path)

    def look(self, path: str) -> Entry:
        """See Place.look."""
        with self._translated(path):
            return self._entry(path, self._ask(self._sftp().stat(_real(path))))

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """See Place.read: several blocks are under way at once."""
        with self._translated(path):
            file = self._ask(self._sftp().open(_real(path), "rb"))
            transfer = _Transfer(file, offset, self._ask(file.stat()).size)
        try:
            while True:
                with self._translated(path):
                    block = self._ask(transfer.block())
                if not block:
                    return
                yield block
        finally:
            with suppress(TongquError), self._translated(path):
                self._ask(transfer.close())

    def put(self, path: str, source: Path) -> Entry:
        """See Place.put: a temporary name, durable where the server can, then `posix-rename`."""
        temporary = temporary_of(path)
        with self._translated(path):
            self._ask(self._sftp().put(str(source), _real(temporary)), limit=False)
            self._ask(self._durable(_real(temporary)))
        self.verified(temporary, source.stat().st_size)
        self.rename(temporary, path)
        return self.look(path)

    async def _durable(self, path: str) -> None:
        async with self._client.open(path, "rb+") as file:
            with suppress(self._ssh.SFTPOpUnsupported):
                await file.fsync()

    def rename(self, path: str, new: str) -> None:
        """See Place.rename. Where the server has no `posix-rename`, what has the new name goes just before."""
        with self._translated(path):
            try:
                self._ask(self._sftp().posix_rename(_real(path), _real(new)))
            except self._ssh.SFTPOpUnsupported:
                self.delete(new)
                self._ask(self._sftp().rename(_real(path), _real(new)))

    def copy(self, path: str, new: str) -> None:
        """See Place.copy: a second name for the same file where the server can, else the server's own copy or ours."""
        temporary = temporary_of(new)
        self.delete(temporary)
        with self._translated(path):
            try:
                self._ask(self._sftp().link(_real(path), _real(temporary)))
            except (self._ssh.SFTPOpUnsupported, self._ssh.SFTPFailure):
                if not self._client.supports_remote_copy:
                    self._copy_through(path, new)
                    return
                self._ask(self._sftp().remote_copy(_real(path), _real(temporary)), limit=False)
        self.rename(temporary, new)

    def delete(self, path: str) -> None:
        """See Place.delete."""
        with suppress(NotFoundError), self._translated(path):
            self._ask(self._sftp().remove(_real(path)))

    def make_folder(self, path: str) -> None:
        """See Place.make_folder."""
        if not path or self.there(path) is not None:
            return
        self.make_folder(parent(path))
        with self._translated(path):
            try:
                self._ask(self._sftp().mkdir(_real(path)))
            except self._ssh.SFTPError:
                if self.there(path) is None:  # somebody else may have made it meanwhile
                    raise

    def delete_folder(self, path: str) -> None:
        """See Place.delete_folder."""
        with suppress(NotFoundError), self._translated(path):
            self._ask(self._sftp().rmdir(_real(path)))

    def close(self) -> None:
        """See Place.close."""
        with self._lock:
            loop, self._loop = self._loop, None
            connection, self._connection, self._client = self._connection, None, None
        if loop is None:
            return
        if connection is not None:
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(_closed(connection), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)

    # ---- the connection

    def _entry(self, path: str, attributes: Any) -> Entry:
        folder = attributes.type == self._ssh.FILEXFER_TYPE_DIRECTORY
        mtime = (attributes.mtime or 0) * 1_000_000_000 + (attributes.mtime_ns or 0)
        return Entry(path, -1 if folder or attributes.size is None else attributes.size, mtime, folder=folder)

    def _sftp(self) -> Any:
        with self._lock:
            if self._client is None:
                self._connect()
            return self._client

    def _connect(self) -> None:
        address, settings = self._address, self._settings
        keys, seen = self._keys(), list[Any]()
        sock = self._egress.connect(address.host, address.port, settings.timeouts.connect_seconds)
        try:
            self._connection, self._client = self._run(self._login(sock, keys, seen), settings.timeouts.read_seconds)
        except self._ssh.HostKeyNotVerifiable as error:
            sock.close()
            shown = f" (it has the key {seen[0].get_fingerprint()})" if seen else ""
            what = f"has another key than {settings.host_key}" if settings.host_key else "is not known"
            raise CertificateError(
                f"host key: {address.host} {what}{shown}: {error.reason}",
                path=self.url,
                hint="compare the fingerprint with the one its operator gives you, then set host_key: to it",
            ) from None
        except self._ssh.PermissionDenied as error:
            sock.close()
            raise AuthError(
                f"login: {address.host} refused the user {address.user!r}", path=self.url,
                hint=f"check user, password and key_file: {error.reason}",
            ) from None  # fmt: skip
        except (self._ssh.Error, OSError, TimeoutError) as error:
            sock.close()
            raise ConnectError(f"ssh: {address.host}: {_words(error)}", path=self.url) from error
        except BaseException:
            sock.close()
            raise

    async def _login(self, sock: Any, keys: list[Any] | None, seen: list[Any]) -> tuple[Any, Any]:
        settings, address = self._settings, self._address
        fingerprint = settings.host_key

        class _Client(self._ssh.SSHClient):  # type: ignore[misc, name-defined]  # the driver is imported on first use
            def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:
                del host, addr, port
                seen.append(key)
                return fingerprint is not None and fingerprint in _names(key)

        known = Path(settings.known_hosts or "~/.ssh/known_hosts").expanduser()
        trusted: Any = ([], [], []) if fingerprint or not known.is_file() else str(known)
        connection = await self._ssh.connect(
            address.host, address.port, sock=sock, config=None, username=address.user or None,
            password=settings.password.get_secret_value() if settings.password else None, client_keys=keys,
            known_hosts=trusted, client_factory=_Client, agent_path=None, encryption_algs=_CIPHERS,
            keepalive_interval=15, keepalive_count_max=3, login_timeout=settings.timeouts.connect_seconds,
        )  # fmt: skip
        names = {"path_encoding": settings.name_encoding, "path_errors": "surrogateescape"}
        return connection, await connection.start_sftp_client(**names)

    def _keys(self) -> list[Any] | None:
        settings = self._settings
        if not settings.key_file and not settings.key:
            return None
        secret = settings.key_password.get_secret_value() if settings.key_password else None
        try:
            if settings.key:
                return [self._ssh.import_private_key(settings.key.get_secret_value(), secret)]
            return [self._ssh.read_private_key(Path(settings.key_file or "").expanduser(), secret)]
        except (OSError, self._ssh.KeyImportError, self._ssh.KeyEncryptionError) as error:
            raise InvalidSettingsError(
                f"the private key cannot be used: {_words(error)}", path="key_file",
                hint="name a file in OpenSSH or PEM form, and its key_password if it has one",
            ) from None  # fmt: skip

    def _run(self, work: Coroutine[Any, Any, T], seconds: float | None) -> T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            Thread(target=_serve, args=(self._loop,), name="tongqu-sftp", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, seconds), self._loop).result()

    def _ask(self, work: Coroutine[Any, Any, T], *, limit: bool = True) -> T:
        """The result; a transfer of unknown length has no limit of its own: the connection's keep-alive is one."""
        return self._run(work, self._settings.timeouts.read_seconds if limit else None)

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """Raises the server's errors as ours; a lost connection is forgotten, so that the next question makes one."""
        ssh, shown = self._ssh, self.shown(path)
        try:
            yield
        except (ssh.SFTPNoSuchFile, ssh.SFTPNoSuchPath) as error:
            raise NotFoundError(f"no such file: {shown}", path=shown, hint=MISSING) from error
        except ssh.SFTPPermissionDenied as error:
            raise PrivilegeError(f"no right to use {shown}", path=shown, hint=RIGHTS) from error
        except (ssh.SFTPNoSpaceOnFilesystem, ssh.SFTPQuotaExceeded) as error:
            raise WriteError(f"{shown}: {error.reason}", path=shown, hint=FULL_DISK) from error
        except ssh.SFTPLockConflict as error:
            raise BusyError(f"{shown} is locked by another process", path=shown) from error
        except (ssh.SFTPConnectionLost, ssh.SFTPNoConnection, ssh.DisconnectError, OSError, TimeoutError) as error:
            self._forget()
            raise ConnectError(f"the connection was lost at {shown}: {_words(error)}", path=shown) from error
        except ssh.SFTPError as error:
            raise WriteError(f"{shown}: the server refused: {error.reason or error}", path=shown) from error

    def _forget(self) -> None:
        with self._lock:
            connection, self._connection, self._client = self._connection, None, None
            if connection is not None and self._loop is not None:
                self._loop.call_soon_threadsafe(connection.abort)


class _Transfer:
    """Blocks of one file, several asked for ahead; what is added to the file meanwhile is left out."""

    def __init__(self, file: Any, offset: int, size: int):
        self._file, self._offset, self._size = file, offset, size
        self._asked: deque[asyncio.Task[bytes]] = deque()

    async def block(self) -> bytes:
        """The next block; empty at the end."""
        while len(self._asked) < _AHEAD and self._offset < self._size:
            wanted = min(BLOCK, self._size - self._offset)
            self._asked.append(asyncio.ensure_future(self._file.read(wanted, self._offset)))
            self._offset += wanted
        return bytes(await self._asked.popleft()) if self._asked else b""

    async def close(self) -> None:
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        await self._file.close()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


async def _closed(connection: Any) -> None:
    connection.close()
    await connection.wait_closed()


def _real(path: str) -> str:
    """The path as the server knows it."""
    return path[2:] if path.startswith("~/") else "." if path == "~" else f"/{path}"


def _names(key: Any) -> tuple[str, ...]:
    """How a host key may be named in the settings: its fingerprint, or itself."""
    whole = key.export_public_key().decode("ascii").split()
    return key.get_fingerprint(), " ".join(whole[:2])


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(getattr(error, "reason", "")) or str(error) or type(error).__name__
