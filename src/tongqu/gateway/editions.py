"""A publication with the requests that run under it, so that an old one ends only after its last request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tongqu.gateway.publication import Publication


@dataclass
class Edition:
    """A publication with the requests that run under it."""

    publication: Publication
    running: int = 0
    retired: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event)

    def enter(self) -> Edition:
        """A request began under it."""
        self.running += 1
        return self

    def leave(self) -> None:
        """A request is over."""
        self.running -= 1
        self._settle()

    def retire(self) -> None:
        """No more requests will begin."""
        self.retired = True
        self._settle()

    def _settle(self) -> None:
        if self.retired and not self.running:
            self.idle.set()
