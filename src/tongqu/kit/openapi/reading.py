"""Gets the document of an API from a file or an address, and the lists that it describes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tongqu.core.errors import InvalidSettingsError, NotFoundError
from tongqu.kit.http.call import Call
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.openapi.document import LONGEST, Document
from tongqu.kit.openapi.lists import Found, lists
from tongqu.kit.openapi.parts import gathered
from tongqu.kit.openapi.postman import collection


class Described(NamedTuple):
    """What a document tells of its API."""

    base_url: str
    found: list[Found]
    document: Document | None
    """None for a Postman collection."""


def described(*, openapi: str = "", postman: str = "", http: HttpSettings | None = None) -> Described:
    """The base URL and the operations of a document, of which one is named. `http` tells how an address is called.

    Raises NotFoundError for a missing file, InvalidSettingsError for what is no such document, and what the call
    raises.
    """
    if openapi:
        document = gathered(text_of(openapi, http), openapi, lambda address: text_of(address, http))
        return Described(document.base_url(), lists(document), document)
    return Described(*collection(text_of(postman, http), postman.partition("?")[0]), None)


def text_of(place: str, http: HttpSettings | None = None) -> bytes:
    """The text at a path or address; see `described`."""
    if place.startswith(("http://", "https://")):
        client = Http(http if http is not None and http.base_url else HttpSettings.parse({"base_url": place}))
        try:
            accepts = {"Accept": "application/json, application/yaml, */*;q=0.5"}
            return client.send(Call("GET", place, headers=accepts)).content
        finally:
            client.close()
    path = Path(place)
    if not path.is_file():
        raise NotFoundError(f"there is no file {place}", path=place, hint="name a file or a URL")
    if path.stat().st_size > LONGEST:
        raise InvalidSettingsError(f"{place} is longer than {LONGEST >> 20} MiB", path=place)
    return path.read_bytes()
