"""Several serving processes on one port: started, watched, started again when one dies, and ended together."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tongqu.app import early
from tongqu.app.services.serve_place import (
    COUNTS,
    MANAGE_SOCKET,
    OWNER,
    READY,
    SAME_SIGNAL,
    SOCKET,
    HttpPlace,
    Owner,
    ServeRequest,
)
from tongqu.core.errors import ConnectError
from tongqu.gateway.limit.together import made
from tongqu.gateway.serving.bounds import Bounds

if TYPE_CHECKING:
    from tongqu.app.wire import Wire

Tell = Callable[[str, Mapping[str, Any]], None]
_SHORT_LIVED = 5.0
"""A worker that dies sooner than this is not started again at once."""
_LONGEST_WAIT = 10.0
_READY_SECONDS = 60.0


def supervise(wire: Wire, request: ServeRequest, place: HttpPlace, tell: Tell) -> dict[str, Any]:
    """Run `request.workers` processes until a signal; raises ConnectError if none of them comes up."""
    return asyncio.run(_Supervisor(wire, request, place, tell).run())


class _Supervisor:
    def __init__(self, wire: Wire, request: ServeRequest, place: HttpPlace, tell: Tell):
        self._request = request
        self._place = place
        self._tell = tell
        manage = place.manage_url(request.host)
        self._owner = Owner(wire.home, place.url(request.host), wire.folder, wire.env, manage)
        self._command = _command(wire, request)
        self._counts = made()
        self._workers: set[asyncio.subprocess.Process] = set()
        self._whole = True
        self._since = 0.0

    async def run(self) -> dict[str, Any]:
        self._stop = asyncio.Event()
        self._up = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked)
        if early.taken():
            self._asked()
        tasks = [loop.create_task(self._keep(at)) for at in range(self._request.workers)]
        standing_in: asyncio.Task[None] | None = None
        try:
            await self._first_is_up(tasks)
            if not self._stop.is_set():
                self._owner.announce()
                standing_in = loop.create_task(self._owner.stand_in())
                told = {"url": self._owner.url, "pid": os.getpid(), "workers": len(tasks), "files": self._request.files}
                self._tell("listening", told)
            await self._stop.wait()
        finally:
            self._stop.set()
            await self._end(tasks)
            if standing_in is not None:
                standing_in.cancel()
                await asyncio.gather(standing_in, return_exceptions=True)
            self._owner.leave()
            os.close(self._counts)
        return {"ok": True, "url": self._owner.url, "finished": self._whole}

    async def _first_is_up(self, tasks: list[asyncio.Task[None]]) -> None:
        waiting = [asyncio.get_running_loop().create_task(event.wait()) for event in (self._up, self._stop)]
        done, _ = await asyncio.wait(waiting, timeout=_READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        if not done:
            raise ConnectError("no worker came up", hint="what they said stands above", path="--workers")

    async def _keep(self, at: int) -> None:
        """Keep one worker alive."""
        wait = 0.1
        while not self._stop.is_set():
            began = time.monotonic()
            worker = await self._begin()
            code = await worker.wait()
            self._workers.discard(worker)
            if self._stop.is_set():
                self._whole = self._whole and code in (0, -signal.SIGTERM)  # the latter: it was not up yet
                return
            wait = 0.1 if time.monotonic() - began > _SHORT_LIVED else min(2 * wait, _LONGEST_WAIT)
            self._tell("died", {"worker": at + 1, "pid": worker.pid, "code": code})
            try:
                async with asyncio.timeout(wait):
                    await self._stop.wait()
            except TimeoutError:
                continue

    async def _begin(self) -> asyncio.subprocess.Process:
        reading, writing = os.pipe()
        try:
            sockets = [self._place.socket.fileno()]
            told = {SOCKET: str(sockets[0]), READY: str(writing), OWNER: self._owner.token,
                    COUNTS: str(self._counts)}  # fmt: skip
            if self._place.own is not None:
                sockets.append(self._place.own.fileno())
                told[MANAGE_SOCKET] = str(sockets[1])
            worker = await asyncio.create_subprocess_exec(
                *self._command,
                env={**os.environ, **told},
                pass_fds=(*sockets, writing, self._counts),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                process_group=0,  # a terminal's SIGINT is for us alone
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._workers.add(worker)
        loop = asyncio.get_running_loop()

        def ready() -> None:
            loop.remove_reader(reading)
            if os.read(reading, 1):
                self._up.set()
            os.close(reading)

        loop.add_reader(reading, ready)
        return worker

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        self._signal(signal.SIGTERM)
        _, late = await asyncio.wait(tasks, timeout=Bounds().drain_seconds + 3)
        if late:
            self._whole = False
            self._signal(signal.SIGKILL)
            await asyncio.gather(*late, return_exceptions=True)

    def _signal(self, number: signal.Signals) -> None:
        for worker in list(self._workers):
            if worker.returncode is None:
                worker.send_signal(number)

    def _asked(self) -> None:
        now = time.monotonic()
        if not self._stop.is_set():
            self._since = now
            self._stop.set()
            self._tell("stopping", {})
        elif now - self._since > SAME_SIGNAL:
            self._signal(signal.SIGKILL)
            os._exit(1)


def _command(wire: Wire, request: ServeRequest) -> list[str]:
    """The command line of a worker; it holds no secret."""
    options = {
        "--project": str(wire.folder),
        "--env": wire.env,
        "--host": request.host,
        "--port": str(request.port),
        "--tls-cert": request.tls_cert,
        "--tls-key": request.tls_key,
        "--client-ca": request.client_ca,
        "--manage-port": "" if request.manage_port is None else str(request.manage_port),
    }
    given = [word for option, value in options.items() if value for word in (option, value)]
    flags = [flag for flag, on in (("--files", request.files), ("--plain", request.plain)) if on]
    return [sys.executable, "-m", "tongqu", "serve", *given, *flags, "--json"]
