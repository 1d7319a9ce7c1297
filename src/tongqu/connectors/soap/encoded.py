"""Messages as older and heavier services have them: encoded by SOAP 1.1 §5, with attachments (MTOM, SwA).

Formats: SOAP 1.1 §5 and SOAP 1.2 part 2 §3 (references, arrays, `xsi:type`), XOP 1.0, SOAP Messages with Attachments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

from zeep import Plugin

from tongqu.connectors.soap.rewriting import ENCODING, ENCODING_12, ITEM, Old
from tongqu.core.errors import AnswerError

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_XSD = "http://www.w3.org/2001/XMLSchema"
_XOP = "http://www.w3.org/2004/08/xop/include"
_OWN = re.compile(
    rf"^id$|^\{{({re.escape(ENCODING)}|{re.escape(ENCODING_12)}|{re.escape(_XSI)})\}}(?!nil$)|encodingStyle$"
)
"""Attributes that say how a value is encoded, and not what it is."""
_MOST, _TEXT = 5_000_000, 100
"""The largest answer with what it refers to in its place: in elements, where so many characters count as one more."""
_DEEPEST = 100
_SMALL = 1024
"""Fewer bytes of base64 stay in the message where attachments are only meant to save room."""


def is_encoded(body: bytes) -> bool:
    """Whether an answer has references or arrays of the encoding, whose namespace it then names."""
    old = ENCODING.encode() in body and (b"arrayType" in body or b"href=" in body or b":Array" in body)
    return old or ENCODING_12.encode() in body


def resolved(body: bytes, where: str) -> bytes:
    """The answer with what is referred to in its place, and entries of arrays as `item`. `body` has no document type.

    Raises AnswerError for references that lead nowhere, in a circle, or would grow beyond 5 million elements or 500 MB
    of text, and for arrays that leave places out.
    """
    from lxml import etree

    root = etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
    named: dict[str, Any] = {}
    for one in root.iter(etree.Element):
        name = one.get("id") or one.get(f"{{{ENCODING_12}}}id")
        if name:
            named.setdefault(name, one)
    known: dict[Any, int] = {}

    def size(one: Any, above: tuple[Any, ...]) -> int:
        """How many elements it has with all that it refers to."""
        if len(above) > _DEEPEST:
            raise AnswerError(f"{where}: the answer's references nest deeper than {_DEEPEST} elements", path=where)
        if one in above:
            raise AnswerError(f"{where}: the answer refers to itself in a circle", path=where)
        if one not in known:
            meant = _meant(one, named, where)
            inner = [meant] if meant is not None else list(one.iterchildren(etree.Element))
            held = len(one.text or "") + sum(map(len, one.attrib.values()))
            known[one] = 1 + held // _TEXT + sum(size(child, (*above, one)) for child in inner)
            if known[one] > _MOST:
                raise AnswerError(
                    f"{where}: the answer's references make more than {_MOST:,} elements or {_MOST * _TEXT:,} "
                    "characters", path=where,
                )  # fmt: skip
        return known[one]

    size(root, ())

    def copied(one: Any, tag: Any) -> Any:
        meant = _meant(one, named, where)
        if meant is not None:
            return copied(meant, tag)
        made = etree.Element(tag, {k: v for k, v in one.attrib.items() if not _OWN.search(k)}, nsmap=one.nsmap)
        made.text = one.text
        array = _is_array(one, where)
        for child in one.iterchildren(etree.Element):
            if not _is_root(child, one):
                made.append(copied(child, ITEM if array else child.tag))
        return made

    return bytes(etree.tostring(copied(root, root.tag), xml_declaration=True, encoding="utf-8"))


def _meant(one: Any, named: dict[str, Any], where: str) -> Any:
    """What an element refers to; None if it is the thing itself."""
    name = one.get("href", "")
    name = name[1:] if name.startswith("#") else one.get(f"{{{ENCODING_12}}}ref", "")
    if not name:
        return None
    if name not in named:
        raise AnswerError(f"{where}: the answer refers to {name!r}, which did not come", path=where)
    return named[name]


def _is_root(child: Any, parent: Any) -> bool:
    """Whether it stands in the body only to be referred to."""
    body = parent.tag.rpartition("}")[2] == "Body"
    marked = child.get(f"{{{ENCODING}}}root") == "0"
    return body and (marked or (bool(child.get("id")) and child.getprevious() is not None))


def _is_array(one: Any, where: str) -> bool:
    array = one.get(f"{{{ENCODING}}}arrayType") or one.get(f"{{{ENCODING_12}}}itemType")
    kind = one.get(f"{{{_XSI}}}type", "").rpartition(":")
    if not array and not (kind[2] == "Array" and one.nsmap.get(kind[0]) == ENCODING):
        return False
    sparse = one.get(f"{{{ENCODING}}}offset") or any(child.get(f"{{{ENCODING}}}position") for child in one)
    if sparse or "," in (array or ""):
        raise AnswerError(f"{where}: the answer has an array of several dimensions or with places left out", path=where)
    return True


# ---- messages that go


def walked(element: Any, kind: Any) -> Iterator[tuple[Any, Any]]:
    """Each element of a message with its type as zeep knows it."""
    yield element, kind
    inner = {one.qname.localname: one for _, one in getattr(kind, "elements", ()) if getattr(one, "qname", None)}
    for child in element:
        found = inner.get(child.tag.rpartition("}")[2]) if isinstance(child.tag, str) else None
        if found is not None:
            yield from walked(child, found.type)


class Encoding(Plugin):
    """Makes zeep's messages encoded where the binding says so, before they are signed."""

    def __init__(self, old: Old):
        self._old = old

    def egress(self, envelope: Any, http_headers: Any, operation: Any, binding_options: Any) -> tuple[Any, Any]:
        """See zeep."""
        del binding_options
        if (operation.binding.name.localname, operation.name) in self._old.encoded and operation.input.body is not None:
            body = next(one for one in envelope if one.tag.rpartition("}")[2] == "Body")
            for wrapper in body:
                _encode(envelope, wrapper, operation.input.body.type)
        return envelope, http_headers


