"""Rows as XML with a schema, and XML bodies as rows; names that XML cannot hold are written as `_x0020_`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

import pyarrow as pa

from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.kit.serving.texts import logical

if TYPE_CHECKING:
    from lxml.etree import _Element

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_XS = "http://www.w3.org/2001/XMLSchema"
_START = re.compile(r"[A-Za-z_\u00c0-\u02ff\u0370-\u1fff\u3001-\ud7ff\uf900-\ufdcf\ufdf0-\ufffd]")
_PART = re.compile(r"[-.0-9A-Za-z_\u00b7-\u1fff\u203f-\u2040\u2070-\u218f\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufffd]")
_CODED = re.compile(r"_x([0-9A-Fa-f]{4,6})_")
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XS_TYPES: tuple[tuple[Any, str], ...] = (
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_integer, "integer"),
    (pa.types.is_decimal, "decimal"),
    (pa.types.is_date, "date"),
    (pa.types.is_timestamp, "dateTime"),
    (pa.types.is_time, "time"),
)


def namespace(api: Api) -> str:
    """The XML namespace of an API's rows in one version."""
    return f"urn:tongqu:api:{api.version}:{api.name}"


def element_name(name: str) -> str:
    """The name as XML takes it; characters it cannot hold are written by their number (ISO/IEC 9075-14)."""
    out = []
    for place, sign in enumerate(name):
        coded = sign == "_" and _CODED.match(name, place)
        fits = _PART.match(sign) if place else _START.match(sign)
        out.append(sign if fits and not coded else f"_x{ord(sign):04X}_")
    return "".join(out) or "_x0000_"


def field_name(name: str) -> str:
    """The field whose `element_name` it is."""
    return _CODED.sub(lambda match: chr(int(match[1], 16)) if int(match[1], 16) < 0x110000 else match[0], name)


def document(body: bytes, api: Api) -> bytes:
    """The JSON of rows as an XML document: `<rows><row><lot_no>L1</lot_no><weight xsi:nil="true"/></row></rows>`.

    Numbers keep their digits. What XML cannot hold in a text (control characters) is left out.
    """
    rows = json.loads(body, parse_float=Decimal)
    out = ['<?xml version="1.0" encoding="UTF-8"?>\n', f'<rows xmlns={quoteattr(namespace(api))} xmlns:xsi="{_XSI}">']
    names: dict[str, str] = {}
    for row in rows:
        _element(out, "row", row, names)
    out.append("</rows>")
    return "".join(out).encode()


def _element(out: list[str], name: str, value: Any, names: dict[str, str]) -> None:
    if value is None:
        out.append(f'<{name} xsi:nil="true"/>')
    elif isinstance(value, Mapping):
        out.append(f"<{name}>")
        for key, inner in value.items():
            tag = names.get(key) or names.setdefault(key, element_name(key))
            for item in inner if isinstance(inner, list) and inner else (inner,):
                if item != []:
                    _element(out, tag, item, names)
        out.append(f"</{name}>")
    elif isinstance(value, list):
        out.append(f"<{name}>")
        for item in value:
            _element(out, "item", item, names)
        out.append(f"</{name}>")
    else:
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        out.append(f"<{name}>{escape(_FORBIDDEN.sub('', text))}</{name}>")


def schema(api: Api, fields: Sequence[pa.Field[Any]]) -> bytes:
    """The XSD of the rows that a caller who sees these fields gets, without embedded APIs."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<xs:schema xmlns:xs="{_XS}" xmlns={quoteattr(namespace(api))} targetNamespace={quoteattr(namespace(api))}'
        ' elementFormDefault="qualified">',
        '<xs:element name="rows"><xs:complexType><xs:sequence>',
        '<xs:element name="row" type="row" minOccurs="0" maxOccurs="unbounded"/>',
        "</xs:sequence></xs:complexType></xs:element>",
        '<xs:complexType name="row"><xs:sequence>',
    ]
    for field in fields:
        many, kind = _listed(field.type)
        word = next((word for fits, word in _XS_TYPES if fits(kind)), "string")
        nested = pa.types.is_nested(kind) or logical(field) == "json"
        many = many or nested  # a document may be a list, whose items are as many elements
        lines.append(
            f'<xs:element name="{element_name(field.name)}" type="xs:{"anyType" if nested else word}" minOccurs="0"'
            f'{" maxOccurs=" + chr(34) + "unbounded" + chr(34) if many else ""} nillable="true"/>'
        )
    lines.append("</xs:sequence></xs:complexType></xs:schema>")
    return "\n".join(lines).encode()


def _listed(kind: Any) -> tuple[bool, pa.DataType]:
    """Whether a type is a list, and the type of what it holds."""
    fixed = pa.types.is_fixed_size_list(kind)
    many = fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return many, kind.value_type if many else kind


def rows(root: _Element) -> tuple[list[dict[str, str | None]], bool]:
    """The rows of a body `<rows><row>…`, or of a single `<row>`, as texts, and whether it was a single one; `xsi:nil`
    is null. Raises Problem `body.malformed` for another root, and for a field that is nested or named twice."""
    single = _local(root) == "row"
    found = [root] if single else list(root)
    if not single and (_local(root) != "rows" or any(_local(child) != "row" for child in found)):
        raise Problem("body.malformed", "`<rows>` of `<row>` elements, or one `<row>`, is expected")
    return [_row(element, number) for number, element in enumerate(found)], single


def _row(element: _Element, number: int) -> dict[str, str | None]:
    row: dict[str, str | None] = {}
    for child in element:
        name = field_name(_local(child))
        if len(child) or name in row:
            raise Problem("body.malformed", f"row {number + 1}: a field is one element with text")
        row[name] = None if child.get(f"{{{_XSI}}}nil") in ("true", "1") else (child.text or "")
    return row


def _local(element: _Element) -> str:
    return str(element.tag).rpartition("}")[2]
