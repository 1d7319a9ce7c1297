"""What a file source remembers at home: the schemas of its datasets, and of which files they are."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.connectors.file.arrivals import SEEN, Known
from tongqu.connectors.file.incoming import IncomingSettings
from tongqu.connectors.file.settings import FileSettings
from tongqu.core.data import Dataset
from tongqu.kit import files, lasting
from tongqu.kit.patterns import wanted
from tongqu.kit.places.settings import PlaceSettings

_NAME = "datasets.json"
_ELSEWHERE = {"via", "datasets", *PlaceSettings.model_fields, *IncomingSettings.model_fields}
"""Settings that say nothing about how a file is read."""


@dataclass(frozen=True)
class Remembered:
    """A dataset as an incremental read last met it."""

    schema: pa.Schema
    key: tuple[str, ...]
    files: Known
    form: str


class Memory:
    """Datasets by name in one small file; `folder` is the connector's in the project's home (None: nothing is kept)."""

    def __init__(self, folder: Path | None):
        self._path = folder / _NAME if folder is not None else None

    def datasets(self, patterns: Sequence[str] | None) -> list[Dataset]:
        """Those that incremental reads have met."""
        return [
            Dataset(name, _schema(kept), tuple(kept["key"]))
            for name, kept in self._load().items()
            if wanted(name, patterns)
        ]

    def remembered(self, name: str, settings: FileSettings) -> Remembered | None:
        """A dataset that was met with the same settings; None if there is none."""
        kept = self._load().get(name)
        if kept is None or kept["how"] != _how(settings):
            return None
        return Remembered(_schema(kept), tuple(kept["key"]), Known.of({SEEN: kept["files"]}), kept["form"])

    def keep(self, dataset: Dataset, settings: FileSettings, known: Known, form: str) -> None:
        """Remember a dataset: its schema is that of the files in `known`."""
        if self._path is None:
            return
        kept = {
            "schema": base64.b64encode(dataset.schema.serialize().to_pybytes()).decode(), "key": list(dataset.key),
            "how": _how(settings), "files": known.to_text(), "form": form,
        }  # fmt: skip
        held = self._load()
        if held.get(dataset.name) != kept:
            lasting.make_folder(self._path.parent)
            files.write_atomically(self._path, json.dumps(held | {dataset.name: kept}).encode())

    def _load(self) -> dict[str, dict[str, Any]]:
        if self._path is None or not self._path.exists():
            return {}
        found: dict[str, dict[str, Any]] = json.loads(self._path.read_bytes())
        return found


def _schema(kept: Mapping[str, Any]) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(kept["schema"])))


def _how(settings: FileSettings) -> str:
    told = settings.model_dump(mode="json", exclude=_ELSEWHERE)
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
