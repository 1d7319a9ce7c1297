"""What every format's reader yields: some rows, the rows it could not read, and where they end."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa

from tongqu.core.data import BadRow, Position

STEP = "read"
"""`BadRow.step` of rows that a source could not read."""


@dataclass(frozen=True)
class Piece:
    """Rows, bad rows and the position after both; `len(rows) + len(bad)` records were read."""

    rows: pa.RecordBatch
    bad: tuple[BadRow, ...]
    position: Position


def unreadable(code: str, message: str, line: int, raw: bytes | str) -> BadRow:
    """A bad row that has no columns: the original is `{"line", "raw"}`."""
    text = raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")
    original = json.dumps({"line": line, "raw": text.rstrip("\r\n")}, ensure_ascii=False)
    return BadRow(STEP, code, "", None, original, f"line {line}: {message}")
