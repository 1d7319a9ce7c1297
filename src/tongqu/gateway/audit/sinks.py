"""The further places that audit records can be sent to: a file, syslog, OTLP, Elasticsearch, Splunk."""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tongqu.core.errors import AnswerError, TongquError
from tongqu.gateway.audit.settings import (
    ElasticsearchSinkEntry,
    FileSinkEntry,
    OtlpSinkEntry,
    SinkEntry,
    SplunkSinkEntry,
    SyslogSinkEntry,
)
from tongqu.gateway.audit.shipping import AuditSink, Sent
from tongqu.kit.egress.dial import Egress
from tongqu.kit.http.call import Call, Repeat, Reply
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.tls import context

_SECONDS = 10.0
_UDP_BYTES = 65_000
_NUMBERS = ("rows", "bytes", "ms", "count")
_TEXTS = ("kind", "who", "for", "what", "on", "api", "version", "from", "outcome", "code", "policy", "purpose", "trace",
          "id", "config")  # fmt: skip


def sink_of(entry: SinkEntry) -> AuditSink:
    """The sink that settings mean."""
    match entry:
        case FileSinkEntry():
            return FileSink(Path(entry.path))
        case SyslogSinkEntry():
            return SyslogSink(entry)
        case OtlpSinkEntry():
            return OtlpSink(entry)
        case ElasticsearchSinkEntry():
            return ElasticsearchSink(entry)
        case SplunkSinkEntry():
            return SplunkSink(entry)


class FileSink(AuditSink):
    """Adds the trail's own lines to a file, each behind the name of its chain, and waits until they are on disk."""

    def __init__(self, path: Path):
        self._path = path

    def send(self, records: Sequence[Sent]) -> None:
        """See AuditSink."""
        handle = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(b"".join(b"%s %s\n" % (one.chain.encode(), one.line) for one in records))
            while view:
                view = view[os.write(handle, view) :]
            os.fdatasync(handle)
        finally:
            os.close(handle)

    def close(self) -> None:
        """Nothing is held."""


class SyslogSink(AuditSink):
    """RFC 5424 over TLS, TCP with counted octets (RFC 6587 §3.4.1), or UDP. Syslog confirms nothing: over TCP and TLS
    what was in flight when a connection broke may be lost, over UDP anything may."""

    def __init__(self, entry: SyslogSinkEntry):
        self._entry = entry
        self._egress = Egress([(entry.host, entry.port)])
        self._socket: socket.socket | None = None
        self._host = _name(socket.gethostname(), 255)

    def send(self, records: Sequence[Sent]) -> None:
        """See AuditSink."""
        messages = [self._message(one) for one in records]
        if self._entry.transport == "udp":
            self._datagrams(messages)
            return
        try:
            self._opened().sendall(b"".join(b"%d %s" % (len(message), message) for message in messages))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """See AuditSink."""
        if self._socket:
            self._socket.close()
        self._socket = None

    def _message(self, one: Sent) -> bytes:
        record = one.record
        severity = 4 if record.get("kind") in ("refused", "gap", "lost") else 6
        head = f"<{self._entry.facility * 8 + severity}>1 {record.get('at') or '-'} {self._host} tongqu {os.getpid()}"
        data = f'[tongqu@32473 chain="{_parameter(one.chain)}" seq="{one.seq}" hash="{one.hash}"]'
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        return f"{head} {_name(str(record.get('kind', '-')), 32)} {data} \ufeff{text}".encode()

    def _opened(self) -> socket.socket:
        if self._socket is not None and not _left(self._socket):
            return self._socket
        self.close()
        opened = self._egress.connect(self._entry.host, self._entry.port, _SECONDS)
        opened.settimeout(_SECONDS)
        if self._entry.transport == "tls":
            try:
                opened = context(self._entry.tls).wrap_socket(opened, server_hostname=self._entry.host)
            except (OSError, TongquError):
                opened.close()
                raise
        self._socket = opened
        return opened

    def _datagrams(self, messages: Sequence[bytes]) -> None:
        pinned = self._egress.addresses(self._entry.host, self._entry.port)[0]
        kind = socket.AF_INET6 if pinned.address.version == 6 else socket.AF_INET
        with socket.socket(kind, socket.SOCK_DGRAM) as opened:
            for message in messages:
                opened.sendto(message[:_UDP_BYTES], (str(pinned.address), pinned.port))


class _HttpSink(AuditSink):
    def __init__(self, settings: HttpSettings):
        self._settings = settings
        self._http = Http(settings)

    def close(self) -> None:
        """See AuditSink."""
        self._http.close()

    def _post(self, path: str, body: bytes, kind: str, **headers: str) -> Reply:
        sent = {"Content-Type": kind, **headers}
        return self._http.send(Call("POST", self._http.url(path), headers=sent, body=body, repeat=Repeat.SAFE))


