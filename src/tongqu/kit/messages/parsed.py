"""Messages on their way to rows: what came, what could be read of it, and which could not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tongqu.core.data import BadRow
from tongqu.kit.formats.piece import STEP

Places = npt.NDArray[np.int64]
UNREADABLE, UNKNOWN_SCHEMA, NO_VALUE = "message.unreadable", "message.unknown_schema", "message.no_value"
"""Codes of messages that are set aside: they are not what the format says; the registry has no schema of their id; a
message without a value where each must have one."""


@dataclass(frozen=True)
class Messages:
    """Some messages in their order. `where` names one (`topic orders, partition 0, offset 5`); `details` is what its
    bad row keeps beside the raw bytes; `meta` are columns of what the broker tells about each."""

    values: Sequence[bytes | None]
    keys: Sequence[bytes | None] = ()
    where: Callable[[int], str] = str
    details: Callable[[int], Mapping[str, Any]] = lambda number: {"number": number}
    meta: Mapping[str, pa.Array[Any]] = field(default_factory=dict)

    def bad(self, number: int, failure: Failure) -> BadRow:
        """The bad row of one message."""
        key = self.keys[number] if self.keys else None
        raw = {"key": readable(key), "raw": readable(self.values[number])}
        original = json.dumps({**self.details(number), **raw}, ensure_ascii=False)
        message = f"{self.where(number)}: {failure.message}"
        return BadRow(STEP, failure.code, failure.field, failure.value, original, message)


def readable(value: bytes | None) -> str | None:
    """Bytes as text, without loss: what is no UTF-8 is escaped."""
    return None if value is None else value.decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Failure:
    """Why a message cannot be read."""

    message: str
    code: str = UNREADABLE
    field: str = ""
    value: str | None = None


@dataclass(frozen=True)
class Parsed:
    """The documents that could be read as a table of the asked columns; `places` says for each of its rows which of the
    given values it was."""

    table: pa.Table
    places: Places
    failures: Mapping[int, Failure]


@dataclass(frozen=True)
class Decoded:
    """Rows with the message that each came of (an index, growing), and the messages that could not be read.

    `truncates` are numbers of rows before which the table was emptied.
    """

    rows: pa.RecordBatch
    places: Places
    bad: tuple[BadRow, ...] = ()
    truncates: tuple[int, ...] = ()
