"""The HTTP client of a connection: authenticated, paced, repeated where that is safe, kept and recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import tongqu
from tongqu.core.errors import ConnectorError
from tongqu.kit.egress.dial import Egress
from tongqu.kit.http.cache import Cache
from tongqu.kit.http.call import Call, Grant, Reply, Stream
from tongqu.kit.http.clock import Clock
from tongqu.kit.http.cookies import Jar
from tongqu.kit.http.exchange import Answer, Exchange, limited
from tongqu.kit.http.pool import Pool
from tongqu.kit.http.record import Recorder, recorder_of
from tongqu.kit.http.request import Request, origin_of, request_of
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.http.sharing import terms
from tongqu.kit.http.status import refusal
from tongqu.kit.http.trial import Trials

_CLOCK = Clock()


class Http:
    """The calls of one connection; any number of threads may make them. Calls block.

    Several clients of one connection in this process keep to its limits together and share its tokens.

    `folder` is the connector's place in the project's home (None: nothing is kept between runs). What a call raises:
    ConnectError (nothing came of it), CertificateError, AuthError (401), PrivilegeError (403), NotFoundError (404,
    410), CallRefusedError (other 4xx, redirected writes), RateLimitedError (a limit lasts longer than the call may
    wait), PeerFailedError (5xx), AnswerError (too large, damaged), RestingError, EgressRefusedError, CancelledError;
    and UnknownOutcomeError for a call that changes something, was not called safe, and may have had its effect.
    """

    def __init__(
        self,
        settings: HttpSettings,
        *,
        folder: Path | None = None,
        egress: Egress | None = None,
        clock: Clock | None = None,
    ):
        self.settings = settings
        self._clock = clock or _CLOCK
        self._egress = egress or settings.egress(*settings.granted(), allow=settings.allow)
        own = origin_of(settings.base_url, Grant.OPERATOR).own
        named = [
            own,
            *(origin_of(url, Grant.OPERATOR).own for url in (settings.auth.addresses() if settings.auth else ())),
        ]
        self._pool = Pool(self._egress, settings.tls, frozenset(named), self._clock.monotonic)
        self._terms = terms(settings, folder, self._clock, self.send)
        self._trials = Trials(
            settings.timeouts,
            settings.retry,
            self._clock,
            Exchange(self._egress, self._pool, own, Jar(self._clock) if settings.cookies else None),
            self._terms,
            settings.outcome,
        )
        self._cache = Cache(settings, folder, self._clock)
        self._recorder: Recorder | None = recorder_of(settings, folder)
        self._agent = f"tongqu/{tongqu.__version__}"

    def send(self, call: Call) -> Reply:
        """Make a call and return its whole answer; see the class for what is raised."""
        request = request_of(call, self.settings, self._agent)
        begun = self._clock.monotonic()
        if self._recorder:
            return self._recorded(call, request, self._recorder)
        kept = self._cache.find(call, request)
        if kept and kept.fresh:
            return kept.reply(self._clock.monotonic() - begun)
        asking, asked = call, request
        if kept:
            asking, asked = replace(call, accepts=(*call.accepts, 304)), request.plus(kept.conditions)
        reply, attempts = self._trials.run(asking, asked, self._whole)
        if kept and reply.status == 304:
            reply = self._cache.confirmed(kept, reply)
        else:
            self._cache.keep(call, request, reply)
        return replace(reply, seconds=self._clock.monotonic() - begun, attempts=attempts)

    @contextmanager
    def stream(self, call: Call) -> Iterator[Stream]:
        """Make a call and read its answer while it arrives. Repeats happen before the first chunk; afterwards `chunks`
        raises ConnectError if the answer ends early and AnswerError if it is too large. Nothing is kept."""
        request = request_of(call, self.settings, self._agent)
        if self._recorder or self.settings.outcome:  # whether it went well may stand anywhere in the answer
            reply = self.send(call)
            yield Stream(reply.status, reply.headers, iter([reply.content]), reply.url)
            return
        held: list[Answer] = []
        try:
            answer, _ = self._trials.run(call, request, _as_is, held)
            chunks = limited(answer.chunks, self.settings.limits.stream_bytes, request.place)
            yield Stream(answer.status, answer.headers, chunks, answer.request.url)
        finally:
            for answer in held:
                answer.close()
                self._terms.pace.leave()

    def signed(self, call: Call) -> tuple[Request, Callable[[], bool]]:
        """The call as it would be sent, with the connection's headers and credentials, for who opens something else
        with it (WebSocket); and what forgets its tokens where they are refused: whether others can be tried. Raises as
        calls do where a token must be asked for."""
        request, ticket = request_of(call, self.settings, self._agent), self._terms.credentials.ticket()
        return ticket.sign(request), lambda: self._terms.credentials.renew(ticket)

    def stages(self, url: str = "") -> Iterator[str]:
        """For `check`: the names of the stages on the way to the address (default: the connection's own), each after
        it was passed (dns or hops, tcp, tls), then `login` where a token must be asked for."""
        if self._recorder and self._recorder.replays:
            yield "replay"
            return
        origin = origin_of(url or self.settings.base_url, Grant.OPERATOR)
        context = self._pool.context(own=True) if origin.scheme == "https" else None
        seconds = self.settings.timeouts.connect_seconds
        yield from self._egress.stages(origin.host, origin.port, tls=context, seconds=seconds)
        if self._terms.credentials.login():
            yield "login"

    def url(self, path: str) -> str:
        """An absolute address: `path` as it is if it has a scheme, else appended to the connection's own."""
        if urlsplit(path).scheme in ("http", "https"):
            return path
        base, _, query = self.settings.base_url.partition("?")
        joined = f"{base.rstrip('/')}/{path.lstrip('/')}" if path else base
        return joined if not query else f"{joined}{'&' if '?' in joined else '?'}{query}"

    def close(self) -> None:
        """Close connections and what is written down; may be called twice."""
        self._pool.close()
        self._cache.close()
        if self._recorder:
            self._recorder.close()

    def _whole(self, answer: Answer) -> Reply:
        content = answer.content(self.settings.limits.answer_bytes)
        return Reply(answer.status, answer.headers, content, answer.request.url)

    def _recorded(self, call: Call, request: Request, recorder: Recorder) -> Reply:
        """Answer from the recording, or make the call and write it down; nothing comes from the cache."""
        if recorder.replays:
            reply = recorder.reply(request)
            if 200 <= reply.status < 300 or reply.status in call.accepts:
                return reply
            raise refusal(reply.status, reply.headers, reply.content, f"{request.method} {request.place}")
        begun = self._clock.monotonic()
        try:
            reply, attempts = self._trials.run(call, request, self._whole)
        except ConnectorError as error:
            if error.status and not call.anonymous:
                recorder.note(request, Reply(error.status, {}, error.answer, request.url))
            raise
        reply = replace(reply, seconds=self._clock.monotonic() - begun, attempts=attempts)
        if not call.anonymous:
            recorder.note(request, reply)
        return reply


def _as_is(answer: Answer) -> Answer:
    return answer
