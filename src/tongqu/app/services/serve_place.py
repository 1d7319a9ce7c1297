"""Where `serve` listens, how its processes find each other, and how commands find it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.kit.living import born, lives

if TYPE_CHECKING:
    from tongqu.store.home import Home

SAME_SIGNAL = 0.3
"""Seconds within which a second signal is the first once more."""
SOCKET = "TONGQU_SERVE_SOCKET"
"""In the environment of a worker: the number of the listening socket that it inherits."""
MANAGE_SOCKET = "TONGQU_SERVE_MANAGE_SOCKET"
"""The same for the port of administrators, where there is one."""
READY = "TONGQU_SERVE_READY"
"""In the environment of a worker: where it writes a byte once it answers."""
OWNER = "TONGQU_SERVE_OWNER"
"""In the environment of a worker: the token of `serve.json`, the same for all of them."""
_STAND_IN_SECONDS = 5.0
COUNTS = "TONGQU_SERVE_COUNTS"
"""In the environment of a worker: the number of the file in which all of them count for the limits."""


@dataclass(frozen=True)
class ServeRequest:
    """The arguments of `serve`."""

    host: str = "127.0.0.1"
    port: int = 8700
    files: bool = False
    """Serve the files as they are instead of the applied version."""
    workers: int = 1
    tls_cert: str = ""
    tls_key: str = ""
    client_ca: str = ""
    plain: bool = False
    """Speak HTTP without TLS on an address that other machines reach."""
    mock: bool = False
    """Give everybody made-up rows."""
    manage_port: int | None = None
    """Where administrators call, and only there; None: where everybody does."""
    concurrency: int = 2
    """Jobs at the same time; 0: only the gateway runs here, and schedules are left to others."""


Listening = socket.socket


@dataclass(frozen=True)
class HttpPlace:
    """A listening socket and how to speak on it."""

    socket: socket.socket
    context: Any
    own: Listening | None = None
    """Where administrators call, if that is another port."""

    def manage_url(self, host: str) -> str:
        """The address for administrators."""
        return (self if self.own is None else HttpPlace(self.own, self.context)).url(host)

    def url(self, host: str) -> str:
        """Its address; where it listens on all addresses, the loopback one."""
        port = self.socket.getsockname()[1]
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104  # compared, not bound
        bracketed = f"[{shown}]" if ":" in shown else shown
        return f"{'https' if self.context else 'http'}://{bracketed}:{port}"


class Owner:
    """`serve.json` in the home: how commands of this machine reach the server that owns the project. The first server
    of a home is its owner; others leave the file alone while it lives."""

    def __init__(self, home: Home, url: str, folder: Path, env: str, manage: str = ""):
        self.url = url
        self.manage = manage or url
        self._about = {"folder": str(folder.resolve()), "env": env, "manage": self.manage}
        self.token = os.environ.get(OWNER) or secrets.token_urlsafe(32)
        self._place = home.serve
        self._ours = False

    def announce(self) -> None:
        """Write the file, readable only by this account."""
        if running(self._place) is not None:
            return
        about = {"pid": os.getpid(), "started": born(os.getpid()), **self._about}
        told = json.dumps({"url": self.url, "token": self.token, **about})
        part = self._place.with_name(f"{self._place.name}.{os.getpid()}")
        with os.fdopen(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(told)
        part.replace(self._place)
        self._ours = True

    async def stand_in(self) -> None:
        """Announce again where the one that owned the project has gone, until cancelled."""
        while True:
            await asyncio.sleep(_STAND_IN_SECONDS)
            with suppress(OSError):  # a full disk, for example: tried again
                self.announce()

    def leave(self) -> None:
        """Remove the file if it is ours, and still is: of two that began together the last one has written it."""
        if self._ours and (running(self._place) or {}).get("token") == self.token:
            self._place.unlink(missing_ok=True)
        self._ours = False


def running(place: Path) -> dict[str, Any] | None:
    """What `serve.json` says, if the process of this account that wrote it lives."""
    try:
        found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        os.kill(int(found["pid"]), 0)  # PermissionError: another account's
        return found if lives(int(found["pid"]), found.get("started")) else None
    except (OSError, ValueError, KeyError):
        return None
