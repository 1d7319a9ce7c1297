"""`/soap/{version}/{name}`: the description at `?wsdl`, and messages."""

from __future__ import annotations

from tongqu.gateway.etags import Tags
from tongqu.gateway.exchange import Headers, Reply, Request
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.reading import Reader
from tongqu.gateway.settings import SizesEntry
from tongqu.gateway.shield.bodies import unpacked, xml_body
from tongqu.gateway.soap.envelope import Message, check_action, local, media_of, message_of
from tongqu.gateway.soap.faults import envelope, fault
from tongqu.gateway.soap.operations import Call, Services, answered
from tongqu.gateway.soap.rows import escaped
from tongqu.gateway.soap.security import CHECKED, INSIDE_BYTES, Callers, secured
from tongqu.gateway.soap.shapes import Shape, shape_of
from tongqu.gateway.soap.words import ADDRESSING, MEDIA, SOAP11, Version, namespace
from tongqu.gateway.soap.wsdl import action, wsdl
from tongqu.gateway.writing import Writer

_CHALLENGES: Headers = [("www-authenticate", 'Bearer realm="tongqu"'), ("www-authenticate", 'Basic realm="tongqu"')]


class SoapHandler:
    """Published SOAP. `callers` judges WS-Security beside other credentials, `tags` makes entity tags, `sizes` bounds
    bodies, `keep` is for how many seconds idempotency keys are remembered."""

    prefix = "/soap"

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        callers: Callers,
        *,
        tags: Tags,
        sizes: SizesEntry | None = None,
        keep: int = 86_400,
    ) -> None:
        self._services = Services(reader, writer, tags, keep)
        self._callers = callers
        self._sizes = sizes or SizesEntry()

    async def handle(self, request: Request) -> Reply:
        """The answer; refusals of messages are faults. Raises Problem for what is no message."""
        if request.method == "GET" and request.query.lower() in ("wsdl", "singlewsdl"):
            return self._describe(request)
        if request.method != "POST":
            raise Problem(
                "method.refused", "messages are sent by POST, ?wsdl describes them", headers=[("allow", "POST, GET")]
            )
        media = media_of(request.headers.get("content-type", ""))
        api = _api(request)
        limit = self._sizes.body_bytes if request.actor.known else min(self._sizes.body_bytes, INSIDE_BYTES)
        sent = await request.body(limit)
        plain = unpacked(sent, request.headers.get("content-encoding", ""), limit, self._sizes)
        message = message_of(xml_body(plain, self._sizes), media)
        self._check_credentials(request, message)
        relates = message.addressed.get("MessageID", "")
        try:
            if api is None:
                raise Problem("api.unknown" if request.actor.known else "auth.missing")
            shape = shape_of(api, request.actor)
            if len(plain) > api.entry.limit.body_kb << 10:
                raise Problem("body.too_large")
            return await self._done(request, shape, message, media.action or request.headers.get("soapaction", ""))
        except Problem as problem:
            return self.refusal(problem, request, relates=relates)

    def refusal(self, problem: Problem, request: Request, *, relates: str = "") -> Reply:
        """Any refusal under this prefix as a fault of the version that the caller speaks."""
        reply = fault(problem, request, _version(request), relates=relates)
        if reply.status == 401:
            reply.headers = [pair for pair in reply.headers if pair[0] != "www-authenticate"] + _CHALLENGES
        if request.method == "HEAD":
            reply.body = b""
        return reply

    def _check_credentials(self, request: Request, message: Message) -> None:
        """What stands in the message must not speak of another caller than the one who is known already."""
        if message.security is None or CHECKED in request.notes.more:
            return
        found = secured(self._callers, request, message)
        if found is not None and found.id != request.actor.id:
            raise Problem("auth.ambiguous")

    async def _done(self, request: Request, shape: Shape, message: Message, told: str) -> Reply:
        api = shape.api
        request.notes.api, request.notes.version = api.name, api.version
        space, name = namespace(api), local(message.operation)
        if message.operation.tag != f"{{{space}}}{name}" or name not in shape.operations:
            raise Problem("body.invalid", f"there is no operation {name[:64]!r} in {space}: ?wsdl lists them")
        check_action(message, told, (name, action(space, name)))
        body = await answered(Call(request, shape, message, name), self._services)
        content = envelope(message.version, body, _addressed(message, action(space, name)))
        request.notes.bytes = len(content)
        media = f"{message.version.media}; charset=utf-8"
        return Reply(200, [("content-type", media), ("cache-control", "private, no-store")], content)

    @staticmethod
    def _describe(request: Request) -> Reply:
        api = _api(request)
        if api is None:
            raise Problem("api.unknown" if request.actor.known else "auth.missing")
        shape = shape_of(api, request.actor)
        request.notes.api, request.notes.version, request.notes.action = api.name, api.version, "describe"
        host = request.host or request.headers.get("host", "")
        content = wsdl(shape, f"{request.scheme}://{host}/soap/{api.version}/{api.name}")
        headers = [("content-type", "text/xml; charset=utf-8"), ("cache-control", "private, no-store"),
                   ("vary", "Authorization")]  # fmt: skip
        return Reply(200, headers, content)


def _api(request: Request) -> Api | None:
    """The API that the address names, if it speaks SOAP; raises Problem `version.gone`."""
    parts = request.path.split("/")
    if len(parts) != 4:
        return None
    version, name = parts[2], parts[3]
    if sunset := request.publication.gone.get((version, name)):
        raise Problem("version.gone", headers=[("sunset", sunset)])
    api = request.publication.api(version, name)
    return api if api is not None and "soap" in api.entry.protocols else None


def _version(request: Request) -> Version:
    return MEDIA.get(request.headers.get("content-type", "").partition(";")[0].strip().lower(), SOAP11)


def _addressed(message: Message, name: str) -> str:
    told = message.addressed.get("MessageID", "")
    if not told:
        return ""
    return (
        f'<a:Action xmlns:a="{ADDRESSING}">{escaped(name)}Response</a:Action>'
        f'<a:RelatesTo xmlns:a="{ADDRESSING}">{escaped(told)}</a:RelatesTo>'
    )
