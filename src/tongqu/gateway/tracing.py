"""W3C trace context: one trace id from the caller to queries, queues, sinks and webhooks; spans for OpenTelemetry.

Source: https://www.w3.org/TR/trace-context/ (version 00). Without the extra `otlp` only ids travel.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import MissingDriverError, TongquError
from tongqu.gateway.exchange import Reply, Request
from tongqu.kit.http.call import Call, Repeat
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_PARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(-.*)?"
)

_SPAN = re.compile(r"(?!0{16})[0-9a-f]{16}")
_UNRECORDED = nullcontext()


@dataclass(frozen=True, slots=True)
class Trace:
    """Where in a trace something happens: ids in lower-case hex, and whether the caller records it."""

    id: str
    span: str
    sampled: bool = True

    @classmethod
    def of(cls, traceparent: str, hexes: Callable[[int], str] = secrets.token_hex) -> Trace:
        """The caller's trace; a new one where the header is missing, malformed or of zeros, as the standard asks."""
        found = _PARENT.fullmatch(traceparent)
        if (
            found is None
            or found["version"] == "ff"
            or (found["version"] == "00" and found[5])
            or not found["trace"].strip("0")
            or not found["span"].strip("0")
        ):
            return cls(hexes(16), hexes(8))
        return cls(found["trace"], found["span"], bool(int(found["flags"], 16) & 1))

    def below(self, hexes: Callable[[int], str] = secrets.token_hex) -> Trace:
        """A step of its own in the same trace."""
        return Trace(self.id, hexes(8), self.sampled)

    @classmethod
    def of_request(cls, request: Request) -> Trace:
        """Where a call is: the span whose id every answer tells."""
        return cls(request.trace, span_id(request.id), _sampled(request))

    @property
    def header(self) -> str:
        """The value of `traceparent` for whom it is handed on to."""
        return f"00-{self.id}-{self.span}-{'01' if self.sampled else '00'}"


def _sampled(request: Request) -> bool:
    return request.headers.get("traceparent", "")[54:55] not in ("0", "2", "4", "6", "8", "a", "c", "e")


def answered(request: Request) -> str:
    """The traceparent of a call, for its answer."""
    return f"00-{request.trace}-{span_id(request.id)}-{'01' if _sampled(request) else '00'}"


def span_id(request: str) -> str:
    """The id of the span of a call, of the call's id."""
    return request if _SPAN.fullmatch(request) else blake2b(request.encode(), digest_size=8).hexdigest()


