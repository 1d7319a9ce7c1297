"""Reads the resources of a dlt source."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tongqu.connectors.dlt.settings import DLT, DltSettings
from tongqu.core.errors import AnswerError
from tongqu.kit.foreign.messages import Protocol
from tongqu.kit.foreign.singer import Singer
from tongqu.kit.foreign.source import Described, ForeignSource

_RUNNER = Path(__file__).with_name("runner.py")


class DltSource(ForeignSource):
    """See ForeignSource; the position is the state that dlt would keep for its pipeline.

    dlt gives its state when a resource has ended, since rows need not come in the order of their cursor: a read cannot
    be cut before. Nested values are JSON, not tables of their own; names of columns stay as they are.
    """

    settings: DltSettings

    def __init__(self, settings: DltSettings):
        super().__init__(settings)

    def installed(self) -> Path:
        """See ForeignSource.installed: the Python of the package's environment."""
        return self.shelf.program(self.settings.package or DLT, "python")

    def discover(self) -> list[Described]:
        """The selected resources of the source. Raises AnswerError if there is no list of them."""
        command = self._command({"verb": "discover"})
        process = self.sandbox.start(list(map(str, command)))
        try:
            said = b"".join(process.blocks(lambda: False, self.settings.limits.start_seconds))
            process.need_success()
        finally:
            process.close()
        try:
            streams = json.loads(said)["streams"]
        except (ValueError, KeyError, TypeError) as error:
            raise AnswerError(f"{self.settings.source} says no resources", path=self.settings.source) from error
        return [
            Described(one["name"], {}, tuple(one["key"]), bool(one["incremental"]), one, one["types"])
            for one in streams
        ]

    def _command(self, request: dict[str, Any]) -> list[str | Path]:
        settings = self.settings
        files = str(Path(settings.files).expanduser().absolute()) if settings.files else ""
        given = {"source": settings.source, "arguments": settings.config, "credentials": settings.credentials}
        file = self.sandbox.file("request", {**given, "files": files, **request})
        return [self.installed(), "-I", _RUNNER, file]

    def command(self, stream: Described, *, incremental: bool, state: Any) -> Sequence[str | Path]:
        """See ForeignSource.command."""
        del incremental
        return self._command({"verb": "read", "stream": stream.name, "state": state})

    def protocol(self, stream: str) -> Protocol:
        """See ForeignSource.protocol: the runner writes Singer's messages."""
        return Singer(stream, self.settings.source, self.settings.hidden)
