"""Reads the streams of a Singer tap."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tongqu.connectors.singer.settings import SingerSettings
from tongqu.core.errors import AnswerError, InvalidSettingsError
from tongqu.kit.foreign.messages import Protocol
from tongqu.kit.foreign.singer import Singer
from tongqu.kit.foreign.source import Described, ForeignSource


class SingerSource(ForeignSource):
    """See ForeignSource; the position is the tap's STATE."""

    settings: SingerSettings

    def __init__(self, settings: SingerSettings):
        super().__init__(settings)

    def installed(self) -> Path:
        """See ForeignSource.installed."""
        return self.program(self.settings.tap)

    def discover(self) -> list[Described]:
        """The streams of the catalog file, or of the one that the tap discovers. Raises AnswerError if that is none."""
        catalog = self._from_file() if self.settings.catalog else self._asked()
        streams = catalog.get("streams") if isinstance(catalog, dict) else None
        if not isinstance(streams, list):
            raise AnswerError(
                f"{self.settings.tap} discovers no catalog",
                path=self.settings.tap,
                hint="it may need a `catalog` file; see the tap's documentation",
            )
        return [self._described(one) for one in streams]

    def _described(self, raw: Mapping[str, Any]) -> Described:
        name = str(raw.get("stream") or raw.get("tap_stream_id"))
        entries = raw.get("metadata") or ()
        known: Mapping[str, Any] = next((one.get("metadata", {}) for one in entries if not one.get("breadcrumb")), {})
        key = raw.get("key_properties") or known.get("table-key-properties") or ()
        method = raw.get("replication_method") or known.get("forced-replication-method")
        again = method != "FULL_TABLE" or bool(self.settings.of(name).cursor)
        return Described(name, raw.get("schema") or {}, tuple(key), again, raw)

    def _from_file(self) -> Any:
        try:
            return json.loads(Path(self.settings.catalog).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidSettingsError(
                f"the catalog cannot be read: {error}", path="catalog", hint="it is a file of JSON"
            ) from error

    def _asked(self) -> Any:
        command = [self.installed(), "--config", self._config(), "--discover"]
        process = self.sandbox.start(list(map(str, command)))
        try:
            said = b"".join(process.blocks(lambda: False, self.settings.limits.start_seconds))
            process.need_success()
        finally:
            process.close()
        try:
            return json.loads(said)
        except ValueError:
            return None

    def _config(self) -> Path:
        return self.sandbox.file("config", self.settings.config)

    def command(self, stream: Described, *, incremental: bool, state: Any) -> Sequence[str | Path]:
        """See ForeignSource.command: the catalog selects the one stream."""
        catalog = {"streams": [self._selected(stream, incremental=incremental)]}
        command: list[str | Path] = [self.installed(), "--config", self._config()]
        command += [self.settings.catalog_option, self.sandbox.file("catalog", catalog)]
        return [*command, "--state", self.sandbox.file("state", state)] if state is not None else command

    def _selected(self, stream: Described, *, incremental: bool) -> dict[str, Any]:
        """The catalog's entry with everything of the stream selected, and how it is replicated."""
        raw = json.loads(json.dumps(stream.raw))
        raw.setdefault("schema", {})["selected"] = True
        entries = raw.setdefault("metadata", [])
        root = next((one for one in entries if not one.get("breadcrumb")), None)
        if root is None:
            root = {"breadcrumb": [], "metadata": {}}
            entries.append(root)
        for one in entries:
            if one["metadata"].get("inclusion") != "unsupported":
                one["metadata"]["selected"] = True
        cursor = self.settings.of(stream.name).cursor or _cursor(raw, root["metadata"])
        if incremental and cursor:
            for entry in (raw, root["metadata"]):
                dash = "_" if entry is raw else "-"
                entry[f"replication{dash}method"], entry[f"replication{dash}key"] = "INCREMENTAL", cursor
        return dict(raw)

    def protocol(self, stream: str) -> Protocol:
        """See ForeignSource.protocol."""
        return Singer(stream, self.settings.tap, self.settings.hidden, self.sandbox.folder)


def _cursor(raw: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """The field by which the tap replicates, where it names one."""
    told = raw.get("replication_key") or known.get("replication-key")
    return str(told or next(iter(known.get("valid-replication-keys", ())), ""))
