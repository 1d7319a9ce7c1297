"""Files behind FTP, plain or with TLS (RFC 959, 3659, 4217); passive mode only."""

from __future__ import annotations

import ftplib
import re
import ssl
import time
from calendar import timegm
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from tongqu.core.errors import (
    AuthError,
    CertificateError,
    ConnectError,
    NotFoundError,
    PrivilegeError,
    TongquError,
    WriteError,
)
from tongqu.kit.egress.dial import Egress
from tongqu.kit.local_path import FULL_DISK
from tongqu.kit.places.ftp_connection import Ftp, RefusedError
from tongqu.kit.places.place import BLOCK, MISSING, RIGHTS, Entry, Place, parent, temporary_of
from tongqu.kit.places.settings import Address, PlaceSettings
from tongqu.kit.tls import context

_IDLE_SECONDS = 20.0
"""A connection that nobody used for so long is asked whether it still lives before it is used again."""
_UNIX = re.compile(r"([-dl])\S{9,11}\s+\d+\s+\S+\s+\S+\s+(\d+)\s+\S+\s+\S+\s+\S+\s(.+)")
_DOS = re.compile(r"\d\d-\d\d-\d{2,4}\s+\d\d:\d\d(?:[AP]M)?\s+(<DIR>|\d+)\s+(.+)")
_UNKNOWN = ("500", "501", "502", "504")
"""Answers that say that the server has no such command."""


