"""XML as a tree with names and namespaces; no document types, no entities, bounded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from tongqu.core.errors import InvalidSettingsError

_DEEPEST = 200
_MOST = 2_000_000


@dataclass(eq=False)
class Element:
    """An element; `name` without its namespace, `known` the prefixes that hold in it."""

    space: str
    name: str
    attributes: dict[str, str]
    known: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, *names: str) -> Iterator[Element]:
        """The children of one of these names."""
        return (child for child in self.children if child.name in names)

    def first(self, *path: str) -> Element | None:
        """The first element down a path of names."""
        here: Element | None = self
        for name in path:
            here = next(here.all(name), None) if here is not None else None
        return here

    def get(self, name: str) -> str:
        """An attribute; empty if it is not there."""
        return self.attributes.get(name, "")

    def qualified(self, text: str) -> tuple[str, str]:
        """The namespace and the name that a `prefix:name` in this element means."""
        prefix, colon, name = text.strip().rpartition(":")
        return self.known.get(prefix if colon else "", ""), name

    def everywhere(self, name: str) -> Iterator[Element]:
        """All elements of that name below."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.everywhere(name)

    def said(self) -> str:
        """All text in it."""
        return " ".join((self.text, *(child.said() for child in self.children))).strip()


def tree(data: bytes, where: str) -> Element:
    """The root element; raises InvalidSettingsError for what is no XML, has a document type, nests deeper than 200
    elements or has more than two million of them."""
    top = Element("", "", {}, {})
    open_ = [top]
    count = 0
    fresh: dict[str, str] = {}
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count, fresh
        count += 1
        if len(open_) > _DEEPEST or count > _MOST:
            raise InvalidSettingsError(f"{where} is nested too deep or too large", path=where)
        space, _, own = name.rpartition(" ")
        above = open_[-1]
        plain = {key.rpartition(" ")[2]: value for key, value in attributes.items()}
        element = Element(space, own, plain, {**above.known, **fresh} if fresh else above.known)
        fresh = {}
        above.children.append(element)
        open_.append(element)

    def end(_: str) -> None:
        open_.pop()

    def text(data: str) -> None:
        open_[-1].text += data

    def prefix(name: str | None, uri: str | None) -> None:
        fresh[name or ""] = uri or ""

    def refuse(*_: object) -> None:
        raise InvalidSettingsError(f"{where} has a document type, which is refused", path=where)

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartNamespaceDeclHandler, parser.StartDoctypeDeclHandler = prefix, refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise InvalidSettingsError(f"{where} is no XML: {error}", path=where) from error
    return top.children[0]
