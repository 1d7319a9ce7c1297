"""Documents in several files: what a document refers to beside itself is read with it, and nothing further away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from tongqu.core.errors import TongquError
from tongqu.kit.openapi.document import Document, parsed_text, read_document

_MOST = 100
_ENDINGS = (".json", ".yaml", ".yml")
Load = Callable[[str], bytes]


def gathered(text: bytes, place: str, load: Load) -> Document:
    """The document of a text that came from a file or address, with those that it refers to and they in turn.

    What a document refers to is data: only files in the document's own folder and below are opened, and addresses on
    its own host and port, at most 100. `load` gives their texts. What cannot be read stays a reference out of the
    document. Raises InvalidSettingsError for a text that is no OpenAPI document.
    """
    web = place.startswith(("http://", "https://"))
    base = place.partition("?")[0].partition("#")[0] if web else Path(place).resolve().as_posix()
    shown = place.partition("?")[0] if web else place
    root = read_document(text, shown)
    raw = _absolute(root.raw, base, base)
    others: dict[str, Any] = {}
    waiting = list(_addresses(raw))
    while waiting and len(others) < _MOST:
        address = waiting.pop()
        if address in others or not _near(address, base, web=web):
            continue
        try:
            others[address] = _absolute(parsed_text(load(address), address), address, base)
        except TongquError:
            continue
        waiting += _addresses(others[address])
    return Document(raw, shown, others)


def _near(address: str, base: str, *, web: bool) -> bool:
    """Whether a document may lead there."""
    if web:
        here, there = urlsplit(base), urlsplit(address)
        return (here.scheme, here.netloc) == (there.scheme, there.netloc)
    path = Path(address).resolve() if not urlsplit(address).scheme else Path("/")
    return path.suffix.lower() in _ENDINGS and path.is_relative_to(Path(base).parent)


def _absolute(node: Any, here: str, root: str) -> Any:
    """A copy whose references name their document wholly; those into the root document begin with `#`."""
    if isinstance(node, list):
        return [_absolute(one, here, root) for one in node]
    if not isinstance(node, Mapping):
        return node
    made = {str(name): _absolute(held, here, root) for name, held in node.items()}
    reference = made.get("$ref")
    if isinstance(reference, str):
        place, mark, fragment = reference.partition("#")
        address = urljoin(here, place) if place else here
        made["$ref"] = f"#{fragment}" if address == root else f"{address}{mark}{fragment}"
    return made


def _addresses(node: Any) -> Iterator[str]:
    """The documents that references in a node name."""
    for held in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from _addresses(held)
    reference = node.get("$ref") if isinstance(node, Mapping) else None
    if isinstance(reference, str) and (place := reference.partition("#")[0]):
        yield place
