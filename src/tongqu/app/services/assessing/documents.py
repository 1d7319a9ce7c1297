"""Gets the vendor's document that is assessed, with what it imports, and remembers the last one that was looked at."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tongqu.core.errors import InvalidSettingsError, NotFoundError, WriteError
from tongqu.kit import lasting
from tongqu.kit.openapi.document import LONGEST, read_document
from tongqu.kit.openapi.reading import text_of

if TYPE_CHECKING:
    from tongqu.catalog.assessing.shapes import Interface
    from tongqu.kit.http.settings import HttpSettings

_IMPORTED = (".xsd", ".wsdl", ".xml")


@dataclass(frozen=True)
class Paper:
    """A vendor's document with the texts that it imports. `kind`: openapi or wsdl; `where` is its file or address."""

    kind: str
    where: str
    text: bytes
    imports: Mapping[str, bytes] = field(default_factory=dict)

    def interface(self) -> Interface:
        """What it describes; raises InvalidSettingsError for what is no such document."""
        from tongqu.catalog.assessing import openapi, wsdl

        if self.kind == "openapi":
            return openapi.interface_of(read_document(self.text, self.where))
        return wsdl.interface_of(self.text, self.where, self._imported)

    def base_url(self) -> str:
        """The address that an OpenAPI document names; empty if none is told."""
        return read_document(self.text, self.where).base_url() if self.kind == "openapi" else ""

    def _imported(self, address: str) -> bytes:
        if address not in self.imports:
            raise NotFoundError(f"{address} was not read", path=address)
        return self.imports[address]


def paper(kind: str, place: str, http: HttpSettings | None = None) -> Paper:
    """The document at a file or address, with its imports. `http` tells how an address is called.

    Files are imported only from beside or around a file, and only where their names end as XML does; addresses in a
    document are data, and bound by the egress rules. What cannot be read is left out, and the assessment says so.
    Raises NotFoundError, InvalidSettingsError and what the call raises.
    """
    text = text_of(place, http)
    shown = place.partition("?")[0].partition("#")[0]
    if kind == "openapi":
        return Paper(kind, shown, text)
    from tongqu.catalog.assessing import wsdl

    imports: dict[str, bytes] = {}
    remote = place.startswith(("http://", "https://"))
    load = _from_web(http, place) if remote else _from_files()

    def kept(address: str) -> bytes:
        imports[address] = load(address)
        return imports[address]

    wsdl.interface_of(text, place if remote else str(Path(place).absolute()), kept)
    return Paper(kind, shown if remote else str(Path(place).absolute()), text, imports)


def _from_files() -> Callable[[str], bytes]:
    def load(address: str) -> bytes:
        path = Path(address)
        if urlsplit(address).scheme or path.suffix.lower() not in _IMPORTED or not path.is_file():
            raise NotFoundError(f"{address} is not there, or may not be imported", path=address)
        if path.stat().st_size > LONGEST:
            raise InvalidSettingsError(f"{address} is longer than {LONGEST >> 20} MiB", path=address)
        return path.read_bytes()

    return load


def _from_web(http: HttpSettings | None, place: str) -> Callable[[str], bytes]:
    from tongqu.kit.http.call import Call, Grant
    from tongqu.kit.http.client import Http
    from tongqu.kit.http.settings import HttpSettings

    settings = http if http is not None and http.base_url else HttpSettings.parse({"base_url": place})

    def load(address: str) -> bytes:
        if not address.startswith(("http://", "https://")):
            raise NotFoundError(f"{address} may not be imported", path=address)
        client = Http(settings)
        try:
            return client.send(Call("GET", address, grant=Grant.DATA)).content
        finally:
            client.close()

    return load


@dataclass(frozen=True)
class Remembered:
    """The last document of each place, in the project's home."""

    folder: Path

    def _path(self, place: str) -> Path:
        whole = place if place.startswith(("http://", "https://")) else str(Path(place).absolute())
        return self.folder / hashlib.sha256(whole.encode()).hexdigest()[:16] / "last.json"

    def last(self, place: str) -> tuple[str, Paper] | None:
        """When it was looked at last, and what it said; None if it never was. Raises InvalidSettingsError if what is
        there is damaged."""
        path = self._path(place)
        if not path.is_file():
            return None
        try:
            held: dict[str, Any] = json.loads(path.read_bytes())
            imports = {name: base64.b64decode(text) for name, text in held["imports"].items()}
            return held["at"], Paper(held["kind"], held["where"], base64.b64decode(held["text"]), imports)
        except (ValueError, KeyError, AttributeError) as error:
            raise InvalidSettingsError(f"{path} is damaged: {error}", path=str(path), hint="remove it") from error

    def keep(self, place: str, found: Paper, at: str) -> None:
        """Make it the last one; readable by its owner only. Raises WriteError."""
        path = self._path(place)
        held = {
            "at": at,
            "kind": found.kind,
            "where": found.where,
            "text": base64.b64encode(found.text).decode(),
            "imports": {name: base64.b64encode(text).decode() for name, text in found.imports.items()},
        }
        try:
            lasting.make_folder(path.parent, 0o700)
            lasting.put(path, json.dumps(held).encode(), 0o600)
        except OSError as error:
            raise WriteError(f"the document cannot be kept: {error.strerror}", path=str(path)) from error
