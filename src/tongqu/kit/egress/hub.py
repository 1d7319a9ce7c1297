"""The hub: agents of other sites dial in and stay; connections that ask for an agent are passed down to it."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh

from tongqu.core.errors import ConnectError
from tongqu.kit.egress.access import Access, forget
from tongqu.kit.egress.agents import ABSENT, PRESENT, SERVE, USE
from tongqu.kit.egress.own_ports import announce, withdraw
from tongqu.kit.egress.relay import as_socket
from tongqu.kit.egress.tokens import Tokens, private_file

_LOGIN_SECONDS = 20
_ALIVE_SECONDS = 15
_KEY = "hub.key"
_TOKENS = "hub-tokens.json"


def tokens(home: Path) -> Tokens:
    """The tokens of the hub of this home."""
    return Tokens(home / _TOKENS)


def host_key(home: Path) -> asyncssh.SSHKey:
    """The key that the hub of this home is known by, made on first use (0600)."""
    path = home / _KEY
    if not path.exists():
        key = asyncssh.generate_private_key("ssh-ed25519", "tongqu hub")
        private_file(path, key.export_private_key().decode())
    return asyncssh.read_private_key(str(path))


class Hub:
    """An SSH server without shell, files or ports of its own: agents offer the places they allow, users go there.

    Lives in one event loop. `tell` is called with a word (`connected`, `left`, `refused`) and the name of who did it.
    """

    def __init__(self, home: Path, tell: Callable[[str, str], None]):
        self.tokens = tokens(home)
        self.agents: dict[str, _Guest] = {}
        self.port = 0
        self.tls_port = 0
        self._home = home
        self._key = host_key(home)
        self._own = secrets.token_urlsafe(32)
        self._tell = tell
        self._server: asyncssh.SSHAcceptor | None = None
        self._tls: asyncio.Server | None = None
        self._guests: set[_Guest] = set()
        self._carried: set[asyncio.StreamWriter] = set()

    @property
    def fingerprint(self) -> str:
        """What agents and users pin."""
        return self._key.get_fingerprint()

    async def start(self, host: str, port: int) -> None:
        """Listen (port 0: any free one) and write down how the home's own processes get in; raises ConnectError."""
        try:
            self._server = await asyncssh.listen(host, port, **self._options())
        except OSError as error:
            raise _unheard(host, port, error) from None
        self.port = self._server.get_port()
        announce(self.port)
        reached = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host  # noqa: S104  # compared, not bound
        listen = f"[{reached}]:{self.port}" if ":" in reached else f"{reached}:{self.port}"
        Access(listen, self._own, self.fingerprint).write(self._home)

    async def start_tls(self, host: str, port: int, tls: ssl.SSLContext) -> None:
        """Listen on another port where the same is spoken inside TLS, for sites that let out nothing else; raises
        ConnectError."""
        try:
            self._tls = await asyncio.start_server(self._carry, host, port, ssl=tls)
        except OSError as error:
            raise _unheard(host, port, error) from None
        self.tls_port = int(self._tls.sockets[0].getsockname()[1])
        announce(self.tls_port)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._carried.add(writer)
        try:
            await asyncssh.run_server(await as_socket((reader, writer)), **self._options())
        except (OSError, asyncssh.Error, asyncio.CancelledError):  # whoever it was did not get in
            writer.close()
        self._carried = {one for one in self._carried if not one.is_closing()}

    def _options(self) -> dict[str, Any]:
        return {
            "config": None,
            "server_factory": lambda: _Guest(self),
            "server_host_keys": [self._key],
            "password_auth": True,
            "public_key_auth": False,
            "kbdint_auth": False,
            "host_based_auth": False,
            "gss_host": None,
            "allow_pty": False,
            "agent_forwarding": False,
            "x11_forwarding": False,
            "line_editor": False,
            "encoding": "utf-8",
            "process_factory": self._answer,
            "login_timeout": _LOGIN_SECONDS,
            "keepalive_interval": _ALIVE_SECONDS,
            "keepalive_count_max": 3,
        }

    async def close(self) -> None:
        """Send everybody away and stop listening."""
        forget(self._home)
        if self._tls is not None:
            withdraw(self.tls_port)
            self._tls.close()
        if self._server is not None:
            withdraw(self.port)
            self._server.close()
            guests = list(self._guests)
            for guest in guests:
                guest.leave()
            await asyncio.gather(*(guest.gone() for guest in guests))
            await self._server.wait_closed()
        for writer in self._carried:
            writer.transport.abort()

    def lets_in(self, user: str, token: str) -> bool:
        """Whether the token is good for that user name."""
        if user.startswith(SERVE):
            return self.tokens.is_agent(user.removeprefix(SERVE), token)
        if user.startswith(USE):
            return secrets.compare_digest(token.encode(), self._own.encode()) or self.tokens.may_use(token)
        return False

    def enter(self, guest: _Guest) -> None:
        """Somebody is at the door."""
        self._guests.add(guest)

    def go(self, guest: _Guest) -> None:
        """Somebody's line has ended."""
        self._guests.discard(guest)

    def arrived(self, name: str, guest: _Guest) -> None:
        """An agent is there; one of the same name that was there before has lost its line without telling."""
        before = self.agents.pop(name, None)
        self.agents[name] = guest
        if before is not None:
            before.leave()
        self._tell("connected", name)

    def left(self, name: str, guest: _Guest) -> None:
        """An agent's line has ended."""
        if self.agents.get(name) is guest:
            del self.agents[name]
            self._tell("left", name)

    def refused(self, user: str) -> None:
        """A login was refused."""
        self._tell("refused", user)

    async def _answer(self, process: asyncssh.SSHServerProcess[str]) -> None:
        user = str(process.get_extra_info("username"))
        if process.command == "status" and user.startswith(USE):
            process.stdout.write(PRESENT if user.removeprefix(USE) in self.agents else ABSENT)
            process.exit(0)
        elif process.command == "agents" and user.startswith(USE):
            process.stdout.write("\n".join(sorted(self.agents)))
            process.exit(0)
        else:
            process.exit(1)


