"""Faults that need servers of our own and a proxy before them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

from tongqu.app.services.drilling.faults import Fault, Scene
from tongqu.app.services.drilling.movers import Mover
from tongqu.testing.services import FaultProxy, Postgres

Hurt = Callable[[FaultProxy], None]


def of_line(name: str, about: str, proxy: FaultProxy, hurt: Hurt) -> Fault:
    """The line is hurt at any moment of a run, and heals a moment later."""

    def strike(scene: Scene) -> list[Mover]:
        mover = scene.movers.start()
        scene.moment()
        hurt(proxy)
        scene.moment()
        proxy.heal()
        return [mover]

    return Fault(name, about, strike)


def of_reply(proxy: FaultProxy) -> Fault:
    """The reply to a COMMIT of the target is lost: it was carried out, and nobody is told."""

    def strike(scene: Scene) -> list[Mover]:
        proxy.drop_replies(after=b"COMMIT", times=1)
        mover = scene.movers.start()
        scene.moment()
        scene.wait(0.5)
        proxy.heal()
        return [mover]

    return Fault("lost-reply", "F6", strike)


def of_server(name: str, server: Postgres) -> Fault:
    """The server is killed (kill -9) at any moment of a run, and started again."""

    def strike(scene: Scene) -> list[Mover]:
        mover = scene.movers.start()
        scene.moment()
        server.kill9()
        back = Thread(target=server.restart)
        back.start()
        back.join()
        return [mover]

    return Fault(name, "F5", strike)


def of_lines(source: FaultProxy, sink: FaultProxy | None) -> list[Fault]:
    """What can befall the lines to both systems; `sink` is None where the target is a file."""
    found: list[Fault] = []
    for side, proxy in (("source", source), ("sink", sink)):
        if proxy is not None:
            found += [
                of_line(f"{side}-cut", "F7", proxy, lambda line: line.cut()),
                of_line(f"{side}-reset", "F7", proxy, lambda line: line.reset()),
                of_line(f"{side}-hang", "F7", proxy, lambda line: line.half_open()),
                of_line(f"{side}-slow", "F8", proxy, lambda line: line.bandwidth(20_000)),
            ]
    return [*found, *([of_reply(sink)] if sink is not None else [])]
