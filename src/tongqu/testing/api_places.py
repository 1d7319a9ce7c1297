"""APIs in memory that are places of the conformance kit: they run, and what was said of their datasets, by address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

A = TypeVar("A")
D = TypeVar("D")


class ApiPlaces(Generic[A, D]):
    """The APIs of one kind that run. What was said at an address ends with the API there, since the system gives its
    port to another one later."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[A, dict[str, D]]] = {}

    @contextmanager
    def running(self, address: str, api: A) -> Iterator[A]:
        """The API, known by its address inside this block."""
        self._held[address] = (api, {})
        try:
            yield api
        finally:
            del self._held[address]

    def api(self, address: str) -> A:
        """The API at an address."""
        return self._held[address][0]

    def said(self, address: str) -> dict[str, D]:
        """The settings of the datasets that were written to an address, to be added to; of an address where nothing
        runs there are none."""
        return self._held[address][1] if address in self._held else {}
