"""Tells whoever answers from a cache or streams changes which tables a run has written."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tongqu.core.errors import CheckpointError, TongquError
from tongqu.kit.trouble import why

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.services.ends import Ends
    from tongqu.store.home import Home

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Touching:
    """Writes into the feed of a home; a home in which nothing was ever served has none, and nothing is written."""

    home: Home
    ends: Callable[[], Ends]
    project: Callable[[], Project]

    def __call__(self, sink: str, tables: Sequence[str]) -> None:
        """Rows of these tables of a sink changed; `sink` is a connection's name or a URL, which counts as all
        connections that lead to the same system. Never fails: a run does not stop for it."""
        if not tables or not self.home.feed.exists():
            return
        from tongqu.store.feed import touched

        try:
            touched(self.home, [f"{name}/{table}" for name in self._names(sink) for table in tables], "run")
        except (sqlite3.Error, OSError, CheckpointError) as error:
            logger.warning("callers may see old answers: what changed could not be noted: %s", why(error))

    def _names(self, sink: str) -> Sequence[str]:
        connections = self.project().connections
        if sink in connections:
            return (sink,)
        ends = self.ends()
        try:
            identity = ends.end(sink).identity
        except TongquError:
            return ()
        return [name for name in connections if same(ends, name, identity)]


def same(ends: Ends, name: str, identity: str) -> bool:
    """Whether a connection leads to the system of that identity; one whose secrets are missing leads nowhere."""
    try:
        return ends.end(name).identity == identity
    except TongquError:
        return False
