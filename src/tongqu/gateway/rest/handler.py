"""`/api/{version}/{name}` and `/api/{version}/{name}/{key}`: which API, which row, which method."""

from __future__ import annotations

from tongqu.gateway.etags import Tags
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.policy.decision import Action
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.reading import Reader, decided
from tongqu.gateway.rest.reads import got
from tongqu.gateway.rest.writes import wrote
from tongqu.gateway.settings import SizesEntry
from tongqu.gateway.writing import Writer

_ACTIONS: dict[str, Action] = {
    "GET": "read", "HEAD": "read", "OPTIONS": "read", "POST": "insert", "PATCH": "update", "PUT": "update",
    "DELETE": "delete",
}  # fmt: skip
KEEP_SECONDS = 86_400
"""How long an Idempotency-Key is remembered."""


class RestHandler:
    """Published REST. `tags` makes entity tags, `sizes` bounds bodies, `keep` is how long keys are remembered."""

    prefix = "/api"

    def __init__(
        self, reader: Reader, writer: Writer, tags: Tags, sizes: SizesEntry | None = None, *, keep: int = KEEP_SECONDS
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._tags = tags
        self._sizes = sizes or SizesEntry()
        self._keep = keep

    async def handle(self, request: Request) -> Reply:
        """The answer; raises Problem. An API that is not there, that is not published for REST, or that the caller has
        no right to, is the same `api.unknown`."""
        api, segment = _route(request)
        request.notes.api, request.notes.version = api.name, api.version
        decision = decided(api, request.actor, _ACTIONS.get(request.method, "read"))
        if request.method in ("GET", "HEAD"):
            return await got(request, api, segment, decision, reader=self._reader, tags=self._tags)
        if request.method == "OPTIONS":
            request.notes.action = "options"
            return Reply(204, [("allow", ", ".join(_allowed(api, request, segment)))])
        if request.method not in _ACTIONS:
            raise Problem("method.refused", headers=[("allow", ", ".join(_allowed(api, request, segment)))])
        try:
            return await wrote(request, api, segment, self._writer, tags=self._tags, sizes=self._sizes, keep=self._keep)
        except Problem as problem:
            if problem.code == "method.refused":
                problem.headers.append(("allow", ", ".join(_allowed(api, request, segment))))
            raise


def _route(request: Request) -> tuple[Api, str | None]:
    """The API, and the key's part of the address as it came, still encoded."""
    target = (request.target or request.path).partition("?")[0]
    parts = request.path.split("/", 4)
    raw = target.split("/")
    if len(parts) < 4 or len(raw) > 5:
        raise Problem("api.unknown")
    version, name = parts[2], parts[3]
    if sunset := request.publication.gone.get((version, name)):
        raise Problem("version.gone", headers=[("sunset", sunset)])
    api = request.publication.api(version, name)
    if api is None or "rest" not in api.entry.protocols:
        raise Problem("auth.missing" if not request.actor.known else "api.unknown")
    return api, (raw[4] or None) if len(raw) > 4 else None


def _allowed(api: Api, request: Request, segment: str | None) -> list[str]:
    """The methods that the API and the caller's rights allow here."""
    write = api.entry.write

    def may(open_to: bool, *actions: Action) -> bool:
        return open_to and all(api.policy.decide(request.actor, action).allowed for action in actions)

    methods = ["GET", "HEAD", "OPTIONS"]
    if segment is None and may(write.insert, "insert"):
        methods.append("POST")
    if may(write.update, "update"):
        methods.append("PATCH")
    if may(write.insert and write.update, "insert", "update"):
        methods.append("PUT")
    if may(write.delete, "delete"):
        methods.append("DELETE")
    return methods