def _encode(envelope: Any, wrapper: Any, kind: Any) -> None:
    """Say of each element below the wrapper of an rpc message what it is: `xsi:type`, and of arrays their type."""
    from lxml import etree

    wrapper.set(f"{{{envelope.tag[1:].partition('}')[0]}}}encodingStyle", ENCODING)
    told = list(walked(wrapper, kind))[1:]
    names = {id(one): _name(one) for _, one in told}
    entries = {id(one): inner for _, one in told if (inner := _entry(one)) is not None}
    spaces = {space for space, _ in (*names.values(), *(_name(one.type) for one in entries.values()))}
    prefixes = {_XSI: "xsi", _XSD: "xsd", ENCODING: "enc"}
    prefixes |= {space: f"t{at}" for at, space in enumerate(sorted(spaces - set(prefixes)))}
    tops = {prefix: space for space, prefix in prefixes.items() if space}
    etree.cleanup_namespaces(envelope, top_nsmap=tops, keep_ns_prefixes=list(tops))

    def qualified(name: tuple[str, str]) -> str:
        return f"{prefixes[name[0]]}:{name[1]}" if name[0] else name[1]

    for element, one in told:
        if element.get(f"{{{_XSI}}}nil"):
            continue
        if id(one) in entries:
            count = sum(child.tag == ITEM for child in element)
            element.set(f"{{{_XSI}}}type", "enc:Array")
            element.set(f"{{{ENCODING}}}arrayType", f"{qualified(_name(entries[id(one)].type))}[{count}]")
        elif not element.get(f"{{{_XSI}}}type"):
            element.set(f"{{{_XSI}}}type", qualified(names[id(one)]))


def _entry(kind: Any) -> Any:
    """The entry of a type that was an array."""
    inner = [one for _, one in getattr(kind, "elements", ()) if getattr(one, "qname", None)]
    return inner[0] if len(inner) == 1 and inner[0].qname.text == ITEM and inner[0].accepts_multiple else None


def _name(kind: Any) -> tuple[str, str]:
    """The name of a type; simple ones of the encoding by those of XML Schema, nameless ones are any."""
    name = getattr(kind, "qname", None) or getattr(kind, "_default_qname", None)
    if name is None:
        return _XSD, "anyType"
    simple = name.namespace == ENCODING and name.localname not in ("Array", "Struct", "base64")
    return _XSD if simple else str(name.namespace or ""), str(name.localname)


def attached(envelope: Any, parts: Sequence[tuple[Any, bool]], version: int) -> tuple[bytes, str] | None:
    """The message as multipart/related, and its content type: base64 of these elements as attachments. An element is
    told as `xop:Include` (MTOM) or, where it is a part of its own (SwA, the second of a pair), by `href`. None where no
    element has anything to attach."""
    from base64 import b64decode

    from lxml import etree

    files: list[tuple[str, bytes]] = []
    for element, own in parts:
        text = element.text or ""
        if not text or (not own and len(text) < _SMALL):
            continue
        data = b64decode(text)
        name = f"{blake2b(data, digest_size=12).hexdigest()}-{len(files) + 1}@tongqu"
        files.append((name, data))
        element.text = None
        if own:
            element.set("href", f"cid:{name}")
        else:
            etree.SubElement(element, f"{{{_XOP}}}Include", href=f"cid:{name}", nsmap={"xop": _XOP})
    if not files:
        return None
    mtom = any(not own for _, own in parts)
    plain = "text/xml" if version == 11 else "application/soap+xml"
    root = etree.tostring(envelope, xml_declaration=True, encoding="utf-8")
    outer = "application/xop+xml" if mtom else plain
    info = f'; start-info="{plain}"' if mtom else ""
    first = f'{outer}; charset=utf-8; type="{plain}"' if mtom else f"{plain}; charset=utf-8"
    digest = blake2b(root, digest_size=16)
    head = f"Content-Type: {first}\r\nContent-Transfer-Encoding: 8bit\r\nContent-ID: <root@tongqu>\r\n\r\n"
    blocks = [head.encode() + root]
    for name, data in files:
        digest.update(data)
        head = "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n"
        blocks.append(f"{head}Content-ID: <{name}>\r\n\r\n".encode() + data)
    mark = f"tongqu_{digest.hexdigest()}"
    body = b"".join(f"--{mark}\r\n".encode() + block + b"\r\n" for block in blocks) + f"--{mark}--\r\n".encode()
    return body, f'multipart/related; type="{outer}"; start="<root@tongqu>"; boundary="{mark}"{info}'
