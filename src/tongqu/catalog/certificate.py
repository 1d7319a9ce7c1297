"""The certificate of a comparison: what was compared, how, when, and what came out, with its own SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongqu.catalog.agreement import Agreement
from tongqu.catalog.reconcile import Tally
from tongqu.core.compare import Canon
from tongqu.core.errors import CheckpointError, NotFoundError, WriteError
from tongqu.kit import lasting

FORMAT = 1
_SHOWN = {"result", "left", "right", "finished", "sha256"}
RULES = {
    "digest": "first 60 bits of the MD5 of a row's text, summed over the rows",
    "row": "each column's text followed by |, text and json led by their length in bytes and :, null is ~",
    "integer": "decimal digits; booleans are 0 and 1",
    "decimal": "a fixed number of places",
    "number": "no trailing zeros",
    "float": "shortest text that reads back as the same double; with a tolerance the nearest multiple of it",
    "boolean": "1 or 0",
    "text": "UTF-8 as it is, byte by byte; null is not the empty text",
    "uuid": "lower case",
    "date": "ISO 8601",
    "time": "ISO 8601, no trailing zeros in the fraction",
    "timestamp": "ISO 8601 in UTC to the microsecond, no trailing zeros; without a zone as it stands",
    "binary": "lower-case hexadecimal",
    "json": "by text; rows whose texts differ by value",
}
"""How values are written; of the forms only those that were used are part of a certificate."""


@dataclass(frozen=True)
class Compared:
    """One table as it was compared, and the numbers of the contract."""

    name: str
    target: str
    agreement: Agreement
    tally: Tally
    counts: Mapping[str, int]
    repaired: Mapping[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """What stands in the certificate; sums are text, since they are longer than a JSON number may be."""
        sides = {"left": self.tally.left, "right": self.tally.right}
        left, right = self.agreement.left, self.agreement.right
        document: dict[str, Any] = {
            "name": self.name,
            "target": self.target,
            "key": [column.name for column in left.key],
            "where": left.where,
            "rows": {name: side.rows for name, side in sides.items()},
            "digests": {name: str(side.digests) for name, side in sides.items()},
            "columns": [_column(a, b) for a, b in zip(left.columns, right.columns, strict=True)],
            "notes": [*self.agreement.notes, *self.tally.remarks],
            **self.counts,
        }
        return document | ({"repaired": dict(self.repaired)} if self.repaired is not None else {})


def _column(left: Canon, right: Canon) -> dict[str, Any]:
    more = {"scale": left.scale, "padded": left.padded, "tolerance": left.tolerance}
    return {"left": left.name, "right": right.name, "form": left.form.value} | {k: v for k, v in more.items() if v}


def certificate(
    tables: Sequence[Compared], *, left: str, right: str, started: str, finished: str, version: str
) -> dict[str, Any]:
    """The certificate's document. `left` and `right` show the systems without secrets; it holds no values of rows."""
    used = {column.form.value for table in tables for column in table.agreement.left.columns}
    equal = all(not any(table.counts[name] for name in ("missing", "extra", "different")) for table in tables)
    document: dict[str, Any] = {
        "format": FORMAT,
        "tool": f"tongqu {version}",
        "left": left,
        "right": right,
        "started": started,
        "finished": finished,
        "result": "same" if equal else "different",
        "tables": [table.to_json() for table in tables],
        "rules": {name: text for name, text in RULES.items() if name in used | {"digest", "row"}},
    }
    return document | {"sha256": sha256(document)}


def sha256(document: Mapping[str, Any]) -> str:
    """The SHA-256 of a document's canonical JSON (sorted keys, no blanks, UTF-8) without its own `sha256`."""
    bare = {name: value for name, value in document.items() if name != "sha256"}
    text = json.dumps(bare, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write the certificate, whole or not at all; raises WriteError."""
    try:
        lasting.make_folder(path.parent)
        lasting.put(path, (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode())
    except OSError as error:
        raise WriteError(f"the certificate cannot be written: {error.strerror}", path=str(path)) from error


def verify(path: Path) -> dict[str, Any]:
    """The certificate in a file. Raises NotFoundError if there is none, CheckpointError if it was changed or is none.

    The hash finds accidents and careless edits; whoever wants to forge a certificate can compute it too.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(f"the certificate cannot be read: {error.strerror}", path=str(path)) from error
    except (ValueError, RecursionError):
        raise CheckpointError("this file is not JSON", path=str(path)) from None
    if not isinstance(document, dict) or not document.keys() >= _SHOWN:
        raise CheckpointError("this file is not a certificate", path=str(path))
    if sha256(document) != document["sha256"]:
        raise CheckpointError(
            "the certificate was changed: its SHA-256 does not match", path=str(path), hint="compare again"
        )
    return document
