"""`/live/{version}/{name}`: the rows that change, as server-sent events or over a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tongqu.gateway.asking import Ask
from tongqu.gateway.cloudevents import CloudEvent
from tongqu.gateway.exchange import Reply, Request, Socket
from tongqu.gateway.live.hub import Hub, Subscription, Told
from tongqu.gateway.problems import Kind, Problem, declare
from tongqu.gateway.publication import Api
from tongqu.gateway.rest.query import words
from tongqu.gateway.stages import Admission, Identify, NoLimits

RETRY_MS = 2000
_ENVELOPE = "envelope=cloudevents"
"""The preference by which server-sent events are CloudEvents."""
GREETING_SECONDS = 10.0
"""How long a WebSocket may be without a subscription, whatever it says meanwhile."""
MOST_SUBSCRIPTIONS = 50
_CLOSES = {
    "auth.missing": 4401, "auth.invalid": 4401, "auth.expired": 4401, "access.denied": 4403, "address.refused": 4403,
    "api.unknown": 4404, "live.ended": 1012, "overloaded": 1013, "limit.exceeded": 1013,
}  # fmt: skip
_LEAVING = 4400
declare({"message.malformed": Kind(400, "the message is malformed", "消息格式错误")})


class LiveHandler:
    """SSE for a GET, or a WebSocket whose messages are JSON objects (`docs/live.md`). Credentials come in a header, or
    in the first message of a WebSocket; never in the address."""

    lasting = True
    """What it answers goes on for hours and does not count among the requests that run at a time."""

    def __init__(self, hub: Hub, identify: Identify, admission: Callable[[], Admission] = NoLimits):
        self._hub = hub
        self._identify = identify
        self._admission = admission

    async def handle(self, request: Request) -> Reply:
        """Server-sent events; raises Problem."""
        if request.method != "GET":
            raise Problem("method.refused", headers=[("allow", "GET")])
        version, name = _address(request)
        request.notes.action = "follow"
        ask, after = asked(request.pairs(), self._arguments(request, version, name))
        mark = request.headers.get("last-event-id", "") or after
        subscription = await self._hub.subscribe(request, version, name, ask, mark)
        request.notes.action = "follow"
        headers = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-store"),
                   ("x-accel-buffering", "no"), ("vary", "Authorization, Prefer")]  # fmt: skip
        wrapped = _ENVELOPE in [word.strip().lower() for word in request.headers.get("prefer", "").split(",")]
        if wrapped:
            headers.append(("preference-applied", _ENVELOPE))
        return Reply(200, headers, Events(subscription, wrapped=wrapped))

    async def talk(self, request: Request, socket: Socket) -> None:
        """A WebSocket's conversation."""
        version, name = _address(request)
        if any(key in ("token", "access_token", "apikey", "api_key") for key, _ in request.pairs()):
            raise Problem("request.malformed", "credentials do not belong into the address")
        await socket.accept()
        request.notes.action = "follow"

        async def known(shown: Request) -> None:
            """Who a first message says it is, within the limits of that caller."""
            shown.actor = await self._identify.actor(shown)
            ticket = await self._admission().admit(shown, shown.publication.api(version, name))
            ticket.close(measured=False)

        talk = _Talk(self._hub, known, request, socket, (version, name))
        await talk.hold(self._arguments(request, version, name))

    @staticmethod
    def _arguments(request: Request, version: str, name: str) -> Sequence[str]:
        api: Api | None = request.publication.api(version, name)
        return () if api is None else tuple(api.parameters)


