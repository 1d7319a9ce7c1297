"""Hops that are SSH servers: one login is shared by all connections that go through it, its host key is pinned."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import asyncssh

from tongqu.core.errors import AuthError, ConnectError, InvalidSettingsError, TongquError
from tongqu.kit.egress.dial import Below, named, reason
from tongqu.kit.egress.loop import background, run
from tongqu.kit.egress.place import Place
from tongqu.kit.egress.relay import pair

_IDLE_SECONDS = 20.0
ALIVE_SECONDS = 15
"""How often the other end is asked whether it is still there; it is given up after three times without an answer."""


@dataclass(frozen=True)
class Login:
    """Who logs in to an SSH server, and by which host key it is known (one of the last two)."""

    user: str
    key_file: str = ""
    key: str = ""
    passphrase: str = ""
    password: str = ""
    known_hosts: str = ""
    fingerprint: str = ""


class Client(asyncssh.SSHClient):
    """Accepts a host key by its fingerprint only; `offered` are the fingerprints that were seen."""

    def __init__(self, fingerprint: str):
        self._fingerprint = fingerprint.rstrip("=")
        self.offered: list[str] = []

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """See asyncssh: asked about every key that no known_hosts file names."""
        del host, addr, port
        self.offered.append(key.get_fingerprint().rstrip("="))
        return bool(self._fingerprint) and self.offered[-1] == self._fingerprint


@dataclass(frozen=True)
class SshServer:
    """An SSH server as a hop. `way` tells apart servers of one name that are reached through different hops."""

    label: str
    place: Place
    login: Login
    way: Hashable = ()
    resolves: bool = True
    ours: bool = False

    def reach(self, below: Below, deadline: float) -> None:
        """See Hop.reach."""
        self.session(below, deadline)

    def connect(self, below: Below, place: Place, deadline: float) -> socket.socket:
        """See Hop.connect."""
        for last in (False, True):
            session = self.session(below, deadline)
            try:
                return run(session.open(place), deadline)
            except asyncssh.ChannelOpenError as error:
                if session.alive():
                    raise self.unreached(place, error.reason) from None
                if last:
                    raise self.failed(error) from None
            except (OSError, asyncssh.Error) as error:  # the login that was kept has broken meanwhile: once more
                session.drop()
                if last:
                    raise self.failed(error) from None
        raise AssertionError

    def unreached(self, place: Place, why: str) -> TongquError:
        """The error for a server that lets us in and gives no connection."""
        hint = f"{place} must be reachable from there, and forwarding to it allowed"
        return ConnectError(
            f"{self.label} gives no connection to {place}: {why.strip().lower() or 'refused'}",
            path=str(place),
            hint=hint,
        )

    def failed(self, error: BaseException) -> ConnectError:
        """The error for a server that does not talk SSH with us, or not any more."""
        said = str(getattr(error, "reason", "")) or reason(error)
        return ConnectError(
            f"{self.label}: {said}", path=str(self.place), hint="check that an SSH server listens there"
        )

    def session(self, below: Below, deadline: float) -> Session:
        """The login that is kept, or a new one; raises ConnectError or AuthError."""
        key = (os.getpid(), self.place, self.login, self.way)
        with _lock:
            turn = _turns.setdefault(key, Lock())
        with turn:
            kept = _sessions.get(key)
            if kept is None or not kept.alive():
                kept = _sessions[key] = self._logged_in(below, deadline)
            return kept

    def _logged_in(self, below: Below, deadline: float) -> Session:
        keys = self._keys()
        try:
            opened = below(self.place, deadline)
        except TongquError as error:
            raise named(self.label, error) from None
        client = Client(self.login.fingerprint)
        try:
            return run(self._log_in(client, keys, opened, deadline), deadline)
        except asyncssh.HostKeyNotVerifiable:
            offered = ", ".join(client.offered)
            said = f"it has {offered}" if offered else "the file has no key for this host and port"
            raise AuthError(
                f"{self.label}: the host key is not the one that was pinned",
                path=str(self.place),
                hint=f"{said}; if that is really the server, correct fingerprint or known_hosts",
            ) from None
        except asyncssh.PermissionDenied:
            raise self.denied() from None
        except (OSError, asyncssh.Error) as error:
            opened.close()
            raise self.failed(error) from None

    def denied(self) -> AuthError:
        """The error for a server that does not let us in."""
        hint = "check user, key and password"
        return AuthError(f"{self.label}: the login was refused", path=str(self.place), hint=hint)

    def _keys(self) -> list[asyncssh.SSHKey] | None:
        login = self.login
        passphrase = login.passphrase or None
        try:
            if login.key:
                return [asyncssh.import_private_key(login.key, passphrase)]
            if login.key_file:
                return [asyncssh.read_private_key(str(Path(login.key_file).expanduser()), passphrase)]
            return None
        except OSError as error:
            raise InvalidSettingsError(
                f"{self.label}: the private key cannot be read: {reason(error)}", path="via", hint="check its path"
            ) from None
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            raise InvalidSettingsError(
                f"{self.label}: the private key cannot be used: {error}",
                path="via",
                hint="check the key and its passphrase",
            ) from None

    async def _log_in(
        self, client: Client, keys: list[asyncssh.SSHKey] | None, opened: socket.socket, deadline: float
    ) -> Session:
        return Session(
            await asyncssh.connect(
                self.place.host,
                self.place.port,
                sock=opened,
                config=None,
                client_factory=lambda: client,
                known_hosts=known(self.login.known_hosts),
                username=self.login.user,
                password=self.login.password or None,
                client_keys=keys,
                agent_path=None,
                gss_kex=False,
                gss_auth=False,
                login_timeout=max(deadline - time.monotonic(), 0.1),
                keepalive_interval=ALIVE_SECONDS,
                keepalive_count_max=3,
            )
        )


def known(path: str) -> Callable[[str, str, int], Any]:
    """The keys that a known_hosts file has for a host and port, none without a file. The address is not looked at:
    behind another hop it would be that of the hop."""

    def match(host: str, address: str, port: int) -> Any:
        del address
        if not path:
            return [], [], [], [], [], [], []
        return asyncssh.match_known_hosts(str(Path(path).expanduser()), host, "", port)

    return match


class Session:
    """A login to an SSH server, which ends when nothing has gone through it for a while. Made in the loop; `alive` and
    `drop` may be called from any thread."""

    def __init__(self, connection: asyncssh.SSHClientConnection):
        self._connection = connection
        self._open = 0
        self._timer: asyncio.TimerHandle | None = None
        self._rest()

    def alive(self) -> bool:
        """Whether connections can still be opened through it."""
        return not self._connection.is_closed()

    def drop(self) -> None:
        """Give it up."""
        background().call_soon_threadsafe(self._connection.abort)

    async def say(self, command: str) -> str:
        """What the server answers to a command; raises asyncssh's errors and OSError."""
        done = await self._connection.run(command, check=True)
        return str(done.stdout)

    async def open(self, place: Place) -> socket.socket:
        """A socket that leads to the place; raises asyncssh's errors and OSError."""
        self._open += 1
        if self._timer is not None:
            self._timer.cancel()
        ours, theirs = pair()
        local: asyncssh.SSHForwarder | None = None
        try:
            _, local = await asyncio.get_running_loop().create_connection(asyncssh.SSHForwarder, sock=theirs)
            peer = local
            await self._connection.create_connection(
                lambda: _Channel(peer, self._closed),  # type: ignore[arg-type,return-value]  # asyncssh couples its forwarders like this
                place.host,
                place.port,
            )
        except BaseException:
            self._closed()
            ours.close()
            (local or theirs).close()
            raise
        return ours

    def _closed(self) -> None:
        self._open = max(self._open - 1, 0)
        if self._open == 0:
            self._rest()

    def _rest(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._retire)

    def _retire(self) -> None:
        if self._open == 0:
            self._connection.close()


class _Channel(asyncssh.SSHForwarder):
    """Couples a channel with a local connection and tells when it has ended."""

    def __init__(self, local: asyncssh.SSHForwarder, closed: Callable[[], None]):
        super().__init__(local)
        self._tell = closed

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        super().connection_lost(exc)
        self._tell()


_lock = Lock()
_turns: dict[Hashable, Lock] = {}
_sessions: dict[Hashable, Session] = {}
