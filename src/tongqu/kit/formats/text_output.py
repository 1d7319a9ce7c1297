"""Arrow rows as CSV or JSON Lines bytes, made by column kernels."""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa

from tongqu.core.data import BadRow, Meta
from tongqu.core.errors import WriteError
from tongqu.core.kernels import pc
from tongqu.kit.formats.dialect import Dialect
from tongqu.kit.formats.inference import Array
from tongqu.kit.formats.text import as_text, is_quoted_kind

_CONTROL = {i: f"\\u{i:04x}" for i in range(0x20)} | {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
_ROWS = 65_536


def csv_header(names: list[str], dialect: Dialect) -> str:
    """The header record; a name is quoted as a value would be."""
    cells = _csv_cells(pa.array(names, pa.string()), pa.string(), dialect).to_pylist()
    return dialect.delimiter.join(cells) + "\r\n"


def csv_lines(rows: pa.RecordBatch, dialect: Dialect) -> Array:
    """One text a row, RFC 4180: line end CR LF, quotes only where needed; null is the dialect's null text unquoted,
    a text equal to it (the empty text) is quoted."""
    cells = [_csv_cells(as_text(rows.column(f.name)), f.type, dialect) for f in rows.schema]
    return _joined(cells, dialect.delimiter, "\r\n", rows.num_rows)


def _csv_cells(texts: Array, kind: pa.DataType, dialect: Dialect) -> Array:
    d = dialect
    if d.decimal != "." and (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        texts = pc.replace_substring(texts, ".", d.decimal)
    if is_quoted_kind(kind) or pa.types.is_nested(kind) or d.delimiter in "-.+:,0123456789":
        needs = pc.fill_null(pc.is_in(texts, value_set=pa.array(d.null, pa.string())), False)
        special = f"[{re.escape(d.delimiter + d.quote)}\r\n]"
        if re.search(special.encode(), _content(texts)):
            needs = pc.or_(needs, pc.fill_null(pc.match_substring_regex(texts, special), False))
        if pc.any(needs).as_py():
            if not d.quote:
                raise WriteError("a value holds a delimiter, a line end or the null text, and quote is empty")
            doubled = pc.replace_substring(texts, d.quote, d.quote * 2)
            texts = pc.if_else(needs, pc.binary_join_element_wise(d.quote, doubled, d.quote, ""), texts)
    return pc.fill_null(texts, d.null[0])


def json_lines(rows: pa.RecordBatch) -> Array:
    """One JSON object a row and line. Decimals and integers are exact numbers, `nan` and infinities the texts `NaN`
    `Infinity` `-Infinity`, valid JSON text of logical type json is embedded, all else are strings."""
    parts: list[Any] = []
    for number, field in enumerate(rows.schema):
        key = json.dumps(field.name, ensure_ascii=False)
        parts += [f"{'{' if number == 0 else ','}{key}:", _json_values(rows.column(field.name), field)]
    if not parts:
        return pa.array(["{}\n"] * rows.num_rows, pa.string())
    return _joined(parts, "", "}\n", rows.num_rows)


def _json_values(column: Array, field: pa.Field[Any]) -> Array:
    kind = field.type
    texts = as_text(column)
    if pa.types.is_floating(kind):
        for own, name in (("nan", '"NaN"'), ("inf", '"Infinity"'), ("-inf", '"-Infinity"')):
            texts = pc.if_else(pc.equal(texts, own), name, texts)
    elif is_quoted_kind(kind):
        quoted = pc.binary_join_element_wise('"', _escaped(texts), '"', "")
        if (field.metadata or {}).get(Meta.LOGICAL.value.encode()) == b"json":
            texts = pc.replace_substring_regex(texts, r"[\r\n]+", " ")
            texts = pc.if_else(_valid_json(texts), texts, quoted)
        else:
            texts = quoted
    return pc.fill_null(texts, "null")


def _escaped(texts: Array) -> Array:
    texts = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    if pc.any(pc.match_substring_regex(texts, r"[\x00-\x1f]")).as_py():
        for code, shown in _CONTROL.items():
            texts = pc.replace_substring(texts, chr(code), shown)
    return texts


def _valid_json(texts: Array) -> Array:
    import duckdb

    with duckdb.connect() as connection:
        table: Any = connection.from_arrow(pa.table({"v": texts})).project("json_valid(v) AS t").to_arrow_table()
    return pc.fill_null(table.column("t").combine_chunks(), False)


def _joined(parts: list[Any], separator: str, end: str, rows: int) -> Array:
    """Cells joined by `separator`, each row closed by `end`."""
    if not parts:
        return pa.array([end] * rows, pa.string())
    last = pc.binary_join_element_wise(parts[-1], end, "")
    if separator or len(parts) > 1:
        return pc.binary_join_element_wise(*parts[:-1], last, separator)
    return last


def encoded(lines: Array, encoding: str) -> tuple[bytes | memoryview, dict[int, str]]:
    """The lines' bytes in an encoding, and the rows (index, message) whose characters it does not have; those are
    left out."""
    whole = lines.combine_chunks() if isinstance(lines, pa.ChunkedArray) else lines
    if encoding == "utf-8":
        return _content(whole), {}
    try:
        return str(_content(whole), "utf-8").encode(encoding), {}
    except UnicodeEncodeError:
        kept, refused = [], dict[int, str]()
        for row, line in enumerate(whole.to_pylist()):
            try:
                kept.append(line.encode(encoding))
            except UnicodeEncodeError as error:
                refused[row] = f"{error.object[error.start : error.end]!r} does not exist in {encoding}"
        return b"".join(kept), refused


def _content(lines: Any) -> memoryview:
    """All lines one after another, without copying them."""
    if len(lines) == 0 or lines.buffers()[2] is None:
        return memoryview(b"")
    buffers = lines.buffers()
    offsets = memoryview(buffers[1]).cast("i")
    return memoryview(buffers[2])[offsets[lines.offset] : offsets[lines.offset + len(lines)]]


def refused_rows(rows: pa.RecordBatch, causes: dict[int, str]) -> list[BadRow]:
    """Rows the file cannot hold, as bad rows of the step `write`."""
    found = []
    for row, message in causes.items():
        original = json_lines(rows.slice(row, 1))[0].as_py().strip()
        found.append(BadRow("write", "data.refused", "", None, original, message))
    return found
