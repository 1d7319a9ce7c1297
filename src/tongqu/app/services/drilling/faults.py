"""What a drill does to the processes and systems it plays with."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tongqu.app.services.drilling.movers import Mover, Movers

if TYPE_CHECKING:
    from tongqu.app.services.drilling.places import Place

CRASHES = (
    "after_open", "after_begin", "after_read", "mid_write", "before_commit", "in_commit", "after_commit",
    "after_acknowledge", "before_finish", "in_finish", "after_swap", "after_finish",
)  # fmt: skip
"""The crash points of a run that moves rows."""
SHORT, LONG = 0.05, 0.7


@dataclass(frozen=True)
class Scene:
    """Where a fault strikes. `wait` passes seconds while operations go on; `number` is the round."""

    movers: Movers
    source: Place
    sink: Place
    chance: random.Random
    wait: Callable[[float], object]
    number: int

    def moment(self) -> None:
        """Wait for any moment of a run."""
        self.wait(self.chance.uniform(SHORT, LONG))


@dataclass(frozen=True)
class Fault:
    """One kind of fault. `about` are its numbers in the catalogue of faults. `strike` begins the movers of a round, and
    returns those that were begun and still have to end."""

    name: str
    about: str
    strike: Callable[[Scene], list[Mover]]
    possible: Callable[[Place, Place], bool] = lambda source, sink: True


def _none(scene: Scene) -> list[Mover]:
    mover = scene.movers.start()
    scene.moment()
    return [mover]


def _killed(scene: Scene) -> list[Mover]:
    mover = scene.movers.start()
    scene.moment()
    mover.send(signal.SIGKILL)
    return [mover]


def _crashed(scene: Scene) -> list[Mover]:
    return [scene.movers.start(crash_at=f"{scene.chance.choice(CRASHES)}:{scene.chance.randint(1, 4)}")]


def _stopped(scene: Scene) -> list[Mover]:
    mover = scene.movers.start()
    scene.moment()
    mover.send(signal.SIGTERM)
    return [mover]


def _paused(scene: Scene) -> list[Mover]:
    """A process sleeps, another one takes over, and the first wakes up."""
    first = scene.movers.start()
    scene.moment()
    first.send(signal.SIGSTOP)
    second = scene.movers.start()
    scene.moment()
    first.send(signal.SIGCONT)
    return [first, second]


def _twice(scene: Scene) -> list[Mover]:
    found = [scene.movers.start(), scene.movers.start()]
    scene.moment()
    return found


def _locked(scene: Scene) -> list[Mover]:
    mover = scene.movers.start()
    scene.wait(scene.chance.uniform(SHORT, 0.4))
    scene.sink.lock(scene.moment)
    return [mover]


def _widened(scene: Scene) -> list[Mover]:
    mover = scene.movers.start()
    scene.wait(scene.chance.uniform(SHORT, 0.4))
    scene.source.widen(scene.number)
    return [mover]


def _together(source: Place, sink: Place) -> bool:
    """Two processes can have the target open at once."""
    return "duckdb" not in (source.kind, sink.kind)


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("none", "", _none),
        Fault("kill", "F1", _killed),
        Fault("crash", "F1 F2 F3", _crashed),
        Fault("stop", "F1", _stopped),
        Fault("pause", "F21", _paused, _together),
        Fault("twice", "F21", _twice, _together),
        Fault("lock", "F22", _locked),
        Fault("widen", "F16", _widened),
    )
}
"""The faults that a drill can do on any machine, by name."""
