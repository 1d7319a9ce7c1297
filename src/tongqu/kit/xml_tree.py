"""XML documents that systems describe themselves with, as a tree: no document types, no entities, bounded depth."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from tongqu.core.errors import AnswerError

MAX_BYTES = 64 << 20
_DEEPEST = 100


def tree(body: bytes, where: str) -> Element:
    """The root element; names as in ElementTree (`{namespace}name`).

    Raises AnswerError for what is no well-formed XML, has a document type (so no entity can be defined, none is ever
    followed), nests deeper than 100 elements or is larger than 64 MiB. `where` says in errors what the document is.
    """
    if len(body) > MAX_BYTES:
        raise AnswerError(f"{where} is larger than {MAX_BYTES >> 20} MiB", path=where)
    builder = TreeBuilder()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise AnswerError(f"{where} nests deeper than {_DEEPEST} elements", path=where)
        builder.start(_name(name), {_name(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_name(name))

    def refuse(name: str, *_: Any) -> None:
        raise AnswerError(
            f"{where} has a document type {name!r}, which is refused: it could define entities", path=where,
            hint="is the address right? A page for people, or an attack, begins like this",
        )  # fmt: skip

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        begins = body[:60].decode("utf-8", "replace")
        raise AnswerError(
            f"{where} is no XML: line {error.lineno}: {expat.ErrorString(error.code)}", path=where,
            hint=f"it begins {begins!r}",
        ) from error  # fmt: skip
    return builder.close()


def local(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def _name(name: str) -> str:
    return "{" + name if "}" in name else name
