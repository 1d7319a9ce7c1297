"""Values out of XML texts: no entity is followed, and a text with a DOCTYPE is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from tongqu.meaning.paths import XmlPath

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

VALUES_COLUMN = "_tongqu_xml"
STATUS_COLUMN = "_tongqu_xml_status"
_INVALID = 1
SEVERAL = 2
"""This plus the number of the path: a path without position met several elements."""


def with_values(table: pa.Table, name: str, paths: Sequence[XmlPath]) -> pa.Table:
    """The table with the list of values of each text, and a status: 0, 1 for no XML, or SEVERAL plus a path's number.

    Each text is parsed once by expat, document by document: XML has no columnar reader.
    """
    values: list[list[str | None] | None] = []
    states: list[int] = []
    for text in table.column(name).to_pylist():
        found, state = (None, 0) if text is None else _values(text, paths)
        values.append(found)
        states.append(state)
    made = table.append_column(VALUES_COLUMN, pa.array(values, pa.list_(pa.string())))
    return made.append_column(STATUS_COLUMN, pa.array(states, pa.int32()))


def _values(text: str, paths: Sequence[XmlPath]) -> tuple[list[str | None] | None, int]:
    root = _root(text)
    if root is None:
        return None, _INVALID
    found: list[str | None] = []
    for number, path in enumerate(paths):
        element: Element | None = root
        for name, position in path.elements:
            same = [child for child in element if _local(child.tag) == name] if element is not None else []
            if position is None and len(same) > 1:
                return None, SEVERAL + number
            element = same[position or 0] if len(same) > (position or 0) else None
        found.append(None if element is None else _text(element, path.attribute))
    return found, 0


def _text(element: Element, attribute: str | None) -> str | None:
    if attribute is None:
        return "".join(element.itertext())
    return next((value for key, value in element.attrib.items() if _local(key) == attribute), None)


def _local(tag: object) -> str:
    """The name without its namespace; comments and instructions have none."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _root(text: str) -> Element | None:
    """The root element, or None for a text that is no XML or has a DOCTYPE."""
    from xml.etree.ElementTree import ParseError, TreeBuilder, XMLParser

    class Refusing(TreeBuilder):
        def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
            raise ParseError("a DOCTYPE")

    parser = XMLParser(target=Refusing())  # noqa: S314  expat follows no external entity, and DOCTYPE is refused
    try:
        parser.feed(text)
        root: Element = parser.close()
    except (ParseError, ValueError):
        return None
    return root
