"""The agent: dials out to a hub from another site, stays connected, and opens the connections that its list allows."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event

import asyncssh

from tongqu.core.errors import AuthError, CertificateError, ConnectError, EgressRefusedError, TongquError
from tongqu.kit.egress.agents import SERVE
from tongqu.kit.egress.dial import Egress, reason
from tongqu.kit.egress.place import Place
from tongqu.kit.egress.relay import as_socket
from tongqu.kit.egress.ssh import ALIVE_SECONDS, Client, known

_LOGIN_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_SHORTEST_SECONDS = 1.0
_LONGEST_SECONDS = 60.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Post:
    """What an agent needs to know: the hub and its key's fingerprint, its own name and token, and what it allows; `tls`
    if the hub is spoken to inside TLS."""

    hub: Place
    fingerprint: str
    name: str
    token: str
    allow: Sequence[Place]
    tls: ssl.SSLContext | None = None


class Outpost:
    """Keeps one agent connected until `stop` is set.

    `out` is how it reaches the hub (proxies of the site). Its own list is law: the hub learns the places on it and can
    ask for no other, and even those not if they are metadata services or Tongqu's own ports. `tell` is called with a
    word (`connected`, `lost`, `refused`) and what is to say about it.
    """

    def __init__(self, post: Post, out: Egress, stop: Event, tell: Callable[[str, str], None]):
        self._post = post
        self._out = out
        self._stop = stop
        self._tell = tell

    def run(self) -> None:
        """Stay connected, with pauses that grow from one second to a minute while the hub cannot be reached. Raises
        AuthError if the very first login is refused or the hub has another key."""
        pause, first = _SHORTEST_SECONDS, True
        while not self._stop.is_set():
            try:
                began = time.monotonic()
                asyncio.run(self._stay())
                pause = _SHORTEST_SECONDS if time.monotonic() - began > _LONGEST_SECONDS else pause
                problem = "the line was closed"
            except AuthError as error:
                if first:
                    raise
                problem, pause = error.message, _LONGEST_SECONDS
            except TongquError as error:
                problem = error.message
            first = False
            if self._stop.is_set():
                return
            wait = pause * random.uniform(0.5, 1.0)  # noqa: S311  # spreads agents out, keeps no secret
            self._tell("lost", f"{problem}; next try in {wait:.0f} s")
            self._stop.wait(wait)
            pause = min(pause * 2, _LONGEST_SECONDS)

    async def _stay(self) -> None:
        connection = await self._log_in()
        try:
            for place in self._post.allow:
                await connection.create_server(partial(self._open, place), place.host, place.port, encoding=None)
            self._tell("connected", str(self._post.hub))
            closed = asyncio.create_task(connection.wait_closed())
            while not closed.done() and not self._stop.is_set():
                await asyncio.wait([closed], timeout=_LOOK_SECONDS)
        except (OSError, asyncssh.Error, asyncssh.ChannelListenError) as error:
            raise ConnectError(f"hub {self._post.hub}: {reason(error)}", path=str(self._post.hub)) from None
        finally:
            connection.abort()
            await connection.wait_closed()

    async def _log_in(self) -> asyncssh.SSHClientConnection:
        hub, client = self._post.hub, Client(self._post.fingerprint)
        opened = await asyncio.to_thread(self._out.connect, hub.host, hub.port, _CONNECT_SECONDS)
        try:
            if self._post.tls is not None:
                inside = asyncio.open_connection(sock=opened, ssl=self._post.tls, server_hostname=hub.host)
                opened = await as_socket(await asyncio.wait_for(inside, _CONNECT_SECONDS))
            return await asyncssh.connect(
                hub.host,
                hub.port,
                sock=opened,
                config=None,
                client_factory=lambda: client,
                known_hosts=known(""),
                username=f"{SERVE}{self._post.name}",
                password=self._post.token,
                client_keys=None,
                agent_path=None,
                gss_kex=False,
                gss_auth=False,
                login_timeout=_LOGIN_SECONDS,
                keepalive_interval=ALIVE_SECONDS,
                keepalive_count_max=3,
            )
        except asyncssh.HostKeyNotVerifiable:
            raise AuthError(
                f"hub {hub}: its key is not the one that was pinned",
                path=str(hub),
                hint=f"it has {', '.join(client.offered)}; `tongqu agent hub` prints the right one",
            ) from None
        except asyncssh.PermissionDenied:
            hint = f"make a new token at the hub: `tongqu agent add {self._post.name}`"
            raise AuthError(f"hub {hub}: name and token were refused", path=str(hub), hint=hint) from None
        except ssl.SSLCertVerificationError as error:
            opened.close()
            raise CertificateError(
                f"hub {hub}: its certificate is not accepted: {error.verify_message}",
                path=str(hub),
                hint="name its authority by --ca",
            ) from None
        except (OSError, asyncssh.Error) as error:
            opened.close()
            raise ConnectError(
                f"hub {hub}: {str(getattr(error, 'reason', '')) or reason(error)}",
                path=str(hub),
                hint="check that the hub runs there",
            ) from None

    async def _open(self, place: Place, origin: str, port: int) -> asyncssh.SSHForwarder:
        """A connection to an allowed place, as what the hub's channel is coupled with."""
        del origin, port
        try:
            opened = await asyncio.to_thread(Egress([(place.host, place.port)]).connect, place.host, place.port)
        except EgressRefusedError as error:
            self._tell("refused", f"{place}: {error.hint}")
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, error.message) from None
        except TongquError as error:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, error.message) from None
        _, near = await asyncio.get_running_loop().create_connection(asyncssh.SSHForwarder, sock=opened)
        return asyncssh.SSHForwarder(near)
