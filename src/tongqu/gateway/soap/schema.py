"""The XML Schema of an API's messages for one caller: only what it may use stands in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.gateway.asking import Operator
from tongqu.gateway.policy.values import family
from tongqu.gateway.rewrite.binding import OPERATORS
from tongqu.gateway.soap.shapes import JOINING, Shape, tag, xsd_type
from tongqu.gateway.soap.words import PROBLEM, XS, namespace
from tongqu.gateway.validating import demanded
from tongqu.meaning.fields import metadata

COMPARISONS: Mapping[str, Operator] = {
    "eq": "eq", "ne": "neq", "gt": "gt", "ge": "gte", "lt": "lt", "le": "lte", "like": "like", "ilike": "ilike",
}  # fmt: skip
"""Elements of a condition that hold one value, and the operators they stand for."""
FIELD = "urn:tongqu:field"
"""`source` of the annotation that tells a field's own name where XML could not hold it."""


def schema(shape: Shape) -> str:
    """The `xs:schema` of the API's own namespace."""
    space = namespace(shape.api)
    parts = [f'<xs:schema xmlns:xs="{XS}" xmlns:t={quoteattr(space)} targetNamespace={quoteattr(space)}'
             ' elementFormDefault="qualified">']  # fmt: skip
    if shape.view is not None:
        parts.append(_type("Row", (_field(one, answered=True) for one in shape.fields)))
        parts.append(_list("Rows", "row", "t:Row"))
        parts.append(_names("Field", shape.fields))
        parts.append(_list("Fields", "field", "t:Field"))
        parts.append(_type("By", (_one("field", "t:Field", least=1), _one("descending", "xs:boolean"))))
        parts.append(_list("Order", "by", "t:By"))
    if shape.key:
        parts.append(_type("Key", (_field(one, least=1) for one in shape.key)))
        parts.append(_list("Keys", "key", "t:Key"))
    parts += _filter(shape)
    for name in ("Insert", "Update", "Upsert"):
        if name in shape.operations:
            parts.append(_type(f"{name}Row", _input(shape, name)))
            if name != "Update":
                parts.append(_list(f"{name}Rows", "row", f"t:{name}Row"))
            else:
                parts.append(_names("UpdateField", shape.inputs[name]))
                parts.append(_list("UpdateFields", "field", "t:UpdateField"))
    for name in shape.operations:
        parts.append(_element(name, _asked(shape, name)))
        parts.append(_element(f"{name}Response", _answered(shape, name)))
    return "".join([*parts, "</xs:schema>"])


def problem_schema() -> str:
    """The `xs:schema` of what a fault tells; the same for every API."""
    words = ("code", "title", "detail", "hint")
    inner = [_one(word, "xs:string", least=int(word in ("code", "title"))) for word in words]
    inner += [_one("retryable", "xs:boolean", least=1), _one("instance", "xs:string", least=1)]
    inner.append('<xs:element name="error" type="p:Error" minOccurs="0" maxOccurs="unbounded"/>')
    error = _type("Error", (_one(word, "xs:string") for word in ("parameter", "pointer", "code", "detail")))
    return (
        f'<xs:schema xmlns:xs="{XS}" xmlns:p="{PROBLEM}" targetNamespace="{PROBLEM}" elementFormDefault="qualified">'
        f"{error}{_element('problem', inner)}</xs:schema>"
    )


def _asked(shape: Shape, name: str) -> list[str]:
    if name == "Query":
        parameters = shape.api.entry.source.parameters
        own = _inline("parameters", [_parameter(shape, one) for one in parameters]) if parameters else ""
        return [
            _one("fields", "t:Fields"), _one("filter", "t:Filter"), _one("order", "t:Order"), _one("limit", "xs:int"),
            _one("after", "xs:string"), _one("count", "xs:boolean"), *([own] if own else []),
        ]  # fmt: skip
    if name == "Get":
        return [_field(one, least=1) for one in shape.key]
    if name in ("Insert", "Upsert"):
        return [_one("rows", f"t:{name}Rows", least=1), *_manner(shape)]
    found = [_one("key", "t:Key")] if shape.key else []
    found += [_one("filter", "t:Filter")] if shape.view is not None else []
    found += [_one("set", "t:UpdateRow", least=1), _one("fields", "t:UpdateFields")] if name == "Update" else []
    return [*found, _one("most", "xs:int"), _one("etag", "xs:string"), *_manner(shape)]


def _manner(shape: Shape) -> list[str]:
    given = [_one("returnRows", "xs:boolean")] if shape.view is not None else []
    least = int(shape.api.entry.write.idempotency == "required")
    return [*given, _one("idempotencyKey", "xs:string", least=least)]


def _answered(shape: Shape, name: str) -> list[str]:
    rows = [_one("rows", "t:Rows")] if shape.view is not None else []
    if name == "Query":
        return [_one("rows", "t:Rows", least=1), _one("next", "xs:string"), _one("total", "xs:long")]
    if name == "Get":
        return [_one("row", "t:Row", least=1), _one("etag", "xs:string", least=1)]
    counts = [_one("touched", "xs:long", least=1), _one("inserted", "xs:long", least=1),
              _one("replayed", "xs:boolean", least=1)]  # fmt: skip
    return [*counts, *([_one("keys", "t:Keys")] if shape.key and name in ("Insert", "Upsert") else []), *rows]


