"""What a document says of how its API is called with credentials, as the settings `auth` of a connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

from tongqu.kit.openapi.document import Document, as_mapping
from tongqu.kit.openapi.vocabulary import plain

_SIGNATURE = re.compile(r"^x?(sign|signature)\b|\bhmac|签名", re.IGNORECASE)


def auth(document: Document, secret: str) -> dict[str, Any]:
    """`auth` in a project's plain values, for the first way that the document requires and that can be written down:
    API key, Basic, bearer, OAuth 2 client credentials. The secret is the reference `secret`; other values that only
    the system's owner knows are `…`. Empty if calls may go without credentials, or need them in ways that have to be
    written by hand (`required` tells these apart).
    """
    schemes = _schemes(document) if required(document) else {}
    for requirement in _requirements(document):
        made = [_one(document, as_mapping(document.resolved(schemes.get(name))), secret) for name in requirement]
        if made and all(made):
            return {kind: settings for one in made for kind, settings in one.items()}
    return {}


def required(document: Document) -> list[str]:
    """The names of the schemes that calls must be authenticated by, without doubles; none if calls may go without."""
    wanted = _requirements(document)
    if any(not one for one in wanted):
        return []
    return list(dict.fromkeys(name for one in wanted for name in one))


def _schemes(document: Document) -> Mapping[str, Any]:
    if document.old:
        return as_mapping(document.raw.get("securityDefinitions"))
    return as_mapping(as_mapping(document.raw.get("components")).get("securitySchemes"))


def _requirements(document: Document) -> list[Mapping[str, Any]]:
    """The alternatives of the whole API, else those of the first operation that names some."""
    for raw in (document.raw, *(one.raw for one in document.operations())):
        listed = raw.get("security")
        if isinstance(listed, list) and listed:
            return [as_mapping(one) for one in listed]
    return []


def _one(document: Document, scheme: Mapping[str, Any], secret: str) -> dict[str, Any]:
    kind, way = str(scheme.get("type") or ""), str(scheme.get("scheme") or "").lower()
    if kind == "http" and way == "bearer":
        return {"bearer": secret}
    if kind == "basic" or (kind == "http" and way == "basic"):
        return {"basic": {"user": "…", "password": secret}}
    said = f"{plain(str(scheme.get('name') or ''))} {scheme.get('description') or ''}"
    if kind == "apiKey" and _SIGNATURE.search(said):
        return {}  # it is made for each call, and is no key
    if kind == "apiKey" and scheme.get("name") and scheme.get("in") in ("header", "query", "cookie"):
        return {"api_key": {"name": str(scheme["name"]), "in": str(scheme["in"]), "value": secret}}
    flow = as_mapping(as_mapping(scheme.get("flows")).get("clientCredentials"))
    if document.old and scheme.get("flow") == "application":
        flow = scheme
    if kind == "oauth2" and flow.get("tokenUrl"):
        address = urljoin(f"{document.base_url()}/", str(flow["tokenUrl"]))
        return {"oauth2": {"token_url": address, "client_id": "…", "client_secret": secret}}
    return {}
