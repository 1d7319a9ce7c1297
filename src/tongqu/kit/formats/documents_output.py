"""Arrow rows as one JSON array or one XML document, made by column kernels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from tongqu.core.errors import SchemaError
from tongqu.core.kernels import pc
from tongqu.kit.formats.compression import deflate
from tongqu.kit.formats.inference import Array
from tongqu.kit.formats.text import as_text
from tongqu.kit.formats.text_output import encoded, json_lines
from tongqu.kit.formats.xml_records import element_name

_TAIL = 1 << 16
FORBIDDEN = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x{fffe}\x{ffff}]"
"""Characters that XML 1.0 cannot hold (RE2)."""


class DocumentWriter:
    """One JSON array or XML document being written to an open file; complete after `close`.

    XML: `records` names root and row elements (`orders/order`, default `rows/row`); a null is left out. With `after`
    the document goes on after the rows of that one, whose bytes stay as they are up to its end; raises SchemaError if
    it does not end as such a document does.
    """

    def __init__(
        self,
        file: Any,
        *,
        format: str,
        compression: str | None,
        encoding: str,
        records: str,
        after: Iterable[bytes] | None = None,
    ):
        self._file = file
        self._xml = format == "xml"
        self._compression = compression
        self._encoding = encoding
        root, _, row = records.strip("/").rpartition("/")
        self._row = element_name(row or "row")
        self._root = "/".join(map(element_name, (root or "rows").split("/")))
        self._empty = True
        if after is not None:
            self._go_on(after)
            return
        mark = "\ufeff" if encoding.startswith(("utf-16-", "utf-32-")) else ""
        opening = "".join(f"<{name}>" for name in self._root.split("/"))
        name = encoding.removesuffix("-le").removesuffix("-be")
        head = f'<?xml version="1.0" encoding="{name}"?>\n{opening}\n' if self._xml else "["
        self._put((mark + head).encode(encoding))

    def _go_on(self, after: Iterable[bytes]) -> None:
        held = b""
        for block in after:
            held += block
            if len(held) > 2 * _TAIL:
                self._put(held[:-_TAIL])
                held = held[-_TAIL:]
        text = held.decode(self._encoding, "replace")
        end = _end(text, self._xml, self._root)
        self._put(held[: len(held) - len(end[0].encode(self._encoding))])
        self._empty = text[: end.start()].endswith("[")
        if self._xml:
            self._put("\n".encode(self._encoding))

    def _put(self, data: bytes | memoryview) -> None:
        if data:
            self._file.write(deflate(self._compression, data))

    def write_batch(self, rows: pa.RecordBatch) -> None:
        """The rows, after those before."""
        if rows.num_rows == 0:
            return
        if self._xml:
            lines = xml_lines(rows, self._row)
        else:
            # the comma stands before each object but the first
            texts = pc.utf8_rtrim(json_lines(rows), "\n")
            lines = pc.binary_join_element_wise(",\n", texts, "")
            if self._empty:
                lines = pa.concat_arrays([pc.binary_join_element_wise("\n", texts[:1], ""), lines[1:]])
        self._empty = False
        self._put(encoded(lines, self._encoding)[0])

    def close(self) -> None:
        """Write what ends the document."""
        closing = "".join(f"</{name}>" for name in reversed(self._root.split("/")))
        self._put((closing + "\n" if self._xml else "\n]\n").encode(self._encoding))


def check_end(blocks: Iterable[bytes], format: str, encoding: str, records: str) -> None:
    """Raises SchemaError unless a document ends so that rows can follow those it has."""
    held = b""
    for block in blocks:
        held = (held + block)[-_TAIL:]
    root = "/".join(map(element_name, (records.strip("/").rpartition("/")[0] or "rows").split("/")))
    _end(held.decode(encoding, "replace"), format == "xml", root)


def _end(text: str, xml: bool, root: str) -> re.Match[str]:
    names = "".join(rf"\s*</(?:[^<>/:]+:)?{re.escape(name)}\s*>" for name in reversed(root.split("/")))
    found = re.search(rf"{names}\s*\Z" if xml else r"\s*\]\s*\Z", text)
    if found is None:
        raise SchemaError(
            f"what is there does not end with {'</' + root + '>' if xml else ']'}",
            hint="records= names the elements; write replace" if xml else "is it JSON Lines? format=jsonl",
        )
    return found


def xml_lines(rows: pa.RecordBatch, row: str) -> Array:
    """One element a row and line; values are texts as in CSV, escaped; names as `element_name` gives them."""
    parts: list[Any] = [f"<{row}>"]
    for field in rows.schema:
        name = element_name(field.name)
        texts = as_text(rows.column(field.name))
        for plain, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;")):
            texts = pc.replace_substring(texts, plain, shown)
        parts.append(pc.fill_null(pc.binary_join_element_wise(f"<{name}>", texts, f"</{name}>", ""), ""))
    if rows.num_columns == 0:
        return pa.array([f"<{row}/>\n"] * rows.num_rows, pa.string())
    return pc.binary_join_element_wise(*parts, f"</{row}>\n", "")


def unfit(rows: pa.RecordBatch, format: str, encoding: str) -> dict[int, str]:
    """Rows (index, message) that a document of this format cannot hold."""
    causes: dict[int, str] = {}
    if format == "xml":
        for field in rows.schema:
            mask = pc.match_substring_regex(as_text(rows.column(field.name)), FORBIDDEN)
            for row in pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist():
                causes.setdefault(row, f"{field.name}: XML cannot hold control characters")
    if encoding != "utf-8" and format in ("json", "xml"):
        lines = xml_lines(rows, "r") if format == "xml" else json_lines(rows)
        causes |= encoded(lines, encoding)[1]
    return causes
