"""A log that one reader has for itself, although a copy of its home may read on under the same name."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tongqu.core.connector import Source
    from tongqu.core.data import Dataset, Position
    from tongqu.core.log import Log

logger = logging.getLogger("tongqu.logs")


@dataclass(frozen=True)
class OwnLog:
    """How a reader finds its log: `name` is what it is called unless a position tells another name. `left` is told
    a log that is not ours, or not any more, and the one that is, before that one is used."""

    source: Source
    name: str
    datasets: Sequence[Dataset]
    left: Callable[[str, str], None]

    def of(self, position: Position | None) -> Log:
        """The log that a position is of, under whatever name it was begun; without a position that of `name`."""
        log = self.source.log(self.name, self.datasets)
        kept = log.kept_as(position) if position is not None else ""
        if kept in ("", self.name):
            return log
        log.close()
        self.left(self.name, kept)
        return self.source.log(kept, self.datasets)

    def instead(self, log: Log, position: Position | None) -> Log:
        """The log to begin anew with: `log`, which is closed, was lost behind the position, or what was read of it is
        not wanted any more. It is given up, unless somebody else has read on in it: then it is left to them, and ours
        gets a name that follows from name and position, so that it is the same after a crash. Raises BusyError if
        somebody reads now what would be given up."""
        kept = log.kept_as(position) if position is not None else ""
        try:
            taken = bool(kept) and position is not None and log.taken(position)
            if not taken:
                log.forget()
        finally:
            log.close()
        if not taken:
            return self.source.log(kept if kept.startswith(self.name) else self.name, self.datasets)
        other = self.name
        if kept.startswith(self.name):
            told = json.dumps([kept, position], sort_keys=True)
            other = f"{self.name}_{hashlib.sha256(told.encode()).hexdigest()[:8]}"
        logger.warning(
            "somebody else has read on in the log %s, perhaps another project or a copy of this home: it is left to "
            "them, and ours is %s; if nobody reads it, drop it at the server", kept, other,
        )  # fmt: skip
        self.left(kept, other)
        return self.source.log(other, self.datasets)
