"""JSON, XML and compressed bodies within limits: depth, members, text, entities, what they inflate to."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from tongqu.gateway.problems import Problem
from tongqu.gateway.settings import SizesEntry

if TYPE_CHECKING:
    from lxml.etree import _Element

_DOCTYPE = re.compile(rb"<!\s*(?:DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)", re.IGNORECASE)
_ENCODINGS = frozenset({"UTF-8", "UTF-16", "UTF-16LE", "UTF-16BE", "ASCII", "US-ASCII", "ISO-8859-1", "GBK", "GB18030"})
_ZLIB = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def json_body(body: bytes, sizes: SizesEntry, loads: Callable[[bytes], Any] = orjson.loads) -> Any:
    """A JSON document. Raises Problem `body.malformed` for what is not JSON (NaN, lone surrogates, something behind
    it), `body.too_large` for one deeper, with more members or longer texts than `sizes` allow."""
    try:
        document = loads(body)
    except (ValueError, RecursionError):
        raise Problem("body.malformed", "the body is no JSON document") from None
    within(document, sizes)
    return document


def within(document: Any, sizes: SizesEntry) -> None:
    """Raise Problem `body.too_large` unless nesting, members and texts of plain JSON values are within `sizes`."""
    level: list[Any] = [document]
    depth = members = 0
    while level:
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value, sizes)
            elif isinstance(value, list):
                below += value
            elif isinstance(value, dict):
                for key in value:
                    _check_text(key, sizes)
                below += value.values()
        members += len(below)
        depth += any(isinstance(value, list | dict) for value in level)
        if depth > sizes.depth:
            raise Problem("body.too_large", f"the body is nested deeper than {sizes.depth} levels")
        if members > sizes.items:
            raise Problem("body.too_large", f"the body has more than {sizes.items} members")
        level = below


def xml_body(body: bytes, sizes: SizesEntry) -> _Element:
    """The root of an XML document without document type, entities, comments and processing instructions. Raises Problem
    `body.malformed` for what is not well-formed, has a document type or an unusual encoding, `body.too_large`."""
    from lxml import etree

    if _DOCTYPE.search(body.replace(b"\0", b"")):
        raise Problem("body.malformed", "an XML body has no document type and no entities")
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise Problem("body.malformed", "the body is no well-formed XML document") from None
    info = root.getroottree().docinfo
    if info.internalDTD is not None or (info.encoding or "UTF-8").upper() not in _ENCODINGS:
        raise Problem("body.malformed", "an XML body has no document type and a usual encoding")
    _check_tree(root, sizes)
    return root


def _check_tree(root: _Element, sizes: SizesEntry) -> None:
    level = [root]
    depth = members = 0
    while level:
        depth += 1
        members += len(level)
        if depth > sizes.depth:
            raise Problem("body.too_large", f"the body is nested deeper than {sizes.depth} levels")
        for element in level:
            members += len(element.attrib)
            for text in (element.text, element.tail, *element.attrib.values()):
                _check_text(text or "", sizes)
        if members > sizes.items:
            raise Problem("body.too_large", f"the body has more than {sizes.items} members")
        level = [child for element in level for child in element]


def unpacked(body: bytes, encoding: str, limit: int, sizes: SizesEntry) -> bytes:
    """The body without its Content-Encoding (`gzip`, `deflate` or none; one, not several). Raises Problem
    `media.unknown`, `body.malformed`, or `body.too_large` when it inflates beyond `limit` bytes or the ratio of
    `sizes`; no more than that is ever inflated."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in _ZLIB:
        raise Problem("media.unknown", "a body may be encoded as gzip or deflate")
    most = min(limit, max(64 << 10, len(body) * sizes.inflated))
    inflater = zlib.decompressobj(_ZLIB[name])
    try:
        plain = inflater.decompress(body, most + 1)
    except zlib.error:
        raise Problem("body.malformed", f"the body is not {name}") from None
    if len(plain) > most:
        raise Problem("body.too_large", "the body inflates to too much")
    if not inflater.eof or inflater.unused_data:
        raise Problem("body.malformed", f"the body is not one whole {name} stream")
    return plain


def _check_text(text: str, sizes: SizesEntry) -> None:
    if len(text) * 4 > sizes.string_bytes and len(text.encode("utf-8", "surrogatepass")) > sizes.string_bytes:
        raise Problem("body.too_large", f"a text of the body is longer than {sizes.string_bytes} bytes")
