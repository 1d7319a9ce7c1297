"""What may stand under `audit:` in a project file: how long, by which hash, and where to besides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tongqu.core.settings import Secret, Settings
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.tls import Tls
from tongqu.store.audit.trail import LEAST_DAYS


class FileSinkEntry(Settings):
    """A file, best on another disk."""

    type: Literal["file"]
    """`file`."""
    path: str
    """Its path; it is only ever added to."""


class SyslogSinkEntry(Settings):
    """A syslog server (RFC 5424)."""

    type: Literal["syslog"]
    """`syslog`."""
    host: str
    """Its host."""
    port: int = Field(default=514, ge=1, le=65535)
    """Its port; usual are 514, and 6514 with TLS."""
    transport: Literal["tls", "tcp", "udp"] = "tcp"
    """How: TLS (RFC 5425), TCP with counted octets (RFC 6587), or UDP (RFC 5426), which may lose messages."""
    facility: int = Field(default=13, ge=0, le=23)
    """The facility's number; 13 is log audit."""
    tls: Tls = Tls()
    """Certificates."""


class OtlpSinkEntry(HttpSettings):
    """A collector of OpenTelemetry: records as logs, OTLP over HTTP as JSON. `base_url` without `/v1/logs`."""

    type: Literal["otlp"]
    """`otlp`."""


class ElasticsearchSinkEntry(HttpSettings):
    """An Elasticsearch or OpenSearch; a record sent twice is one document."""

    type: Literal["elasticsearch"]
    """`elasticsearch`."""
    index: str = Field(default="tongqu-audit", pattern=r"^[a-z0-9][a-z0-9._-]{0,200}$")
    """The index; a data stream or alias may stand behind the name."""


class SplunkSinkEntry(HttpSettings):
    """Splunk's HTTP Event Collector; `base_url` without `/services/collector`."""

    type: Literal["splunk"]
    """`splunk`."""
    token: Secret
    """The collector's token: `${secret:NAME}`."""
    index: str = ""
    """The index, if not the token's."""


class TracesEntry(HttpSettings):
    """A collector of OpenTelemetry for traces, by OTLP over HTTP (extra `otlp`). `base_url` without `/v1/traces`."""

    share: float = Field(default=1.0, ge=0, le=1)
    """Which part of the traces is recorded, where the caller did not decide."""


SinkEntry = Annotated[
    FileSinkEntry | SyslogSinkEntry | OtlpSinkEntry | ElasticsearchSinkEntry | SplunkSinkEntry,
    Field(discriminator="type"),
]


class AuditEntry(Settings):
    """How the audit trail is kept."""

    keep_days: int = Field(default=LEAST_DAYS, ge=LEAST_DAYS)
    """How many days records are kept; less than 180 is refused."""
    profile: Literal["standard", "gm"] = "standard"
    """The hash: SHA-256, or SM3 (国密)."""
    sinks: dict[str, SinkEntry] = Field(default_factory=dict)
    """Where records are sent besides, by name."""
    traces: TracesEntry | None = None
    """Where a span of each call is sent (default: nowhere)."""

    @model_validator(mode="after")
    def _named(self) -> AuditEntry:
        for name in self.sinks:
            if not name.replace("_", "").replace("-", "").isalnum():
                raise ValueError(f"{name!r}: the name of a sink has letters, digits, `_` and `-`")
        return self