class Events:
    """A subscription as the pieces of an event stream; it is left when the stream is closed."""

    def __init__(self, subscription: Subscription, *, wrapped: bool = False):
        """`wrapped`: changes come as CloudEvents."""
        self._subscription = subscription
        self._wrapped = wrapped
        self._begun = False
        self._over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next events, or a comment that keeps the connection alive."""
        if self._over:
            raise StopAsyncIteration
        if not self._begun:
            self._begun = True
            mark = self._subscription.mark()
            return f'retry: {RETRY_MS}\nid: {mark}\nevent: subscribed\ndata: {{"position":"{mark}"}}\n\n'.encode()
        try:
            told = await self._subscription.next()
        except Problem as problem:
            self._over = True
            self._subscription.leave()
            data = orjson.dumps({"code": problem.code, "retryable": problem.kind.retryable})
            return b"event: ended\ndata: " + data + b"\n\n"
        if self._wrapped:
            told = [replace(one, body=_wrapped(one, self._subscription)) for one in told]
        return b"".join(_event(one) for one in told) or b": still here\n\n"

    async def aclose(self) -> None:
        """Nobody listens any more."""
        self._over = True
        self._subscription.leave()


def _wrapped(told: Told, subscription: Subscription) -> bytes:
    """A change as a CloudEvent whose id is where to resume; what is no change stays as it is."""
    if not told.body:
        return told.body
    path = "/api/" + "/".join(subscription.address)
    return CloudEvent.of(told.mark, path, orjson.loads(told.body)).structured()


def _event(told: Told) -> bytes:
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (told.mark.encode(), told.kind.encode(), told.body or b"{}")


class _Talk:
    """One WebSocket with its subscriptions."""

    def __init__(
        self,
        hub: Hub,
        known: Callable[[Request], Awaitable[None]],
        request: Request,
        socket: Socket,
        address: tuple[str, str],
    ):
        self._hub = hub
        self._identified = known
        self._request = request
        self._socket = socket
        self._address = address
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._close: tuple[int, str] | None = None
        self._until: float | None = None

    async def hold(self, arguments: Sequence[str]) -> None:
        """Until one side leaves."""
        try:
            while self._close is None:
                text = await self._heard()
                if text is None:
                    break
                try:
                    await self._answer(text, arguments)
                except Problem as problem:
                    await self._refused("", problem)
        finally:
            for task in self._pumps.values():
                task.cancel()
            await asyncio.gather(*self._pumps.values(), return_exceptions=True)
        if self._close is not None:
            await self._socket.close(*self._close)

    async def _heard(self) -> str | None:
        if self._pumps:
            self._until = None
            return await self._socket.receive()
        if self._until is None:
            self._until = asyncio.get_running_loop().time() + GREETING_SECONDS
        try:
            async with asyncio.timeout_at(self._until):
                return await self._socket.receive()
        except TimeoutError:
            self._close = (_LEAVING, "nothing was subscribed")
            return None

    async def _answer(self, text: str, arguments: Sequence[str]) -> None:
        told = _object(text)
        kind, id = told.get("type"), told.get("id", "")
        if not isinstance(id, str) or len(id) > 64:
            raise Problem("message.malformed", "`id` is a text of at most 64 characters")
        if kind == "ping":
            await self._say({"type": "pong", "id": id})
        elif kind == "auth":
            await self._known(told)
        elif kind == "subscribe":
            await self._subscribed(id, told, arguments)
        elif kind == "unsubscribe":
            task = self._pumps.pop(id, None)
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await self._say({"type": "unsubscribed", "id": id})
        else:
            raise Problem("message.malformed", "`type` is auth, subscribe, unsubscribe or ping")

    async def _known(self, told: dict[str, Any]) -> None:
        token = told.get("token")
        if self._pumps or self._request.actor.known or not isinstance(token, str) or len(token) > 8192:
            raise Problem("message.malformed", "`auth` with a `token` comes first, and once")
        headers = {**self._request.headers, "authorization": f"Bearer {token}"}
        shown = replace(self._request, headers=headers)
        await self._identified(shown)
        self._request.actor = shown.actor
        self._request = shown
        await self._say({"type": "welcome"})

    async def _subscribed(self, id: str, told: dict[str, Any], arguments: Sequence[str]) -> None:
        query, mark, envelope = told.get("query", ""), told.get("after", ""), told.get("envelope", "")
        if envelope not in ("", "cloudevents"):
            raise Problem("message.malformed", "`envelope` is cloudevents, or left out")
        if id in self._pumps or not isinstance(query, str) or not isinstance(mark, str):
            raise Problem(
                "message.malformed", "a subscription has an `id` of its own, and texts as `query` and `after`"
            )
        if len(self._pumps) >= MOST_SUBSCRIPTIONS:
            raise Problem("overloaded", f"at most {MOST_SUBSCRIPTIONS} subscriptions of one connection")
        try:
            ask, after = asked(parse_qsl(query, keep_blank_values=True, max_num_fields=200), arguments)
            subscription = await self._hub.subscribe(self._request, *self._address, ask, mark or after)
        except Problem as problem:
            await self._refused(id, problem)
            return
        except ValueError:
            raise Problem("query.malformed") from None
        await self._say({"type": "subscribed", "id": id, "position": subscription.mark()})
        task = asyncio.get_running_loop().create_task(self._pump(id, subscription, wrapped=envelope == "cloudevents"))
        self._pumps[id] = task

    async def _pump(self, id: str, subscription: Subscription, *, wrapped: bool) -> None:
        """Tell what is new; sending waits while the caller is slow."""
        head = b'"id":' + orjson.dumps(id)
        try:
            while True:
                told = await subscription.next()
                if not told:
                    await self._socket.send('{"type":"ping"}')
                for one in told:
                    rest = b"," + one.body[1:] if one.body else b"}"
                    if wrapped and one.body:
                        rest = b',"event":' + _wrapped(one, subscription) + b"}"
                    mark = f'"position":"{one.mark}"'.encode()
                    start = b'{"type":"%s",%s,%s' % (one.kind.encode(), head, mark)
                    await self._socket.send((start + rest).decode())
        except Problem as problem:
            self._pumps.pop(id, None)
            with suppress(ConnectionError):  # who is gone need not be told
                await self._refused(id, problem)
                if self._close is not None:
                    await self._socket.close(*self._close)
        except ConnectionError:
            return  # who receives learns of it too, and ends the conversation
        finally:
            subscription.leave()

    async def _refused(self, id: str, problem: Problem) -> None:
        self._request.notes.reason = problem.code
        title = problem.kind.zh if self._request.language == "zh" else problem.kind.en
        told = {"type": "error", "id": id, "code": problem.code, "title": title, "detail": problem.detail,
                "retryable": problem.kind.retryable}  # fmt: skip
        await self._say(told)
        if problem.code in _CLOSES:
            self._close = (_CLOSES[problem.code], problem.code)

    async def _say(self, told: dict[str, Any]) -> None:
        await self._socket.send(orjson.dumps(told).decode())


def asked(pairs: Sequence[tuple[str, str]], arguments: Sequence[str] = ()) -> tuple[Ask, str]:
    """The question of a subscription, and the mark in `after`. It selects and filters as REST does; it has no order, no
    pages and no related rows. Raises Problem."""
    after = next((text for name, text in pairs if name == "after"), "")
    found = words([(name, text) for name, text in pairs if name != "after"], arguments)
    ask = found.ask
    if ask.limit is not None or ask.offset or ask.order or ask.related or found.columns or found.on_conflict:
        raise Problem("query.malformed", "a subscription takes `select` and filters")
    if any(item.aggregate for item in ask.wanted or ()):
        raise Problem("query.malformed", "a subscription has no aggregates")
    return ask, after


def _address(request: Request) -> tuple[str, str]:
    parts = request.path.split("/")
    if len(parts) != 4:
        raise Problem("path.unknown")
    return parts[2], parts[3]


def _object(text: str) -> dict[str, Any]:
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Problem("message.malformed", "a message is a JSON object") from None
    if not isinstance(told, dict):
        raise Problem("message.malformed", "a message is a JSON object")
    return told
