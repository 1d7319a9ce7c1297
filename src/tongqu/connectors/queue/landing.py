"""One stream on its way into a topic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tongqu.core.data import Write
from tongqu.kit.queue.session import Filling
from tongqu.meaning.settling import Settled

if TYPE_CHECKING:
    import pyarrow as pa


def now() -> str:
    """The instant in RFC 3339."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Landing:
    """One stream on its way into a topic, from `open` to `finish`. `schema` is that of the topic's records, without
    what tells of changes."""

    write: Write
    fence: int
    settled: Settled
    schema: pa.Schema
    filling: Filling

    @property
    def topic(self) -> str:
        """The topic's name."""
        return self.write.dataset.name

    @property
    def stage(self) -> str:
        """The name under which records wait that nobody sees yet."""
        return f"{self.write.sync}\x1f{self.write.stream}\x1f"
