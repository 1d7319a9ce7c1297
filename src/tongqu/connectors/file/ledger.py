"""What a file sink remembers beside its files: runs, streams, parts and quarantine, as JSON replaced in one step.

Below `.tongqu/files` beside the target: `<sync>/run.json` is the run, `<stream>.json` a stream with its splits and
committed parts, `<stream>.parts/` the parts, `quarantine/` the dirty rows. A part or quarantine file that no stream's
JSON lists does not exist for us: so a chunk's rows, quarantine, counts and position commit together.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tongqu.core.data import Checkpoint, Counts, Split, Started
from tongqu.core.errors import CheckpointError, FencedError
from tongqu.kit import files, lasting

VERSION = 1
QUARANTINE = "quarantine"


def key(text: str) -> str:
    """A file name for an id: readable beginning and a hash."""
    readable = re.sub(r"[^\w.-]+", "_", text)[:40].strip("._")
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def now() -> str:
    """The instant in RFC 3339."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def load(path: Path) -> dict[str, Any] | None:
    """A stored document; None if there is none. Raises CheckpointError if it is damaged or newer than we are."""
    try:
        with files.translated(path):
            found = json.loads(path.read_bytes()) if path.exists() else None
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged: {error}", hint="run again with --restart after removing it"
        ) from error
    if found is not None and found.get("version", 0) > VERSION:
        raise CheckpointError(
            f"{path} was written by a newer version (format {found['version']}, ours is {VERSION})",
            hint="run the newer version",
        )
    return found if found is None else dict(found)


def store(path: Path, document: dict[str, Any]) -> None:
    """Replace a document durably and in one step."""
    stored = {**document, "version": VERSION, "updated_at": now()}
    files.write_atomically(path, json.dumps(stored, ensure_ascii=False, separators=(",", ":")).encode())


class Run:
    """One sync's record and the lock that keeps other processes from running it meanwhile."""

    def __init__(self, state: Path, sync: str):
        """Raises BusyError if another process runs this sync."""
        self.folder = state / key(sync)
        with files.translated(self.folder):
            lasting.make_folder(self.folder)
        self._path = self.folder / "run.json"
        self._lock = files.Lock(self.folder / "run.lock", "this sync's target")

    def start(self, run: str, restart: bool) -> Started:
        """See Sink.start."""
        head = load(self._path)
        if restart:
            for path in self.streams():
                document = load(path)
                if document is not None:
                    store(path, document | {"state": "discarded", "position": None, "splits": {}, "swap": None})
        if head is not None and head["state"] == "running" and not restart:
            started = Started(head["run"], head["attempt"] + 1)
        else:
            started = Started(run, 1)
        store(self._path, {"run": started.run, "attempt": started.attempt, "state": "running"})
        return started

    def end(self, run: str) -> None:
        """Mark the run finished."""
        head = load(self._path)
        if head is not None and head["run"] == run:
            store(self._path, head | {"state": "finished"})

    def streams(self) -> list[Path]:
        """The documents of the streams."""
        return sorted(p for p in self.folder.glob("*.json") if p.name != "run.json")

    def release(self) -> None:
        """Let other processes run the sync."""
        self._lock.release()


class StreamLedger:
    """One stream's document. Every change reads it again and refuses to go on if the fence is not ours."""

    def __init__(self, folder: Path, stream: str):
        self._stream = stream
        self.path = folder / f"{key(stream)}.json"
        self.parts = folder / f"{key(stream)}.parts"
        self.quarantine = folder.parent / QUARANTINE

    def load(self) -> dict[str, Any] | None:
        """The stored document."""
        return load(self.path)

    def store(self, document: dict[str, Any]) -> None:
        """Replace the document."""
        store(self.path, document)

    def hold(self, fence: int) -> dict[str, Any]:
        """The document; raises FencedError if another process has opened the stream since."""
        document = self.load()
        if document is None or document["fence"] != fence:
            raise FencedError(
                f"another process has taken over the stream {self._stream!r}; this one stopped without writing more",
                hint="let the other process finish, or stop it and run this sync again",
                params={"stream": self._stream},
            )
        return document

    def advance(
        self,
        fence: int,
        checkpoint: Checkpoint,
        *,
        part: tuple[str, int, int] | None,
        dirty: str | None,
        settling: dict[str, dict[str, Any]],
    ) -> None:
        """Commit a chunk: its part (name, rows, bytes), quarantine file, position, counts, and what became of
        quarantined rows that it holds."""
        document = self.hold(fence)
        split = document["splits"].setdefault(checkpoint.split.id, _split(checkpoint.split))
        if part is not None:
            split["parts"].append(list(part))
        if dirty is not None:
            document["quarantine"].append(dirty)
        if settling:
            document["settling"] = document.get("settling", {}) | settling
        split |= {"position": checkpoint.position, "counts": checkpoint.counts.to_json(), "done": checkpoint.done}
        self.store(document)

    def begin(self, fence: int, splits: Sequence[Split]) -> None:
        """Store the splits of a run that has none committed."""
        document = self.hold(fence)
        self.store(document | {"splits": {split.id: _split(split) for split in splits}})

    def clean(self, document: dict[str, Any]) -> None:
        """Remove the parts that are not committed."""
        listed = {part[0] for split in document["splits"].values() for part in split["parts"]}
        with files.translated(self.parts):
            lasting.make_folder(self.parts)
            for path in self.parts.iterdir():
                if path.name not in listed:
                    path.unlink()


def _split(split: Split) -> dict[str, Any]:
    return {
        "dataset": split.dataset, "spec": dict(split.spec), "position": None, "counts": {}, "done": False, "parts": [],
    }  # fmt: skip


def checkpoints(document: dict[str, Any]) -> dict[str, Checkpoint]:
    """The splits of a document by id."""
    return {
        name: Checkpoint(
            Split(name, one["dataset"], one["spec"]), one["position"], Counts.from_json(one["counts"]), one["done"]
        )
        for name, one in document["splits"].items()
    }


def last(state: Path, target: Path, stream: str) -> dict[str, Any] | None:
    """The document that any sync last stored for a stream of this name into this target."""
    found = [load(path) for path in sorted(state.glob("*/*.json")) if path.name != "run.json"]
    ours = [d for d in found if d and d.get("target") == str(target) and d.get("stream") == stream]
    return max(ours, key=lambda document: str(document.get("updated_at", "")), default=None)


def writer(state: Path, target: Path, but: Path | None = None) -> str | None:
    """The run that writes this target and has not ended, or None; streams below the folder `but` do not count."""
    for path in sorted(state.glob("*/*.json")):
        if path.parent == but:
            continue
        document = load(path) if path.name != "run.json" else None
        if (
            document is not None
            and "target" in document
            and Path(document["target"]).name == target.name
            and document["state"] == "running"
        ):
            return str(document["run"])
    return None
