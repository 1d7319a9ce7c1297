"""Asks for the addresses of a name once, within a limit of time."""

from __future__ import annotations

import queue
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from threading import Thread

from tongqu.core.errors import ConnectError
from tongqu.kit.egress.place import Address, Place

Resolver = Callable[[str, int], Sequence[str]]
"""Gives the IP addresses of a host name as texts, best first; raises OSError. The port only helps it to choose."""


def system_resolver(host: str, port: int) -> Sequence[str]:
    """The machine's own resolver (hosts file, DNS), in the order of RFC 6724."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def resolve(place: Place, resolver: Resolver, seconds: float) -> list[Address]:
    """All addresses of a place; raises ConnectError when there is none or no answer comes in time."""
    if place.address is not None:
        return [place.address]
    answers: queue.SimpleQueue[Sequence[str] | OSError | UnicodeError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(resolver(place.host, place.port))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    Thread(target=ask, name="tongqu-resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=max(seconds, 0.001))
    except queue.Empty:
        raise _unresolved(place, f"no answer within {seconds:.0f} s") from None
    if isinstance(answer, OSError | UnicodeError):
        raise _unresolved(place, str(answer.args[-1]) if answer.args else type(answer).__name__)
    if not answer:
        raise _unresolved(place, "it has no address")
    return [ip_address(text.partition("%")[0]) for text in answer]


def _unresolved(place: Place, why: str) -> ConnectError:
    return ConnectError(
        f"dns: the name {place.host!r} could not be resolved: {why}",
        path=str(place),
        hint="check the spelling of the host and the name server of this machine",
    )
