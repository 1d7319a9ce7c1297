"""What sinks of APIs share whose datasets are lists: one connection, what can be written, and which keys are there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from tongqu.core.connector import Source
from tongqu.core.data import Read, Write
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.patterns import nearest
from tongqu.kit.remote.effect import Op
from tongqu.kit.remote.manner import Manner
from tongqu.kit.remote.sink import RemoteSink


class Closing(Protocol):
    """What a sink is connected by."""

    def close(self) -> None:
        """Let go of it."""


C = TypeVar("C", bound=Closing)
D = TypeVar("D")


class ApiSink(RemoteSink, Generic[C]):
    """See RemoteSink. Subclasses give `connect`; the connection is made when it is first needed."""

    def __init__(self, name: str, manner: Manner):
        super().__init__(manner)
        self.name = name
        self.folder: Path | None = None
        """The connector's place in the project's home."""
        self._opened: C | None = None

    @abstractmethod
    def connect(self) -> C:
        """A new connection."""

    @property
    def connected(self) -> C:
        """The connection."""
        if self._opened is None:
            self._opened = self.connect()
        return self._opened

    def lodge(self, folder: Path) -> None:
        """See Sink.lodge."""
        super().lodge(folder)
        self.folder = folder

    def disconnect(self) -> None:
        """Let go of the connection; the next use makes a new one."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def close(self) -> None:
        """See Sink.close."""
        super().close()
        self.disconnect()


def stages(datasets: Mapping[str, Any]) -> Iterator[str]:
    """For `check`: each dataset of the settings that can be written, with what it can."""
    for name, dataset in datasets.items():
        if dataset.write is not None:
            can = [op.value for op in (Op.CREATE, Op.UPDATE, Op.UPSERT, Op.DELETE) if getattr(dataset.write, op.value)]
            yield f"write {name} ({', '.join(can)})"


def writable(datasets: Mapping[str, Any]) -> list[str]:
    """The datasets of the settings that can be written."""
    return [name for name, told in datasets.items() if told.write is not None]


def target(datasets: Mapping[str, D], write: Write) -> D:
    """The settings of the dataset that is written; raises InvalidPlanError naming those that are near."""
    name, known = write.dataset.name, writable(datasets)
    if name not in datasets:
        raise InvalidPlanError(
            f"the connection has no dataset {name!r} to write", path=name,
            hint=f"near are: {nearest(name, known) or ', '.join(known) or 'none; give it under datasets'}",
        )  # fmt: skip
    return datasets[name]


def called(told: Any) -> Mapping[str, str]:
    """What records call our columns, by the first of the operations under `write` that sends whole records."""
    operations = (told.upsert, told.update, told.create) if told is not None else ()
    fields: Mapping[str, str] = next((one.fields for one in operations if one), {})
    return fields


def keys_of(source: Source, write: Write, called: Mapping[str, str]) -> Iterator[pa.Table]:
    """The key columns of all records that a source of the same API reads, which is closed afterwards; `called` are the
    records' names of our columns."""
    key = list(write.key)
    theirs = tuple(called.get(name, name) for name in key)
    schema = pa.schema([write.dataset.schema.field(name) for name in key])
    try:
        (dataset,) = source.datasets([write.dataset.name])
        for split in source.splits(dataset, 1):
            for batch in source.read(Read(dataset, split, columns=theirs)):
                yield pa.Table.from_batches([batch.rows]).rename_columns(key).cast(schema)
    finally:
        source.close()