def _unheard(host: str, port: int, error: OSError) -> ConnectError:
    return ConnectError(
        f"the hub cannot listen on {host}:{port}: {error.strerror or error}",
        path=f"{host}:{port}",
        hint="choose another place to listen on",
    )


class _Guest(asyncssh.SSHServer):
    """One login at the hub: an agent or a user."""

    def __init__(self, hub: Hub):
        self._hub = hub
        self._connection: asyncssh.SSHServerConnection | None = None
        self._user = ""
        self.offers: set[tuple[str, int]] = set()

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """See asyncssh."""
        self._connection = conn
        self._hub.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncssh."""
        del exc
        self._hub.go(self)
        if self._user.startswith(SERVE):
            self._hub.left(self._user.removeprefix(SERVE), self)

    def leave(self) -> None:
        """Close the line."""
        if self._connection is not None:
            self._connection.abort()

    async def gone(self) -> None:
        """Wait until the line is closed."""
        if self._connection is not None:
            await self._connection.wait_closed()

    def begin_auth(self, username: str) -> bool:
        """See asyncssh: everybody must log in."""
        del username
        return True

    def password_auth_supported(self) -> bool:
        """See asyncssh."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """See asyncssh."""
        good = self._hub.lets_in(username, password)
        if good:
            self._user = username
        else:
            self._hub.refused(username)
        return good

    def auth_completed(self) -> None:
        """See asyncssh."""
        if self._user.startswith(SERVE):
            self._hub.arrived(self._user.removeprefix(SERVE), self)

    def server_requested(self, listen_host: str, listen_port: int) -> Any:
        """An agent offers a place that it allows; nothing is listened on."""
        if not self._user.startswith(SERVE):
            return False
        self.offers.add((listen_host, listen_port))
        return _Offer()

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        """A user wants to go somewhere through an agent."""
        del orig_host, orig_port
        if not self._user.startswith(USE):
            return False
        agent = self._hub.agents.get(self._user.removeprefix(USE))
        if agent is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, ABSENT)
        if (dest_host.lower(), dest_port) not in agent.offers:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "the agent does not allow this place"
            )
        return agent.lead(dest_host.lower(), dest_port)

    def lead(self, host: str, port: int) -> Awaitable[asyncssh.SSHForwarder]:
        """A connection from the agent's site, as what a user's channel is coupled with."""

        async def opened() -> asyncssh.SSHForwarder:
            assert self._connection is not None  # noqa: S101  # an agent that is there is connected
            far: Any  # a forwarder, which asyncssh couples with another one
            _, far = await self._connection.create_connection(asyncssh.SSHForwarder, host, port)  # type: ignore[arg-type]  # as asyncssh does itself
            return asyncssh.SSHForwarder(far)

        return opened()


class _Offer(asyncssh.SSHListener):
    """Stands for a place that an agent offers: nothing listens."""

    def close(self) -> None:
        """See asyncssh."""

    async def wait_closed(self) -> None:
        """See asyncssh."""