class FtpPlace(Place):
    """Files on an FTP server. Each transfer has a connection of its own, kept for the next one."""

    def __init__(self, address: Address, settings: PlaceSettings, egress: Egress):
        super().__init__(address.shown)
        self._address, self._settings, self._egress = address, settings, egress
        self._lock = Lock()
        self._idle: list[tuple[float, Ftp]] = []
        self._lists_facts: bool | None = None

    # ---- the port

    def stages(self) -> Iterator[str]:
        """`dns`, `tcp`, `tls` with ftps, `login`."""
        address = self._address
        yield from self._egress.stages(address.host, address.port, seconds=self._settings.timeouts.connect_seconds)
        with self._connection("") as ftp:
            if isinstance(ftp.sock, ssl.SSLSocket):
                yield f"tls: {ftp.sock.version()}"
            yield "login"

    def entries(self, folder: str) -> list[Entry]:
        """See Place.entries. Servers that cannot tell exact times in a list are asked for each file's."""
        with self._connection(folder) as ftp:
            found = self._facts(ftp, folder)
            if found is None:
                found = [self._timed(ftp, one) for one in self._listed(ftp, folder)]
            if not found and folder:
                _visit(ftp, folder)  # an empty list is also what many servers give for no folder
        return sorted(found, key=lambda one: one.path)

    def look(self, path: str) -> Entry:
        """See Place.look."""
        with self._connection(path) as ftp:
            ftp.voidcmd("TYPE I")
            try:
                size = ftp.size(_real(path))
            except ftplib.error_perm as error:
                self._is_folder(ftp, path, error)
                return Entry(path, folder=True)
            return self._timed(ftp, Entry(path, -1 if size is None else size))

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """See Place.read; the server is told the offset (REST)."""
        with self._connection(path) as ftp:
            ftp.voidcmd("TYPE I")
            data = ftp.transfercmd(f"RETR {_real(path)}", offset or None)
            whole = False
            try:
                while block := data.recv(BLOCK):
                    yield block
                whole = True
            finally:
                _end(data)
                if not whole:
                    ftp.close()
            ftp.voidresp()

    def put(self, path: str, source: Path) -> Entry:
        """See Place.put: a temporary name, its size compared, then renamed."""
        temporary = temporary_of(path)
        with self._connection(path) as ftp, source.open("rb") as file:
            ftp.storbinary(f"STOR {_real(temporary)}", file, blocksize=BLOCK)
        self.verified(temporary, source.stat().st_size)
        self.rename(temporary, path)
        return self.look(path)

    def rename(self, path: str, new: str) -> None:
        """See Place.rename. Where the server does not rename over a file, the file goes just before."""
        with self._connection(path) as ftp:
            try:
                ftp.rename(_real(path), _real(new))
            except ftplib.error_perm:
                if path == new or not self._exists(ftp, new) or not self._exists(ftp, path):
                    raise
                ftp.delete(_real(new))
                ftp.rename(_real(path), _real(new))

    def delete(self, path: str) -> None:
        """See Place.delete."""
        self._gone(path, lambda ftp: ftp.delete(_real(path)))

    def make_folder(self, path: str) -> None:
        """See Place.make_folder."""
        if not path or self.there(path) is not None:
            return
        self.make_folder(parent(path))
        with self._connection(path) as ftp:
            try:
                ftp.mkd(_real(path))
            except ftplib.error_perm as error:
                self._is_folder(ftp, path, error)

    def delete_folder(self, path: str) -> None:
        """See Place.delete_folder."""
        self._gone(path, lambda ftp: ftp.rmd(_real(path)))

    def close(self) -> None:
        """See Place.close."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, ftp in idle:
            _quit(ftp)

    # ---- lists

    def _facts(self, ftp: Ftp, folder: str) -> list[Entry] | None:
        """What MLSD tells; None if the server has no such command."""
        if self._lists_facts is False:
            return None
        try:
            lines = list(ftp.mlsd(_real(folder), facts=["type", "size", "modify", "unique"]))
        except ftplib.error_perm as error:
            if not str(error).startswith(_UNKNOWN):
                raise
            self._lists_facts = False
            return None
        self._lists_facts = True
        found = []
        for name, facts in lines:
            kind = facts.get("type", "file").lower()
            if kind in ("cdir", "pdir") or name in (".", ".."):
                continue
            told = facts.get("size", "")
            size = int(told) if told.isdecimal() else -1
            found.append(Entry(_below(folder, name), size, _instant(facts.get("modify", "")), folder=kind == "dir"))
        return found

    def _listed(self, ftp: Ftp, folder: str) -> list[Entry]:
        lines: list[str] = []
        ftp.retrlines(f"LIST {_real(folder)}" if folder else "LIST", lines.append)
        return [entry for line in lines if (entry := _parsed(folder, line)) is not None]

    @staticmethod
    def _timed(ftp: Ftp, entry: Entry) -> Entry:
        if entry.folder:
            return entry
        try:
            answer = ftp.voidcmd(f"MDTM {_real(entry.path)}")
        except ftplib.error_perm:
            return entry
        return Entry(entry.path, entry.size, _instant(answer[4:].strip()))

    # ---- connections

    @contextmanager
    def _connection(self, path: str) -> Iterator[Ftp]:
        """A connection of our own; kept for the next user unless something broke."""
        with self._translated(path):
            ftp = self._kept() or self._connect()
            try:
                yield ftp
            except ftplib.error_perm:
                self._keep(ftp)
                raise
            except BaseException:
                ftp.close()
                raise
            self._keep(ftp)

    def _kept(self) -> Ftp | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, ftp = self._idle.pop()
            if time.monotonic() - since < _IDLE_SECONDS:
                return ftp
            try:
                ftp.voidcmd("NOOP")
            except (OSError, EOFError, ftplib.Error):
                ftp.close()
                continue
            return ftp

    def _keep(self, ftp: Ftp) -> None:
        if ftp.sock is not None:
            with self._lock:
                self._idle.append((time.monotonic(), ftp))

    def _connect(self) -> Ftp:
        address, settings = self._address, self._settings
        secure = address.scheme == "ftps"
        ftp = Ftp(self._egress, context(settings.tls) if secure else None, settings)
        try:
            ftp.dial(address.host, address.port)
            password = settings.password.get_secret_value() if settings.password else ""
            ftp.enter(address.user or "anonymous", password or ("" if address.user else "anonymous@"))
        except BaseException:
            ftp.close()
            raise
        return ftp

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        shown = self.shown(path)
        try:
            yield
        except TongquError:
            raise
        except RefusedError as error:
            raise AuthError(
                f"login: {self._address.host} refused the user {self._address.user or 'anonymous'!r}", path=self.url,
                hint=f"check user and password: {error}",
            ) from None  # fmt: skip
        except ssl.SSLCertVerificationError as error:
            raise CertificateError(
                f"tls: the certificate of {self._address.host} is not accepted: {error.verify_message}", path=self.url,
                hint="name the authority in tls.ca_file, or correct the host name",
            ) from error  # fmt: skip
        except ftplib.error_perm as error:
            raise _refusal(shown, str(error)) from error
        except (ftplib.Error, OSError, EOFError) as error:
            words = "no answer in time" if isinstance(error, TimeoutError) else str(error) or "closed by the server"
            raise ConnectError(f"the connection was lost at {shown}: {words}", path=shown) from error

    def _gone(self, path: str, remove: Callable[[Ftp], Any]) -> None:
        with self._connection(path) as ftp:
            try:
                remove(ftp)
            except ftplib.error_perm:
                if self._exists(ftp, path):
                    raise

    def _exists(self, ftp: Ftp, path: str) -> bool:
        try:
            ftp.voidcmd("TYPE I")
            ftp.size(_real(path))
        except ftplib.error_perm as error:
            with suppress(ftplib.error_perm):
                self._is_folder(ftp, path, error)
                return True
            return False
        return True

    @staticmethod
    def _is_folder(ftp: Ftp, path: str, otherwise: Exception) -> None:
        """Raise `otherwise` unless the path is a folder."""
        try:
            _visit(ftp, path)
        except ftplib.error_perm:
            raise otherwise from None


def _visit(ftp: Ftp, folder: str) -> None:
    """Go into a folder and back: `~/…` is told from where the connection stands."""
    here = ftp.pwd()
    ftp.cwd(_real(folder))
    ftp.cwd(here)


def _real(path: str) -> str:
    if "\r" in path or "\n" in path:
        raise NotFoundError("a name with a line break cannot be asked for by ftp", path="path")
    return path[2:] if path.startswith("~/") else "." if path == "~" else f"/{path}"


def _below(folder: str, name: str) -> str:
    name = name.rstrip("/").rpartition("/")[2]
    return f"{folder}/{name}" if folder else name


def _parsed(folder: str, line: str) -> Entry | None:
    """One line of LIST, as Unix or DOS servers write it; None for what is neither file nor folder."""
    unix = _UNIX.match(line)
    if unix:
        name = unix[3].partition(" -> ")[0] if unix[1] == "l" else unix[3]
        if name in (".", ".."):
            return None
        return Entry(_below(folder, name), int(unix[2]) if unix[1] == "-" else -1, folder=unix[1] == "d")
    dos = _DOS.match(line)
    if dos:
        is_folder = dos[1] == "<DIR>"
        return Entry(_below(folder, dos[2]), -1 if is_folder else int(dos[1]), folder=is_folder)
    return None


def _instant(text: str) -> int:
    """`20260131235959[.123]` in UTC as nanoseconds, whole seconds only: not every answer has the fraction; 0 for
    anything else."""
    whole = text.partition(".")[0]
    if len(whole) != 14 or not whole.isdigit():
        return 0
    return timegm(time.strptime(whole, "%Y%m%d%H%M%S")) * 1_000_000_000


def _refusal(shown: str, answer: str) -> TongquError:
    low = answer.lower()
    if answer.startswith(("552", "452")) or "no space" in low or "quota" in low:
        return WriteError(f"{shown}: {answer}", path=shown, hint=FULL_DISK)
    if "denied" in low or "not permitted" in low or answer.startswith(("553", "532", "530")):
        return PrivilegeError(f"no right to use {shown}: {answer}", path=shown, hint=RIGHTS)
    if answer.startswith("550") or "no such" in low:
        return NotFoundError(f"no such file: {shown} ({answer})", path=shown, hint=MISSING)
    return WriteError(f"{shown}: the server refused: {answer}", path=shown)


def _end(data: Any) -> None:
    if isinstance(data, ssl.SSLSocket):
        with suppress(OSError, ValueError):
            data.unwrap()
    data.close()


def _quit(ftp: Ftp) -> None:
    with suppress(OSError, EOFError, ftplib.Error):
        ftp.quit()
    ftp.close()
