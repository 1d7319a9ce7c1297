"""What older services say in their WSDL is put in words that zeep knows: encoded arrays, attachments beside the body.

Formats: SOAP 1.1 §5 (encoding), WSDL 1.1 §2.2 (`wsdl:arrayType`) and §5 (MIME binding), SOAP with Attachments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tongqu.core.errors import AnswerError, InvalidSettingsError

ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
ENCODING_12 = "http://www.w3.org/2003/05/soap-encoding"
ITEM = "item"
"""What an entry of an encoded array is called here, whatever a service calls it."""
_XSD = "http://www.w3.org/2001/XMLSchema"
_WSDL = "http://schemas.xmlsoap.org/wsdl/"
_MIME = "http://schemas.xmlsoap.org/wsdl/mime/"
_BODIES = ("http://schemas.xmlsoap.org/wsdl/soap/", "http://schemas.xmlsoap.org/wsdl/soap12/")
_SIMPLE = (
    "string", "boolean", "byte", "short", "int", "long", "unsignedByte", "unsignedShort", "unsignedInt", "unsignedLong",
    "integer", "nonNegativeInteger", "positiveInteger", "decimal", "float", "double", "date", "time", "dateTime",
    "duration", "anyURI", "QName", "base64Binary", "hexBinary",
)  # fmt: skip
_PLAIN = "".join(f'<simpleType name="{name}"><restriction base="{{0}}{name}"/></simpleType>' for name in _SIMPLE)


def _schema(space: str, inside: str) -> bytes:
    return (
        f'<xs:schema xmlns:xs="{_XSD}" xmlns="{_XSD}" targetNamespace="{space}">{inside.format("xs:")}</xs:schema>'
    ).encode()


_ANY = '<sequence><any minOccurs="0" maxOccurs="unbounded" processContents="lax"/></sequence>'
BUILT_IN = {
    ENCODING: _schema(
        ENCODING,
        _PLAIN + '<simpleType name="base64"><restriction base="xs:base64Binary"/></simpleType>'
        f'<complexType name="Array">{_ANY}</complexType><complexType name="Struct">{_ANY}</complexType>'
        '<attribute name="arrayType" type="xs:string"/>',
    ),
    "http://ws-i.org/profiles/basic/1.1/xsd": _schema(
        "http://ws-i.org/profiles/basic/1.1/xsd",
        '<simpleType name="swaRef"><restriction base="xs:base64Binary"/></simpleType>',
    ),
    "http://xml.apache.org/xml-soap": _schema(
        "http://xml.apache.org/xml-soap",
        '<simpleType name="DataHandler"><restriction base="xs:base64Binary"/></simpleType>'
        '<complexType name="mapItem"><sequence><element name="key" type="xs:anyType"/>'
        '<element name="value" type="xs:anyType"/></sequence></complexType>'
        '<complexType name="Map"><sequence><element xmlns:a="http://xml.apache.org/xml-soap" name="item" '
        'type="a:mapItem" minOccurs="0" maxOccurs="unbounded"/></sequence></complexType>',
    ),
}
"""Schemas that services name without bringing them, by their namespace; attachments among them are base64."""


@dataclass
class Old:
    """What was found while documents were rewritten, by the name of a binding and that of an operation."""

    encoded: set[tuple[str, str]] = field(default_factory=set)
    """Operations whose messages are encoded."""
    attached: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """Parts of an operation's input that go as attachments."""
    refused: dict[tuple[str, str], str] = field(default_factory=dict)
    """Operations that cannot be called, and why."""


def rewritten(body: bytes, where: str, old: Old) -> bytes:
    """A WSDL or schema (already looked through: no document type) in the words of zeep; unchanged if it needs none."""
    if not any(word in body for word in (b"arrayType", b"encoded", _MIME.encode(), *map(str.encode, BUILT_IN))):
        return body
    from lxml import etree

    root = etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True))
    for one in root.iter(f"{{{_XSD}}}complexType"):
        _array(one, where)
    defined = {one.get("targetNamespace") for one in root.iter(f"{{{_XSD}}}schema")}
    for one in root.iter(f"{{{_XSD}}}import"):
        space = one.get("namespace", "")
        if space in BUILT_IN and space not in defined:
            one.set("schemaLocation", space)
    for binding in list(root.iter(f"{{{_WSDL}}}binding")):
        _binding(root, binding, old)
    return bytes(etree.tostring(root))


