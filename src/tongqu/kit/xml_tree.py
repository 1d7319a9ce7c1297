"""XML documents that systems describe themselves with, as a tree: no document types, no entities, bounded depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from tongqu.core.errors import AnswerError

MAX_BYTES = 64 << 20
_DEEPEST = 100
_MOST = 2_000_000


class Element(ElementTree.Element):
    """An element of ElementTree (names as `{namespace}name`) that can be asked by plain names, and knows its prefixes.

    What an element does not hold in its own namespace is seldom meant in descriptions: plain names find any.
    """

    known: Mapping[str, str] = MappingProxyType({})
    """The prefixes that hold in it, with their namespaces."""

    @property
    def name(self) -> str:
        """Its name without namespace."""
        return local(self.tag)

    @property
    def space(self) -> str:
        """Its namespace; empty for none."""
        return self.tag[1:].rpartition("}")[0]

    @property
    def children(self) -> list[Element]:
        """The elements in it."""
        return [one for one in self if isinstance(one, Element)]

    def value(self, name: str) -> str:
        """An attribute by its plain name; empty if it is not there."""
        held = self.get(name)
        return held if held is not None else next((v for k, v in self.attrib.items() if local(k) == name), "")

    def all(self, *names: str) -> Iterator[Element]:
        """The children of one of these plain names."""
        return (child for child in self if isinstance(child, Element) and child.name in names)

    def first(self, *path: str) -> Element | None:
        """The first element down a path of plain names."""
        here: Element | None = self
        for name in path:
            here = next(here.all(name), None) if here is not None else None
        return here

    def everywhere(self, name: str) -> Iterator[Element]:
        """All elements of that plain name below."""
        return (one for one in self.iter() if one is not self and isinstance(one, Element) and one.name == name)

    def qualified(self, text: str) -> tuple[str, str]:
        """The namespace and the name that a `prefix:name` in this element means."""
        prefix, colon, name = text.strip().rpartition(":")
        return self.known.get(prefix if colon else "", ""), name

    def said(self) -> str:
        """All text in it."""
        return " ".join(part for one in self.iter() if (part := (one.text or ""))).strip()


def tree(body: bytes, where: str) -> Element:
    """The root element.

    Raises AnswerError for what is no well-formed XML, has a document type (so no entity can be defined, none is ever
    followed), nests deeper than 100 elements, has more than two million of them or is larger than 64 MiB. `where` says
    in errors what the document is.
    """
    if len(body) > MAX_BYTES:
        raise AnswerError(f"{where} is larger than {MAX_BYTES >> 20} MiB", path=where)
    builder = ElementTree.TreeBuilder(element_factory=Element)
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    known: list[Mapping[str, str]] = [MappingProxyType({})]
    fresh: dict[str, str] = {}
    count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(known) > _DEEPEST:
            raise AnswerError(f"{where} nests deeper than {_DEEPEST} elements", path=where)
        if count > _MOST:
            raise AnswerError(f"{where} has more than {_MOST:,} elements", path=where)
        element: Any = builder.start(_name(name), {_name(key): value for key, value in attributes.items()})
        known.append({**known[-1], **fresh} if fresh else known[-1])
        fresh.clear()
        element.known = known[-1]

    def end(name: str) -> None:
        known.pop()
        builder.end(_name(name))

    def prefix(name: str | None, uri: str | None) -> None:
        fresh[name or ""] = uri or ""

    def refuse(name: str, *_: Any) -> None:
        raise AnswerError(
            f"{where} has a document type {name!r}, which is refused: it could define entities", path=where,
            hint="is the address right? A page for people, or an attack, begins like this",
        )  # fmt: skip

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartNamespaceDeclHandler, parser.StartDoctypeDeclHandler = prefix, refuse
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        begins = body[:60].decode("utf-8", "replace")
        raise AnswerError(
            f"{where} is no XML: line {error.lineno}: {expat.ErrorString(error.code)}", path=where,
            hint=f"it begins {begins!r}",
        ) from error  # fmt: skip
    root: Any = builder.close()
    return root if isinstance(root, Element) else Element(root.tag)


def local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def _name(name: str) -> str:
    return "{" + name if "}" in name else name