class Tracing:
    """Gives spans to a collector by OTLP over HTTP (extra `otlp`); a `Watch` for the span of each call.

    Spans wait in a bounded queue of the SDK's; where the collector is away they are dropped, never calls delayed.
    `share` of the traces whose caller did not decide are recorded. Raises MissingDriverError without the extra.
    """

    def __init__(self, settings: HttpSettings, *, service: str = "tongqu", share: float = 1.0):
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        except ImportError as error:
            raise MissingDriverError("traces need OpenTelemetry", hint="pip install 'tongqu[otlp]'") from error

        class Ids(RandomIdGenerator):
            """Ids of spans that have one already, else random ones."""

            def generate_span_id(self) -> int:
                own = _OWN.get()
                return int(own.span, 16) if own is not None else super().generate_span_id()

            def generate_trace_id(self) -> int:
                own = _OWN.get()
                return int(own.id, 16) if own is not None else super().generate_trace_id()

        self._ratio = TraceIdRatioBased(share)
        self._provider = TracerProvider(
            sampler=ParentBased(self._ratio),
            id_generator=Ids(),
            resource=Resource.create({"service.name": service}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(_exporter(settings), max_queue_size=4096))
        self._tracer = self._provider.get_tracer("tongqu.gateway")

    @contextmanager
    def span(self, name: str, trace: Trace, **attributes: Any) -> Iterator[Trace]:
        """A step of a trace (a query, a run, a delivery) as a span below `trace`; gives where it is, to hand on. Of an
        error only its class is told, since texts of drivers may hold values."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        span = self._tracer.start_span(name, context=_context(trace), kind=SpanKind.CLIENT, attributes=attributes)
        at = span.get_span_context()
        try:
            yield Trace(f"{at.trace_id:032x}", f"{at.span_id:016x}", bool(at.trace_flags & 1))
        except BaseException as error:
            span.set_attribute("error.type", getattr(error, "code", type(error).__name__))
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            span.end()

    def of(self, request: Request) -> Trace:
        """Where a call is, recorded or not as its caller says, or its share."""
        trace = Trace.of_request(request)
        if _went_on(request):
            return trace
        recorded = self._ratio.should_sample(None, int(trace.id, 16), "").decision.value > 1
        return Trace(trace.id, trace.span, recorded)

    def saw(self, request: Request, reply: Reply, seconds: float) -> None:
        """See stages.Watch: the span of a call, made when it is over. Parts of a call (`notes.more["part"]`), which
        are told of too, are spans below it."""
        import time

        from opentelemetry.trace import SpanKind, Status, StatusCode

        notes = request.notes
        ended = time.time_ns()
        part = bool(notes.more.get("part"))
        above = self.of(request) if part else _went_on(request)
        own = _OWN.set(None if part else Trace.of_request(request))
        span = self._tracer.start_span(
            f"{request.method} {notes.api or request.path.split('/')[1] or '/'}"[:100],
            context=_context(above),
            kind=SpanKind.SERVER,
            start_time=ended - int(seconds * 1e9),
            attributes={
                "http.request.method": request.method,
                "http.response.status_code": reply.status,
                "client.address": request.address,
                "enduser.id": request.actor.id,
                "tongqu.request": request.id,
                "tongqu.api": notes.api,
                "tongqu.version": notes.version,
                "tongqu.rows": notes.rows,
                "tongqu.cache": notes.cache,
                "tongqu.code": notes.reason,
            },
        )
        _OWN.reset(own)
        if reply.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=ended)

    def close(self) -> None:
        """Send what waits, for at most some seconds, and stop."""
        self._provider.shutdown()


_HERE: ContextVar[tuple[Request | Trace, Tracing | None] | None] = ContextVar("tongqu_here", default=None)
_OWN: ContextVar[Trace | None] = ContextVar("tongqu_own_span", default=None)
"""The ids of the span that is made now, where they are given already."""


def carried(trace: Trace, headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with the trace in them, for a call, a message or a webhook; what they had of another trace is gone."""
    kept = {name: value for name, value in headers.items() if name.lower() not in ("traceparent", "tracestate")}
    return {**kept, "traceparent": trace.header}


def enter(what: Request | Trace, tracing: Tracing | None) -> None:
    """What goes on from here in this task belongs to this call, or to the trace that something was kept under."""
    _HERE.set((what, tracing))


def here() -> Trace:
    """Where the running task is; a new trace where it belongs to none."""
    found = _HERE.get()
    if found is None:
        return Trace.of("")
    what, tracing = found
    if isinstance(what, Trace):
        return what
    return tracing.of(what) if tracing is not None else Trace.of_request(what)


def step(name: str, **attributes: Any) -> AbstractContextManager[Trace | None]:
    """A step of what the running task does as a span, where spans are recorded; gives where it is."""
    found = _HERE.get()
    if found is None or found[1] is None:
        return _UNRECORDED
    return found[1].span(name, here(), **attributes)


def _went_on(request: Request) -> Trace | None:
    """The caller's trace, if the call is in it."""
    at = Trace.of(request.headers.get("traceparent", ""))
    return at if at.id == request.trace else None


def _context(trace: Trace | None) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if trace is None:
        return Context()
    at = SpanContext(int(trace.id, 16), int(trace.span, 16), True, TraceFlags(1 if trace.sampled else 0))
    return set_span_in_context(NonRecordingSpan(at), Context())


def _exporter(settings: HttpSettings) -> Any:
    """An exporter that goes the way of all other calls to the outside."""
    from collections.abc import Sequence

    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Exporter(SpanExporter):
        def __init__(self) -> None:
            self._http = Http(settings)

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            body = encode_spans(spans).SerializeToString()
            kind = {"Content-Type": "application/x-protobuf"}
            call = Call("POST", self._http.url("/v1/traces"), headers=kind, body=body, repeat=Repeat.SAFE)
            try:
                self._http.send(call)
            except (TongquError, OSError):
                return SpanExportResult.FAILURE
            return SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            self._http.close()

    return Exporter()
