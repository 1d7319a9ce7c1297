"""XML that a place answers with, as a small tree; no document types, no entities, bounded depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from tongqu.core.errors import AnswerError

_DEEPEST = 50


@dataclass
class Node:
    """An element; `name` without its namespace."""

    name: str
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def all(self, name: str) -> list[Node]:
        """The children of that name."""
        return [child for child in self.children if child.name == name]

    def find(self, *path: str) -> Node | None:
        """The first element down a path of names."""
        here: Node | None = self
        for name in path:
            here = next(iter(here.all(name)), None) if here is not None else None
        return here

    def value(self, *path: str) -> str:
        """The text down a path of names; empty if there is none."""
        found = self.find(*path)
        return found.text.strip() if found is not None else ""

    def everywhere(self, name: str) -> Iterator[Node]:
        """All elements of that name below."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.everywhere(name)


def parse(data: bytes, shown: str) -> Node:
    """The root element; raises AnswerError for what is no XML, has a document type or is nested too deep."""
    top = Node("")
    open_: list[Node] = [top]
    parser = expat.ParserCreate(namespace_separator=" ")

    def start(name: str, _: Any) -> None:
        node = Node(name.rpartition(" ")[2])
        open_[-1].children.append(node)
        open_.append(node)
        if len(open_) > _DEEPEST:
            raise AnswerError(f"{shown}: the answer is nested too deep")

    def end(_: str) -> None:
        open_.pop()

    def text(data: str) -> None:
        open_[-1].text += data

    def refuse(*_: Any) -> None:
        raise AnswerError(f"{shown}: the answer has a document type, which is refused")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise AnswerError(f"{shown}: the answer is no XML: {error}", path=shown) from error
    return top.children[0]
