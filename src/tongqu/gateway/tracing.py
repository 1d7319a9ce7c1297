"""W3C trace context: one trace id from the caller to queries, queues, sinks and webhooks; spans for OpenTelemetry.

Source: https://www.w3.org/TR/trace-context/ (version 00). Without the extra `otlp` only ids travel.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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

    @property
    def header(self) -> str:
        """The value of `traceparent` for whom it is handed on to."""
        return f"00-{self.id}-{self.span}-{'01' if self.sampled else '00'}"


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
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        except ImportError as error:
            raise MissingDriverError("traces need OpenTelemetry", hint="pip install 'tongqu[otlp]'") from error
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)),
            resource=Resource.create({"service.name": service}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(_exporter(settings), max_queue_size=4096))
        self._tracer = self._provider.get_tracer("tongqu.gateway")

    @contextmanager
    def span(self, name: str, trace: Trace, **attributes: Any) -> Iterator[Trace]:
        """A step of a trace (a query, a run, a delivery) as a span below `trace`; gives where it is, to hand on."""
        from opentelemetry.trace import SpanKind

        with self._tracer.start_as_current_span(
            name, context=_context(trace), kind=SpanKind.CLIENT, attributes=attributes
        ) as span:
            at = span.get_span_context()
            yield Trace(f"{at.trace_id:032x}", f"{at.span_id:016x}", bool(at.trace_flags & 1))

    def saw(self, request: Request, reply: Reply, seconds: float) -> None:
        """See stages.Watch: the span of a call, made when it is over."""
        import time

        from opentelemetry.trace import SpanKind, Status, StatusCode

        notes = request.notes
        ended = time.time_ns()
        at = Trace.of(request.headers.get("traceparent", ""))
        if at.id != request.trace:
            at = Trace(request.trace, request.id[:16].ljust(16, "0"))
        span = self._tracer.start_span(
            f"{request.method} {notes.api or request.path.split('/')[1] or '/'}"[:100],
            context=_context(at),
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
        if reply.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=ended)

    def close(self) -> None:
        """Send what waits, for at most some seconds, and stop."""
        self._provider.shutdown()


def carried(trace: Trace, headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with the trace in them, for a call, a message or a webhook; what they had of another trace is gone."""
    kept = {name: value for name, value in headers.items() if name.lower() not in ("traceparent", "tracestate")}
    return {**kept, "traceparent": trace.header}


def _context(trace: Trace) -> Any:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    at = SpanContext(int(trace.id, 16), int(trace.span, 16), True, TraceFlags(1 if trace.sampled else 0))
    return set_span_in_context(NonRecordingSpan(at))


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
