"""Reads the streams of an Airbyte source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tongqu.connectors.airbyte.protocol import Airbyte
from tongqu.connectors.airbyte.settings import CDK, RUNNER, AirbyteSettings
from tongqu.core.errors import AnswerError, AuthError, NotFoundError
from tongqu.kit.foreign.messages import Failure, Protocol, Said
from tongqu.kit.foreign.process import whole_lines
from tongqu.kit.foreign.source import Described, ForeignSource


class AirbyteSource(ForeignSource):
    """See ForeignSource; the position is the list of state messages that the source wants back."""

    settings: AirbyteSettings

    def __init__(self, settings: AirbyteSettings):
        super().__init__(settings)

    def check(self) -> Iterator[str]:
        """As ForeignSource.check, with `connected` (the source's own check) before the streams."""
        stages = super().check()
        yield next(stages)
        yield next(stages)
        status = self._one("check", "connectionStatus")
        if status.get("status") != "SUCCEEDED":
            said = self.settings.hidden(str(status.get("message") or ""))[:1000]
            raise AuthError(
                f"{self.settings.program} cannot connect: {said}",
                path=self.settings.program,
                hint="see `config`, and what the source's documentation says of it",
            )
        yield "connected"
        yield from stages

    def installed(self) -> Path:
        """See ForeignSource.installed."""
        settings = self.settings
        return self.program(settings.source) if settings.source else self.shelf.program(settings.package or CDK, RUNNER)

    def discover(self) -> list[Described]:
        """The streams of the catalog."""
        streams = self._one("discover", "catalog").get("streams")
        if not isinstance(streams, list):
            raise AnswerError(f"{self.settings.program} discovers no catalog", path=self.settings.program)
        return [_described(one) for one in streams]

    def _one(self, verb: str, wanted: str) -> Mapping[str, Any]:
        """The message that answers a question. Raises AnswerError if none comes."""
        process = self.sandbox.start([*map(str, self._command(verb))])
        failure: Failure | None = None
        found: Mapping[str, Any] | None = None
        try:
            blocks = process.blocks(lambda: False, self.settings.limits.start_seconds)
            for event in self.protocol("").events(whole_lines(blocks, self.settings.program)):
                failure = event if isinstance(event, Failure) else failure
                if isinstance(event, Said) and wanted in event.message:
                    found = event.message[wanted]
            code = process.finish()
        finally:
            process.close()
        if failure is not None:
            raise failure.error
        if found is None:
            raise process.failed(f"{self.settings.program} did not answer to {verb} (exit code {code})")
        return found

    def _command(self, verb: str) -> list[str | Path]:
        settings = self.settings
        config = self.sandbox.file("config", settings.config)
        if settings.source:
            return [self.installed(), verb, "--config", config]
        manifest = Path(settings.manifest).expanduser().absolute()
        if not manifest.is_file():
            raise NotFoundError(
                f"there is no manifest {settings.manifest!r}", path=settings.manifest, hint="`manifest` names a file"
            )
        command: list[str | Path] = [self.installed(), verb, "--config", config, "--manifest-path", manifest]
        return [*command, "--components-path", Path(settings.components).absolute()] if settings.components else command

    def command(self, stream: Described, *, incremental: bool, state: Any) -> Sequence[str | Path]:
        """See ForeignSource.command: a configured catalog with the one stream."""
        told = self.settings.of(stream.name).cursor
        cursor = [told] if told else list(stream.raw.get("default_cursor_field") or ())
        chosen: dict[str, Any] = {
            "stream": dict(stream.raw),
            "sync_mode": "incremental" if incremental else "full_refresh",
            "destination_sync_mode": "append",
            "cursor_field": cursor,
            "primary_key": [[name] for name in stream.key],
        }
        command = [*self._command("read"), "--catalog", self.sandbox.file("catalog", {"streams": [chosen]})]
        return [*command, "--state", self.sandbox.file("state", state)] if state is not None else command

    def protocol(self, stream: str) -> Protocol:
        """See ForeignSource.protocol."""
        return Airbyte(stream, self.settings.program, self.settings.hidden)


def _described(raw: Mapping[str, Any]) -> Described:
    key = [path[0] for path in raw.get("source_defined_primary_key") or () if len(path) == 1]
    return Described(
        str(raw["name"]),
        raw.get("json_schema") or {},
        tuple(key),
        "incremental" in (raw.get("supported_sync_modes") or ()),
        raw,
    )
