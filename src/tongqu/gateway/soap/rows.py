"""Rows as elements: an Arrow table column by column, a few rows value by value; XML Schema's way to write values."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tongqu.gateway.policy.values import family
from tongqu.gateway.soap.shapes import tag
from tongqu.kit.serving.texts import column, dumps, plain_texts, values

_FORBIDDEN = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_OUT = re.compile(_FORBIDDEN)
_SPECIAL = re.compile(f"{_FORBIDDEN}|[&<>\r]")
_ARROW_OUT = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x{fffe}\x{ffff}]"
_SIGNS = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;"))
_NULL = '<item xsi:nil="true"/>'
_ENDLESS = {"Infinity": "INF", "-Infinity": "-INF"}


def table_rows(body: bytes, fields: Mapping[str, pa.Field[Any]]) -> str:
    """`<row>` elements of an Arrow IPC stream. `fields` tell how its columns are to be understood, by name."""
    table = pa.ipc.open_stream(body).read_all()
    if not table.num_rows:
        return ""
    parts: list[Any] = []
    before = "<row>"
    for number, name in enumerate(table.schema.names):
        field = fields[name]
        array = column(table.column(number))
        known = table.schema.field(number)
        element = tag(name)
        texts = _texts(array, known, field)
        if array.null_count:
            whole = pc.binary_join_element_wise(f"{before}<{element}>", texts, f"</{element}>", "")
            parts.append(pc.coalesce(whole, pa.scalar(f'{before}<{element} xsi:nil="true"/>')))
        else:
            parts += [f"{before}<{element}>", texts, f"</{element}>"]
        before = ""
    joined = pc.binary_join_element_wise(*parts, "</row>", "")
    return "".join(joined.to_pylist())


def listed_rows(rows: Sequence[Sequence[Any]], names: Sequence[str], fields: Mapping[str, pa.Field[Any]]) -> str:
    """The same of rows that are lists of plain JSON values, decimals as `Decimal`: cheaper where there are few."""
    columns = []
    for name in names:
        element = tag(name)
        columns.append((f"<{element}>", f"</{element}>", f'<{element} xsi:nil="true"/>', _writer(fields[name])))
    out = []
    for row in rows:
        out.append("<row>")
        for value, (before, behind, null, write) in zip(row, columns, strict=True):
            out.append(null if value is None else f"{before}{write(value)}{behind}")
        out.append("</row>")
    return "".join(out)


def object_rows(rows: Sequence[Mapping[str, Any]], fields: Mapping[str, pa.Field[Any]], name: str = "row") -> str:
    """The same of rows that are objects; each becomes an element `name`."""
    out = []
    for row in rows:
        cells = []
        for key, value in row.items():
            element = tag(key)
            null = f'<{element} xsi:nil="true"/>'
            cells.append(null if value is None else f"<{element}>{_writer(fields[key])(value)}</{element}>")
        out.append(f"<{name}>{''.join(cells)}</{name}>")
    return "".join(out)


def _texts(array: pa.Array[Any], known: pa.Field[Any], field: pa.Field[Any]) -> Any:
    """The content of each element, escaped; null as null."""
    kind = family(field)
    if kind in ("binary", "list"):
        write = _writer(field)
        made = [None if value is None else write(value) for value in values(array, known)]
        return pa.array(made, pa.string())
    texts: Any = plain_texts(array, known)
    if kind == "float":
        for ours, theirs in _ENDLESS.items():
            same: Any = pc.equal(texts, pa.scalar(ours))
            texts = pc.if_else(same, theirs, texts)
    if kind in ("text", "json", "other"):
        texts = pc.replace_substring_regex(texts, _ARROW_OUT, "")
        for sign, entity in _SIGNS:
            texts = pc.replace_substring(texts, sign, entity)
    return texts


def _writer(field: pa.Field[Any]) -> Callable[[Any], str]:
    """What writes a value of the field that is not null."""
    kind = family(field)
    if kind == "list":
        inner = _writer(field.type.field(0))
        return lambda value: "".join(_NULL if one is None else f"<item>{inner(one)}</item>" for one in value)
    return _WRITERS.get(kind, _plain)


def _binary(value: Any) -> str:
    text = str(value)
    return base64.b64encode(bytes.fromhex(text[2:])).decode() if text.startswith("\\x") else escaped(text)


def _nested(value: Any) -> str:
    return escaped(value if isinstance(value, str) else dumps(value).decode())


def _truth(value: Any) -> str:
    return "true" if value else "false"


def _float(value: Any) -> str:
    return _ENDLESS.get(value, value) if isinstance(value, str) else str(value)


def _plain(value: Any) -> str:
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    return escaped(str(value))


_WRITERS: Mapping[str, Callable[[Any], str]] = {
    "binary": _binary, "json": _nested, "other": _nested, "bool": _truth, "float": _float, "int": str,
}  # fmt: skip


def escaped(text: str) -> str:
    """The text as XML holds it, carriage returns too; what it cannot hold (control characters) is left out."""
    if not _SPECIAL.search(text):
        return text
    text = _OUT.sub("", text)
    for sign, entity in _SIGNS:
        text = text.replace(sign, entity)
    return text
