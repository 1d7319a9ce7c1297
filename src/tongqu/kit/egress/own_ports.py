"""Remembers the ports that Tongqu itself listens on, for this process and the children it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_VARIABLE = "TONGQU_OWN_PORTS"
_lock = Lock()


def own_ports() -> frozenset[int]:
    """The ports that were announced here or in a parent process."""
    return frozenset(int(port) for port in os.environ.get(_VARIABLE, "").split(",") if port.isdigit())


def announce(port: int) -> None:
    """We listen on this port: no connection may lead to it."""
    with _lock:
        os.environ[_VARIABLE] = ",".join(str(one) for one in sorted(own_ports() | {port}))


def withdraw(port: int) -> None:
    """We do not listen on this port any more; harmless if we never did."""
    with _lock:
        left = ",".join(str(one) for one in sorted(own_ports() - {port}))
        if left:
            os.environ[_VARIABLE] = left
        else:
            os.environ.pop(_VARIABLE, None)


@contextmanager
def listening(port: int) -> Iterator[None]:
    """Announce the port while the block runs."""
    announce(port)
    try:
        yield
    finally:
        withdraw(port)
