"""What may stand under `engine`: on what big loads run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import model_validator

from tongqu.app.project.places import Places
from tongqu.app.project.problems import parse
from tongqu.core.errors import TongquError
from tongqu.core.settings import Settings


class EngineTls(Settings):
    """Files for a cluster that only talks TLS, where both sides show a certificate."""

    ca: str
    """The certificate of the authority, as a file."""
    cert: str
    """Our own certificate, as a file."""
    key: str
    """The key of our certificate, as a file."""


class EngineQueue(Settings):
    """What stands between a log that is followed and several sinks."""

    connection: str
    """A connection that can be written and followed, such as a queue or Kafka."""


class EngineEntry(Settings):
    """What moves the splits of big full loads, and what stands between a log and several sinks."""

    runner: Literal["local", "dask"] = "local"
    """`local`: threads of the process that runs the pipeline; `dask`: the workers of a Dask cluster."""
    scheduler: str | None = None
    """Address of the Dask scheduler: `tcp://host:8786`, or `tls://host:8786`."""
    tls: EngineTls | None = None
    """Certificates for `tls://`."""
    queue: EngineQueue | None = None
    """What keeps changes and messages for pipelines that follow a log into several sinks (default: a file for each)."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.runner == "dask") != (self.scheduler is not None):
            raise ValueError("`scheduler` is the address of a Dask scheduler: give it with `runner: dask`")
        if self.scheduler and not self.scheduler.startswith(("tcp://", "tls://")):
            raise ValueError("scheduler: tcp://HOST:PORT, or tls://HOST:PORT")
        if bool(self.scheduler and self.scheduler.startswith("tls://")) != (self.tls is not None):
            raise ValueError("`tls` holds the certificates for a scheduler at tls://…")
        return self


def check_engine(section: Mapping[str, Any], places: Places, problems: list[TongquError]) -> EngineEntry:
    """On what big loads run; what is wrong is added to `problems`."""
    return parse(EngineEntry, section, ("engine",), places, problems) or EngineEntry()