def _array(one: Any, where: str) -> None:
    """A type derived from the encoding's array becomes a sequence of items."""
    from lxml import etree

    told = next((a for a in one.iter(f"{{{_XSD}}}attribute") if a.get(f"{{{_WSDL}}}arrayType")), None)
    derived = one.find(f"{{{_XSD}}}complexContent/{{{_XSD}}}restriction")
    if told is None or derived is None:
        return
    name, _, ranks = told.get(f"{{{_WSDL}}}arrayType").partition("[")
    if "," in ranks:
        raise AnswerError(
            f"{where} has arrays of several dimensions ({one.get('name')}), which are not read", path=where,
            hint="ask the vendor for an operation that gives a plain list, or a document/literal service",
        )  # fmt: skip
    depth = ranks.count("]")
    prefix, _, own = name.rpartition(":")
    kind, spaces = _qualified(one, told.nsmap.get(prefix or None, ""), own)
    for child in list(one):
        one.remove(child)
    holder = one
    for level in range(depth):
        sequence = etree.SubElement(holder, f"{{{_XSD}}}sequence")
        item = etree.SubElement(sequence, f"{{{_XSD}}}element", name=ITEM, minOccurs="0", maxOccurs="unbounded",
                                nillable="true", form="unqualified", nsmap=spaces)  # fmt: skip
        if level == depth - 1:
            item.set("type", kind)
        else:
            holder = etree.SubElement(item, f"{{{_XSD}}}complexType")


def _qualified(place: Any, space: str, name: str) -> tuple[str, dict[str, str]]:
    """A name as it is written at a place, and the prefix that must be declared for it there."""
    prefix = next((prefix for prefix, held in place.nsmap.items() if held == space and prefix), None)
    return (f"{prefix}:{name}", {}) if prefix else (f"tongqu:{name}", {"tongqu": space})


def _binding(root: Any, binding: Any, old: Old) -> None:
    """What a binding says of encoding and of attachments."""
    style = next((one.get("style") for space in _BODIES for one in binding.iter(f"{{{space}}}binding")), "document")
    for operation in binding.findall(f"{{{_WSDL}}}operation"):
        place = (binding.get("name", ""), operation.get("name", ""))
        own = next((one.get("style") for s in _BODIES for one in operation.iter(f"{{{s}}}operation")), None) or style
        for way in ("input", "output"):
            for related in operation.findall(f"{{{_WSDL}}}{way}/{{{_MIME}}}multipartRelated"):
                parts = [one.get("part", "") for one in related.iter(f"{{{_MIME}}}content")]
                body = next((one for space in _BODIES for one in related.iter(f"{{{space}}}body")), None)
                holder = related.getparent()
                holder.remove(related)
                if body is not None:
                    holder.append(body)
                if own != "rpc" and parts and way == "input":
                    old.refused[place] = f"its message has attachments as parts ({', '.join(parts)}) beside a document"
                elif way == "input":
                    old.attached[place] = tuple(dict.fromkeys(parts))
                _plain_parts(root, operation, way, frozenset(parts), drop=own != "rpc")
        bodies = [one for space in _BODIES for one in operation.iter(f"{{{space}}}body")]
        if any(one.get("use") == "encoded" for one in bodies):
            if own == "rpc":
                old.encoded.add(place)
            else:
                old.refused[place] = "it is document/encoded, which nobody else reads either"


def _plain_parts(root: Any, operation: Any, way: str, names: frozenset[str], *, drop: bool) -> None:
    """Parts that are attachments become base64, or are left out of a document's message."""
    from lxml import etree

    name = operation.get("name")
    for abstract in root.iterfind(f"{{{_WSDL}}}portType/{{{_WSDL}}}operation[@name='{name}']/{{{_WSDL}}}{way}"):
        message = abstract.get("message", "").rpartition(":")[2]
        for part in root.findall(f"{{{_WSDL}}}message[@name='{message}']/{{{_WSDL}}}part"):
            if part.get("name") in names:
                if drop:
                    part.getparent().remove(part)
                else:
                    kind, spaces = _qualified(part, _XSD, "base64Binary")
                    made = etree.Element(part.tag, name=part.get("name"), type=kind, nsmap=spaces)
                    part.getparent().replace(part, made)


def refusal(why: str, operation: str, where: str) -> InvalidSettingsError:
    """The error of an operation that cannot be called."""
    return InvalidSettingsError(
        f"{operation} cannot be called: {why}", path=where,
        hint="is there another port of the service (port_name), an operation that takes the content as base64, or "
        "MTOM (attachments: mtom)?",
    )  # fmt: skip
