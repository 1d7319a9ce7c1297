"""Keeps what is served equal to what counts: a new version is compiled beside the old one and swapped in whole."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tongqu.app.project.load import Project
from tongqu.app.services.origins import Origin
from tongqu.app.services.publishing import Compiled, Publishing, digest
from tongqu.app.services.tidying import tidy_all
from tongqu.core.errors import ConnectError, TongquError
from tongqu.gateway.site import Site
from tongqu.kit.trouble import why

LOOK_SECONDS = 0.4
"""How often the version is looked at: a new one is served within a second, unless its sources are slow."""
RETRY_SECONDS = 5.0
"""How often a source that could not be reached is tried again."""
_LAST_REQUESTS = 60.0
"""How long old servers wait for the last request that uses them."""

Prepared = Callable[[Project], Callable[[], None]]
"""Makes ready, off the serving loop, what a project says beside its APIs; what it gives swaps that in, in the loop, in
the same turn as the APIs. Raises TongquError or OSError for what cannot be: then the old version goes on as a whole."""
Tell = Callable[[str, Mapping[str, Any]], None]
"""Is told what happened: `served`, `kept` (a new version is wrong, the old one goes on), `unread` (whether there is a
new one cannot be read), `degraded`, `restored`."""


@dataclass
class Served:
    """What is served, and what could not be."""

    project: Project
    compiled: Compiled
    stamp: Hashable
    stale: bool = False
    """A newer version is there and wrong, or cannot be read."""
    problems: list[Mapping[str, Any]] = field(default_factory=list)
    """What is wrong with it."""

    def state(self) -> dict[str, Any]:
        """For `/readyz`."""
        statuses = self.compiled.statuses
        published = sum(status.state == "published" for status in statuses)
        return {
            "ready": bool(published) or not statuses,
            "apis": published,
            "degraded": sum(status.state not in ("published", "gone") for status in statuses),
            "stale": self.stale,
            "config": self.compiled.publication.version,
            "published": [status.to_json() for status in statuses],
            "problems": list(self.problems),
        }


class Reloading:
    """Loads the first version, then follows. All methods run in the serving loop."""

    def __init__(self, origin: Origin, publishing: Publishing, tell: Tell):
        self._origin = origin
        self._publishing = publishing
        self._tell = tell
        self._closing: set[asyncio.Task[None]] = set()
        self._alive: list[Compiled] = []
        self._blind = False
        self.served: Served

    def state(self) -> dict[str, Any]:
        """What is served now, for `/readyz`."""
        return self.served.state()

    async def begin(self) -> Served:
        """The first version; raises what is wrong with it as a whole. An API that is broken by itself leaves the others
        standing."""
        stamp = self._origin.stamp()
        project, label = await asyncio.to_thread(self._origin.load)
        compiled = await self._publishing.compile(project, _version(label, project))
        self.served = Served(project, compiled, stamp)
        self._alive.append(compiled)
        self._tell_degraded(compiled)
        return self.served

    async def follow(self, site: Site, prepared: Prepared) -> None:
        """Look for newer versions until cancelled; `prepared` gets each project that is served from now on."""
        waited = 0.0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS
            try:
                stamp = await asyncio.to_thread(self._origin.stamp)
                if stamp != self.served.stamp:
                    await self._newer(site, prepared, stamp)
                elif (self.served.compiled.unreachable and waited >= RETRY_SECONDS) or self._ended():
                    waited = 0.0
                    await self._again(site)
                elif self._blind:
                    self._blind, self.served.stale, self.served.problems = False, False, []
            except TongquError as error:
                self._keep([error.problem()])
            except (OSError, sqlite3.Error) as error:
                self._blind = True
                told = {"path": "", "code": ConnectError.code, "message": why(error), "hint": ""}
                self._keep([told], "unread")

    async def close(self) -> None:
        """Close all servers."""
        for task in list(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        for compiled in list(self._alive):
            await self._release(compiled)

    async def _release(self, compiled: Compiled) -> None:
        """Nobody uses it any more: its servers are closed, except those that others use."""
        self._alive = [one for one in self._alive if one is not compiled]
        await self._publishing.close(compiled, *self._alive)

    async def _newer(self, site: Site, prepared: Prepared, stamp: Hashable) -> None:
        before = self.served
        before.stamp = stamp  # looked at once, right or wrong
        try:
            project, label = await asyncio.to_thread(self._origin.load)
        except TongquError as error:
            found = getattr(error, "problems", None) or [error]
            self._keep([one.problem() for one in found])
            return
        compiled = await self._publishing.compile(project, _version(label, project), before.compiled)
        if compiled.broken:
            await self._publishing.close(compiled, *self._alive)
            self._keep([problem for status in compiled.statuses for problem in status.problems])
            return
        try:
            adopt = await asyncio.to_thread(prepared, project)
        except (TongquError, OSError) as error:
            await self._publishing.close(compiled, *self._alive)
            told = error.problem() if isinstance(error, TongquError) else {"code": "internal", "message": str(error)}
            self._keep([{"path": "", "hint": "", **told}])
            return
        self.served = Served(project, compiled, stamp)
        adopt()
        self._swap(site, before.compiled, compiled)
        self._tell("served", {"config": compiled.publication.version, "apis": len(compiled.publication.apis)})
        self._tell_degraded(compiled)

    def _ended(self) -> bool:
        """Whether the day of a version has come."""
        ends = self.served.compiled.ends
        return ends is not None and ends <= self._publishing.now()

    async def _again(self, site: Site) -> None:
        before = self.served.compiled
        compiled = await self._publishing.compile(self.served.project, before.publication.version, before)
        if [one.state for one in compiled.statuses] == [one.state for one in before.statuses] and (
            compiled.publication.degraded.keys() == before.publication.degraded.keys()
        ):
            await self._publishing.close(compiled, *self._alive)
            return
        self.served.compiled = compiled
        self._swap(site, before, compiled)
        self._tell("restored", {"config": compiled.publication.version, "apis": len(compiled.publication.apis)})

    def _swap(self, site: Site, before: Compiled, now: Compiled) -> None:
        edition = site.swap(now.publication)
        self._alive.append(now)

        async def last() -> None:
            try:
                async with asyncio.timeout(_LAST_REQUESTS):
                    await edition.idle.wait()
            except TimeoutError:
                pass  # a stream that goes on: its source is closed all the same
            finally:
                await self._release(before)

        def over(task: asyncio.Task[None]) -> None:
            self._closing.discard(task)
            loop.call_soon(tidy_all)  # what was compiled is full of cycles, and the collector seldom looks

        loop = asyncio.get_running_loop()
        task = loop.create_task(last())
        self._closing.add(task)
        task.add_done_callback(over)

    def _keep(self, problems: list[Mapping[str, Any]], word: str = "kept") -> None:
        if self.served.stale and self.served.problems == problems:
            return
        self.served.stale = True
        self.served.problems = problems
        self._tell(word, {"config": self.served.compiled.publication.version, "problems": problems})

    def _tell_degraded(self, compiled: Compiled) -> None:
        for status in compiled.statuses:
            if status.state not in ("published", "gone"):
                self._tell("degraded", {"path": f"/api/{status.version}/{status.name}", "problems": status.problems})


def _version(label: str, project: Project) -> str:
    return f"{label}.{digest(project)}"
