"""A client for any peer, closed after the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.testing.swift_clock import SwiftClock

Client = Callable[..., Http]


@pytest.fixture
def client() -> Iterator[Client]:
    """Makes clients: `client(url, clock=…, folder=…, **settings)`."""
    made: list[Http] = []

    def make(url: str, *, clock: SwiftClock | None = None, folder: Path | None = None, **settings: Any) -> Http:
        parsed = HttpSettings.parse({"base_url": url, **settings})
        made.append(Http(parsed, clock=clock or SwiftClock(), folder=folder))
        return made[-1]

    yield make
    for one in made:
        one.close()