def _filter(shape: Shape) -> list[str]:
    """The type of filters, and one type of condition for each type of values."""
    if shape.view is None:
        return []
    conditions: dict[str, str] = {}
    members = []
    for seen in shape.view.fields.values():
        if seen.after is not None:
            continue  # its masked values are made after the query: it can be shown, not compared
        operators = OPERATORS.get(seen.family, frozenset())
        word = "Presence" if seen.family in ("list", "json", "other") else _condition_name(seen.field)
        if word not in conditions:
            kind = f"xs:{xsd_type(seen.field)}"
            inner = [_one(name, kind) for name, operator in COMPARISONS.items() if operator in operators]
            if "in" in operators:
                inner.append(_inline("in", [f'<xs:element name="value" type="{kind}" maxOccurs="unbounded"/>']))
            inner = [] if word == "Presence" else inner
            conditions[word] = _type(word, [*inner, _one("isNull", "xs:boolean")])
        members.append(_one(tag(seen.field.name), f"t:{word}"))
    members += [f'<xs:element name="{word}" type="t:Filter" minOccurs="0" maxOccurs="unbounded"/>' for word in JOINING]
    return [*conditions.values(), _type("Filter", members)]


def _condition_name(field: pa.Field[Any]) -> str:
    word = "uuid" if family(field) == "uuid" else xsd_type(field)
    return f"{word[0].upper()}{word[1:]}Condition"


def _input(shape: Shape, name: str) -> list[str]:
    whole = name != "Update"
    return [
        _field(one, least=int(whole and demanded(one, shape.api.rules.get(one.name)))) for one in shape.inputs[name]
    ]


def _field(field: pa.Field[Any], *, least: int = 0, answered: bool = False) -> str:
    """An element of a row. Fields of answers can be left out (only some were asked for) and be null (masks)."""
    attributes = f'name="{tag(field.name)}"' + ("" if least else ' minOccurs="0"')
    attributes += ' nillable="true"' if answered or field.nullable else ""
    note, kind = _annotation(field), family(field)
    if kind == "list":
        item = f'name="item" type="xs:{xsd_type(field)}" minOccurs="0" maxOccurs="unbounded" nillable="true"'
        inner = f"<xs:complexType><xs:sequence><xs:element {item}/></xs:sequence></xs:complexType>"
        return f"<xs:element {attributes}>{note}{inner}</xs:element>"
    if pa.types.is_decimal(field.type) and 0 <= field.type.scale <= field.type.precision:
        facets = f'<xs:totalDigits value="{field.type.precision}"/><xs:fractionDigits value="{field.type.scale}"/>'
        simple = f'<xs:simpleType><xs:restriction base="xs:decimal">{facets}</xs:restriction></xs:simpleType>'
        return f"<xs:element {attributes}>{note}{simple}</xs:element>"
    return f'<xs:element {attributes} type="xs:{xsd_type(field)}">{note}</xs:element>'


def _annotation(field: pa.Field[Any]) -> str:
    told = metadata(field)
    title, unit = told.get(Meta.TITLE, ""), told.get(Meta.UNIT, "")
    text = f"{title} ({unit})" if title and unit else title or unit
    inner = f"<xs:documentation>{escape(text)}</xs:documentation>" if text else ""
    if tag(field.name) != field.name:
        inner = f'<xs:appinfo source="{FIELD}">{escape(field.name)}</xs:appinfo>{inner}'
    return f"<xs:annotation>{inner}</xs:annotation>" if inner else ""


def _parameter(shape: Shape, name: str) -> str:
    entry, known = shape.api.entry.source.parameters[name], shape.api.parameters.get(name)
    kind = known.type if isinstance(known, pa.Field) else known
    word = xsd_type(pa.field(name, kind)) if isinstance(kind, pa.DataType) else "string"
    return _one(tag(name), f"xs:{word}", least=int(entry.required and entry.default is None))


def _one(name: str, kind: str, *, least: int = 0) -> str:
    return f'<xs:element name="{name}" type="{kind}"' + ("/>" if least else ' minOccurs="0"/>')


def _list(name: str, item: str, kind: str) -> str:
    return _type(name, [f'<xs:element name="{item}" type="{kind}" minOccurs="0" maxOccurs="unbounded"/>'])


def _names(name: str, fields: Iterable[pa.Field[Any]]) -> str:
    each = "".join(f"<xs:enumeration value={quoteattr(one.name)}/>" for one in fields)
    restriction = f'<xs:restriction base="xs:string">{each}</xs:restriction>'
    return f'<xs:simpleType name="{name}">{restriction}</xs:simpleType>'


def _type(name: str, inner: Iterable[str]) -> str:
    return f'<xs:complexType name="{name}"><xs:sequence>{"".join(inner)}</xs:sequence></xs:complexType>'


def _inline(name: str, inner: Iterable[str]) -> str:
    return (
        f'<xs:element name="{name}" minOccurs="0"><xs:complexType><xs:sequence>{"".join(inner)}</xs:sequence>'
        "</xs:complexType></xs:element>"
    )


def _element(name: str, inner: Iterable[str]) -> str:
    sequence = f"<xs:complexType><xs:sequence>{''.join(inner)}</xs:sequence></xs:complexType>"
    return f'<xs:element name="{name}">{sequence}</xs:element>'
