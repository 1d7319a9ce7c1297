"""What sources of messages have in common: a schema registry, and reads that end where the broker's log ended."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tongqu.core.connector import Source
from tongqu.core.data import Batch, Position, Read
from tongqu.core.errors import InvalidPlanError, NotFoundError
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.messages.registry import SchemaRegistry
from tongqu.kit.messages.table import MessageTable


class Registered:
    """A schema registry that is reached when it is first needed."""

    def __init__(self, settings: HttpSettings | None):
        self._settings = settings
        self._folder: Path | None = None
        self._made: SchemaRegistry | None = None

    def lodge(self, folder: Path) -> None:
        """Keep what the registry tells in a folder."""
        self._folder = folder

    @property
    def registry(self) -> SchemaRegistry | None:
        """The schema registry, if the connection names one."""
        if self._made is None and self._settings is not None:
            self._made = SchemaRegistry(self._settings, self._folder)
        return self._made

    def check(self) -> Iterator[str]:
        """The stage of a check, where there is one."""
        if self.registry is not None:
            self.registry.subjects()
            yield "schema registry"

    def close(self) -> None:
        """Release connections; may be called twice."""
        if self._made is not None:
            self._made.close()
            self._made = None


class MessageSource(Source):
    """Datasets of messages that a broker keeps, with bounded reads of what is no change."""

    noun = "topic"
    """How errors call what a dataset is."""

    def __init__(self, settings: Any):
        self._settings = settings
        self._registered = Registered(settings.registry)

    def lodge(self, folder: Path) -> None:
        """See Source.lodge."""
        self._registered.lodge(folder)

    @property
    def registry(self) -> SchemaRegistry | None:
        """The schema registry, if the connection names one."""
        return self._registered.registry

    @abstractmethod
    def table(self, name: str) -> MessageTable:
        """A dataset, its fields known or learnt; raises NotFoundError."""

    def plain(self, name: str) -> Any:
        """A dataset that can be read in full. Raises InvalidPlanError for one of changes, whose rows are what they add
        up to."""
        table = self.table(name)
        if table.settings.changes:
            raise InvalidPlanError(
                f"the {self.noun} of {name!r} tells changes in the envelope {table.settings.envelope}", path=name,
                hint="sync it with mode: stream, which keeps the newest state of each key",
            )  # fmt: skip
        return table

    def unlearnt(self, name: str, called: str) -> NotFoundError:
        """The error for fields that nobody knows."""
        return NotFoundError(
            f"{self.noun} {called!r} has no message from which its fields could be learnt", path=name,
            hint=f"declare them: {self.noun}s: {{NAME: {{fields: {{id: int64, …}}, key: [id]}}}}",
        )  # fmt: skip

    def batch(self, table: MessageTable, read: Read, messages: Sequence[Any], position: Position) -> Batch:
        """The asked columns of some messages."""
        decoded = table.rows(messages)
        rows = decoded.rows if read.columns is None else decoded.rows.select(list(read.columns))
        return Batch(read.dataset.name, rows, position, bad=decoded.bad)

    def close(self) -> None:
        """See Source.close."""
        self._registered.close()


def ended(
    read: Read, batches: Iterator[Batch], none: Callable[[], Batch], end: Callable[[Batch], Position | None]
) -> Iterator[Batch]:
    """The batches of a bounded read, `none()` where there are none. The last has the position that `end` tells for it,
    if the read has come to its end, marked as that."""
    held: Batch | None = None
    for batch in batches:
        if held is not None:
            yield held
        held = batch
    if held is None and not read.stop.is_set():
        held = none()
    if held is not None:
        position = end(held)
        if position is not None and (read.until is None or read.until.get("end")):
            held = replace(held, position={**position, "end": True})
        yield held
