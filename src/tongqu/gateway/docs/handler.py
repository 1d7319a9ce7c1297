"""`/openapi…` and `/docs…`: documents for the caller, and the pages to read them and to try the APIs out."""

from __future__ import annotations

import re
from hashlib import blake2b
from urllib.parse import parse_qsl

from tongqu.gateway.docs.assets import asset
from tongqu.gateway.docs.documents import Documents, Wish
from tongqu.gateway.docs.pages import POLICY, docs_page, problems_page
from tongqu.gateway.exchange import Headers, Reply, Request
from tongqu.gateway.problems import Problem
from tongqu.kit.serving.texts import dumps

_ADDRESS = re.compile(r"/openapi/(v[0-9]{1,4}(?:-draft)?)\.((?:asyncapi|postman)\.)?json")
_VARY = ("vary", "Accept-Language, Authorization, Cookie, X-API-Key")


class DocsHandler:
    """`/openapi` lists versions, `/openapi/{version}.json`, `….asyncapi.json` and `….postman.json` are documents.
    `/docs` and `/docs/problems` are pages, `/docs/assets/…` what they load. A caller is only told of what it may use.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def handle(self, request: Request) -> Reply:
        """The answer; raises Problem."""
        if request.method not in ("GET", "HEAD"):
            raise Problem("method.refused", headers=[("allow", "GET, HEAD")])
        request.notes.action = "describe"
        reply = self._page(request) if request.path.startswith("/docs") else await self._document(request)
        if request.method == "HEAD":
            reply.body = b""
        return reply

    async def _document(self, request: Request) -> Reply:
        if request.path == "/openapi":
            return _json(self._documents.index(request.publication, request.actor, request.language))
        match = _ADDRESS.fullmatch(request.path)
        if match is None:
            raise Problem("path.unknown")
        version, format = match[1], (match[2] or "openapi.").removesuffix(".")
        address = f"{request.scheme}://{request.host}"
        wish = Wish(version, format, request.language, address)
        found = await self._documents.document(request.publication, request.actor, wish)
        request.notes.version = version
        return _json(found)

    @staticmethod
    def _page(request: Request) -> Reply:
        language = dict(parse_qsl(request.query)).get("lang", request.language)
        language = language if language in ("zh", "en") else request.language
        name = request.path.removeprefix("/docs").strip("/")
        if name.startswith("assets/"):
            return _asset(request, name.removeprefix("assets/"))
        pages = {"": docs_page, "problems": problems_page}
        if name not in pages:
            raise Problem("path.unknown")
        headers: Headers = [
            ("content-type", "text/html; charset=utf-8"), ("content-security-policy", POLICY),
            ("cache-control", "no-cache"), ("vary", "Accept-Language"),
        ]  # fmt: skip
        return Reply(200, headers, pages[name](language))


def _asset(request: Request, name: str) -> Reply:
    found = asset(name)
    if found is None:
        raise Problem("path.unknown")
    media, plain, packed = found
    tag = f'"{blake2b(plain, digest_size=12).hexdigest()}"'
    headers: Headers = [
        ("content-type", media), ("cache-control", "public, max-age=3600"), ("etag", tag), ("vary", "Accept-Encoding"),
    ]  # fmt: skip
    if tag in request.headers.get("if-none-match", ""):
        return Reply(304, headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Reply(200, [*headers, ("content-encoding", "gzip")], packed)
    return Reply(200, headers, plain)


def _json(document: object) -> Reply:
    headers: Headers = [("content-type", "application/json"), ("cache-control", "private, no-cache"), _VARY]
    return Reply(200, headers, dumps(document))
