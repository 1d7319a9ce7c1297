"""Puts the hands of a process together: for `serve` beside the gateway, for `worker` alone."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

from tongqu.app.project.load import Project
from tongqu.app.services.looking import looking
from tongqu.app.services.origins import Applied, Files, Origin
from tongqu.app.services.scheduling import Scheduler
from tongqu.app.services.timing import local_zone
from tongqu.app.services.working import Configured, Working

if TYPE_CHECKING:
    from tongqu.app.wire import Wire

Tell = Callable[[str, Mapping[str, Any]], None]


def working(
    wire: Wire, *, files: bool, concurrency: int, until_idle: bool = False, tell: Tell = lambda word, told: None
) -> Working:
    """Hands that go by the applied version, or by the files as they are. Close its `jobs` afterwards.

    Raises ConfigError, and ConnectError if the store of jobs cannot be reached.
    """
    origin: Origin = Files(wire.folder, wire.env) if files else Applied(
        wire.folder, wire.env, wire.home, wire.scrubber
    )  # fmt: skip
    wire.project, _ = origin.load()

    def load() -> Project:
        wire.project, _ = origin.load()
        return wire.project

    chance = random.SystemRandom().random
    jobs = wire.jobs()
    scheduler = Scheduler(
        jobs, wire.surroundings.new_id, local_zone(), chance, looking(wire.ends_of(lambda: wire.project))
    )
    configured = Configured(origin.stamp, load, wire.folder, wire.env, files)
    return Working(jobs, scheduler, configured, concurrency, until_idle, tell, chance=chance)


@contextmanager
def beside(hands: Working | None) -> Iterator[None]:
    """The hands at work in a thread while the block runs; at its end they stop in order. Without any, nothing. Where
    they end by an error, the process is told to stop and the error is raised: nothing looks well and does no jobs."""
    if hands is None:
        yield
        return
    failed: list[BaseException] = []

    def work() -> None:
        try:
            hands.run()
        except BaseException as error:  # noqa: BLE001  it is raised where somebody sees it
            failed.append(error)
            stop_all()

    thread = Thread(target=work, name="tongqu-hands")
    thread.start()
    try:
        yield
    finally:
        hands.leave()
        thread.join()
        hands.jobs.close()
    if failed:
        raise failed[0]


def stop_all() -> None:
    """Stop this process in order."""
    os.kill(os.getpid(), signal.SIGTERM)