class OtlpSink(_HttpSink):
    """Log records by OTLP 1.x over HTTP in its JSON encoding (opentelemetry.io/docs/specs/otlp)."""

    def __init__(self, entry: OtlpSinkEntry):
        super().__init__(entry)

    def send(self, records: Sequence[Sent]) -> None:
        """See AuditSink."""
        body = {
            "resourceLogs": [
                {
                    "resource": {"attributes": [_attribute("service.name", "tongqu")]},
                    "scopeLogs": [{"scope": {"name": "tongqu.audit"}, "logRecords": [_log(one) for one in records]}],
                }
            ]
        }
        reply = self._post("/v1/logs", _json(body), "application/json")
        refused = _object(reply).get("partialSuccess") or {}
        if int(refused.get("rejectedLogRecords") or 0):
            raise AnswerError(f"the collector refused {refused['rejectedLogRecords']} audit records")


class ElasticsearchSink(_HttpSink):
    """Documents by `_bulk`, created under an id of their own: one that is there already is left as it is."""

    def __init__(self, entry: ElasticsearchSinkEntry):
        super().__init__(entry)
        self._index = entry.index

    def send(self, records: Sequence[Sent]) -> None:
        """See AuditSink."""
        lines: list[bytes] = []
        for one in records:
            lines.append(_json({"create": {"_index": self._index, "_id": one.id}}))
            lines.append(_json(_indexed(one)))
        reply = self._post("/_bulk", b"\n".join([*lines, b""]), "application/x-ndjson")
        answers: list[dict[str, Any]] = [next(iter(item.values()), {}) for item in _object(reply).get("items", [])]
        bad = [answer.get("status") for answer in answers if answer.get("status") not in (200, 201, 409)]
        if bad or len(answers) != len(records):
            raise AnswerError(f"{len(bad) or len(records)} audit records were not taken, the first with {bad[:1]}")


class SplunkSink(_HttpSink):
    """Events by the HTTP Event Collector, many in one call."""

    def __init__(self, entry: SplunkSinkEntry):
        super().__init__(entry)
        self._token = entry.token
        self._more = {"index": entry.index} if entry.index else {}

    def send(self, records: Sequence[Sent]) -> None:
        """See AuditSink."""
        host = socket.gethostname()
        events = [
            {"time": _seconds(one.record), "host": host, "source": one.chain, "sourcetype": "tongqu:audit",
             "event": one.document(), **self._more}
            for one in records
        ]  # fmt: skip
        told = f"Splunk {self._token.get_secret_value()}"
        body = b"\n".join(_json(event) for event in events)
        reply = self._post("/services/collector/event", body, "application/json", Authorization=told)
        if _object(reply).get("code", 0) != 0:
            raise AnswerError("the collector did not take the audit records")


def _indexed(one: Sent) -> dict[str, Any]:
    """A document whose fields are always the same and of the same type, so that no record is refused by what an index
    learnt from another; `record` is the whole of it."""
    told = {name: one.record[name] for name in _NUMBERS if name in one.record}
    told |= {name: str(one.record[name]) for name in _TEXTS if name in one.record}
    told |= {name: [str(inner) for inner in one.record[name]] for name in ("fields", "masks") if name in one.record}
    place = {"chain": one.chain, "seq": one.seq, "hash": one.hash}
    return {"@timestamp": one.record.get("at"), **told, **place, "record": _json(one.record).decode()}


def _log(one: Sent) -> dict[str, Any]:
    record = one.record
    log = {
        "timeUnixNano": str(int(_seconds(record) * 1000) * 1_000_000),
        "severityNumber": 13 if record.get("kind") in ("refused", "gap", "lost") else 9,
        "body": {"stringValue": _json(record).decode()},
        "attributes": [
            _attribute(name, str(value))
            for name, value in (
                ("log.record.uid", one.id), ("tongqu.kind", record.get("kind", "")), ("enduser.id", record.get("who")),
                ("tongqu.api", record.get("api")), ("tongqu.chain", one.chain), ("tongqu.hash", one.hash),
            )
            if value
        ],
    }  # fmt: skip
    trace = str(record.get("trace", ""))
    return {**log, "traceId": trace} if len(trace) == 32 else log


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def _seconds(record: Any) -> float:
    try:
        return datetime.fromisoformat(str(record.get("at", "")).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _object(reply: Reply) -> dict[str, Any]:
    try:
        found = json.loads(reply.content or b"{}")
    except ValueError:
        raise AnswerError("the answer is not JSON") from None
    return found if isinstance(found, dict) else {}


def _name(text: str, most: int) -> str:
    return "".join(c for c in text if "!" <= c <= "~")[:most] or "-"


def _parameter(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _left(opened: socket.socket) -> bool:
    """Whether the other end has closed the connection; a syslog server never says anything."""
    opened.settimeout(0)
    try:
        return opened.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        opened.settimeout(_SECONDS)
