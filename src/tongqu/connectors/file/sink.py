"""Writes streams into files: chunks wait as parts beside the target, and one rename makes them visible."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa

from tongqu.connectors.file import ledger as ledgers
from tongqu.connectors.file import quarantine
from tongqu.connectors.file.assembly import part_form
from tongqu.connectors.file.changing import Changed, conformed, settle_file
from tongqu.connectors.file.ledger import Run, StreamLedger, checkpoints
from tongqu.connectors.file.publish import publish
from tongqu.connectors.file.settings import FileSettings
from tongqu.connectors.file.target import STATE, Target, existing, root, target
from tongqu.connectors.file.undoing import is_kept, put_back
from tongqu.core.connector import Session, Sink
from tongqu.core.data import Checkpoint, Counts, Opened, Position, Split, Started, Write, WriteMode, Written
from tongqu.core.dirty import Dirty, Fix
from tongqu.core.errors import InvalidPlanError, PrivilegeError
from tongqu.kit import files
from tongqu.kit.faults import crash_point
from tongqu.kit.formats.output import Output, unfit
from tongqu.kit.quarantine import matching, refuse_replay, written_how
from tongqu.kit.sieve import sieved
from tongqu.kit.undoing import nothing_kept, refuse_while_written


@dataclass
class Landing:
    """An opened stream: where its rows go, its ledger and our fence."""

    write: Write
    target: Target
    ledger: StreamLedger
    fence: int
    claim: files.Lock
    lock: Lock = field(default_factory=Lock)
    changed: Changed | None = None
    """What is done about a schema that has changed."""

    @property
    def schema(self) -> pa.Schema:
        """What is written."""
        return self.changed.schema if self.changed else self.write.dataset.schema


class FileSink(Sink):
    """One file, or a folder with one file (or folder of partitions) a stream. Modes: append and replace.

    Rows become visible at `finish`, all at once; until then they are parts in `.tongqu` beside the target. Exactly
    once: a chunk's rows, quarantine, counts and position are committed by replacing one JSON file.
    """

    def __init__(self, settings: FileSettings):
        self._settings = settings
        self._root = root(settings)
        self._state = self._root / STATE
        self._runs: dict[str, Run] = {}
        self._landings: dict[str, Landing] = {}

    def modes(self) -> tuple[WriteMode, ...]:
        """Append and replace."""
        return (WriteMode.APPEND, WriteMode.REPLACE)

    def identity(self, name: str) -> str:
        """See Sink.identity: the path."""
        return str(existing(self._settings, name).path)

    def check(self) -> Iterator[str]:
        """`folder`, `write`: the folder is there or can be made, and a file can be made in it. Leaves nothing."""
        folder = self._root.absolute()
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise PrivilegeError(f"no right to write in {folder}", path=f"file:{folder}", hint="choose another folder")
        yield "folder"
        probe = folder / f".tongqu-check-{os.getpid()}"
        with files.translated(folder):
            probe.write_bytes(b"")
            probe.unlink()
        yield "write"

    # ---- runs

    def start(self, sync: str, run: str, restart: bool) -> Started:
        """See Sink.start; raises BusyError if another process runs this sync."""
        if sync not in self._runs:
            self._runs[sync] = Run(self._state, sync)
        return self._runs[sync].start(run, restart)

    def end(self, sync: str, run: str, streams: Sequence[Write]) -> None:
        """See Sink.end."""
        del streams
        self._runs[sync].end(run)

    # ---- streams

    def open(self, write: Write) -> Opened:
        """See Sink.open; raises InvalidPlanError for a mode files do not have, BusyError if another process writes
        the same target, SchemaError if the format cannot hold a column."""
        if write.mode not in self.modes():
            raise InvalidPlanError(
                f"files cannot be written in mode {write.mode.value!r}",
                path=write.stream,
                hint=f"valid write modes: {', '.join(self.modes())}",
            )
        schema = write.dataset.schema
        place = target(self._settings, write.dataset.name, schema)
        self._alone(write, place)
        if write.replay:
            own = self._state / ledgers.key(write.sync)
            refuse_replay(write, ledgers.writer(self._state, place.path, but=own))
        place.form.check(schema)
        with files.translated(self._root):
            self._state.mkdir(parents=True, exist_ok=True)
        if (known := self._landings.pop(write.stream, None)) is not None:
            known.claim.release()
        claim = files.Lock(self._state / f"{ledgers.key(place.path.name)}.lock", str(place.path))
        try:
            return self._open(write, place, claim)
        except BaseException:
            claim.release()
            raise

    def _alone(self, write: Write, place: Target) -> None:
        for stream, landing in self._landings.items():
            if stream != write.stream and landing.target.path == place.path:
                raise InvalidPlanError(
                    f"the streams {stream!r} and {write.stream!r} would both write {place.path}",
                    path=write.stream,
                    hint="give a folder as target, or different names",
                )

    def _open(self, write: Write, place: Target, claim: files.Lock) -> Opened:
        if write.sync not in self._runs:
            self._runs[write.sync] = Run(self._state, write.sync)
        ledger = StreamLedger(self._runs[write.sync].folder, write.stream)
        head = ledger.load()
        fence = head["fence"] + 1 if head else 1
        self._landings[write.stream] = Landing(write, place, ledger, fence, claim)
        ours = head is not None and head["run"] == write.run
        previous = head["position"] if head and head["state"] != "discarded" else None
        if head and ours and head["state"] == "finished":
            ledger.store(head | {"fence": fence})
            return Opened(fence, {}, previous, finished=True, counts=Counts.from_json(head["counts"]))
        shape = _shape(write, place)
        with files.translated(place.path):
            changed = settle_file(write, place, self._state, head)
        self._landings[write.stream].changed = changed
        resumes = head and ours and head["state"] == "running" and head["shape"] == shape
        if head and resumes:
            document = head | {"fence": fence}
        else:
            document = {
                "stream": write.stream, "target": str(place.path), "run": write.run, "fence": fence,
                "state": "running", "shape": shape, "position": previous, "counts": {}, "splits": {}, "swap": None,
                "quarantine": _kept(head), "dirty": len(_kept(head)),
                "settled": (head or {}).get("settled", {}), "how": written_how(write), **changed.remember,
            }  # fmt: skip
        ledger.store(document)
        ledger.clean(document)
        return Opened(fence, checkpoints(document), previous, changes=changed.settled.changes)

    def begin(self, write: Write, splits: Sequence[Split]) -> None:
        """See Sink.begin."""
        landing = self._landings[write.stream]
        landing.ledger.begin(landing.fence, splits)

    def session(self, write: Write, split: Split) -> FileSession:
        """See Sink.session."""
        return FileSession(self._landings[write.stream], split)

    def reopen(self, write: Write) -> Opened:
        """See Sink.reopen."""
        landing = self._landings[write.stream]
        document = landing.ledger.hold(landing.fence)
        return Opened(landing.fence, checkpoints(document), document["position"])

    def finish(self, write: Write, counts: Counts, position: Position | None) -> Written:
        """See Sink.finish: the parts become the target's content, the content before a replace stays beside it as
        `.<name>.previous`."""
        landing = self._landings[write.stream]
        with landing.lock:
            document = landing.ledger.hold(landing.fence)
            if document["state"] == "finished":
                return Written(**document["written"])
            append = write.mode is WriteMode.APPEND
            written = publish(landing.target, landing.schema, landing.ledger, document, append)
            crash_point("after_swap")
            numbers = {k: v for k, v in asdict(written).items() if k != "refused"}
            counts = replace(counts, **numbers)
            landing.ledger.store(
                document
                | {"state": "finished", "position": position, "counts": counts.to_json(), "splits": {}, "swap": None}
                | {"written": numbers, "dirty": len(document["quarantine"]), "settling": {}}
                | {"settled": document.get("settled", {}) | document.get("settling", {})}
            )
            shutil.rmtree(landing.ledger.parts, ignore_errors=True)
            return written

    def undo(self, dataset: str) -> int:
        """See Sink.undo: the names of the content and of the one kept before it are exchanged. Raises
        InvalidPlanError for a folder of partitions where the file system cannot exchange two names in one step."""
        place = existing(self._settings, dataset)
        if not is_kept(place):
            raise nothing_kept(dataset)
        refuse_while_written(dataset, ledgers.writer(self._state, place.path))
        for stream, landing in list(self._landings.items()):
            if landing.target.path == place.path:
                self._landings.pop(stream).claim.release()
        with files.translated(self._root):
            self._state.mkdir(parents=True, exist_ok=True)
        claim = files.Lock(self._state / f"{ledgers.key(place.path.name)}.lock", str(place.path))
        try:
            with files.translated(place.path):
                return put_back(place, self._settings)
        finally:
            claim.release()

    def dirty(self, which: Dirty) -> list[dict[str, Any]]:
        """See Sink.dirty."""
        return matching(quarantine.rows(self._state), which)

    def fix(self, fixes: Sequence[Fix]) -> int:
        """See Sink.fix."""
        return quarantine.fix(self._state, fixes)

    def replaying(self, sync: str, stream: str) -> dict[str, Any]:
        """See Sink.replaying."""
        document = StreamLedger(self._state / ledgers.key(sync), stream).load()
        if document is None or "how" not in document:
            return {}
        how = dict(document["how"])
        return how | {"mode": how.pop("write"), "run": document["run"], "finished": document["state"] == "finished"}

    def close(self) -> None:
        """See Sink.close."""
        for landing in self._landings.values():
            landing.claim.release()
        for run in self._runs.values():
            run.release()
        self._landings, self._runs = {}, {}


def _shape(write: Write, place: Target) -> str:
    """What must stay the same for parts to be usable by a later attempt."""
    columns = [f"{f.name} {f.type}" for f in write.dataset.schema]
    return ledgers.key(f"{write.mode} {place} {columns}{write.recipe}")


def _kept(head: dict[str, Any] | None) -> list[str]:
    """Quarantine of earlier runs; that of a run that never finished goes with its rows."""
    if head is None:
        return []
    listed: list[str] = head["quarantine"]
    return listed if head["state"] == "finished" else listed[: head.get("dirty", 0)]


class FileSession(Session):
    """One split's parts: each commit makes one."""

    def __init__(self, landing: Landing, split: Split):
        self._landing = landing
        self._split = split
        self._output: Output | None = None
        self._rows = 0
        self._temporary: Path = landing.ledger.parts / f"{ledgers.key(split.id)}.tmp"

    def write(self, rows: pa.Table) -> Written:
        """See Session.write; refused are rows with characters the encoding lacks, or that the format cannot hold."""
        landing = self._landing
        form = part_form(landing.target)
        written = Written()
        if landing.changed is not None and landing.changed.settled.sieving:
            rows = sieved(landing.changed.settled.sieving, rows, written)
        rows = conformed(rows, landing.schema)
        with files.translated(self._temporary):
            if self._output is None:
                self._output = Output(self._temporary, form, landing.schema, head=False)
            before = self._output.size()
            fit, refused = (rows, []) if form == landing.target.form else unfit(rows, landing.target.form)
            refused += self._output.write(fit)
            crash_point("mid_write")
            count = rows.num_rows - len(refused)
            self._rows += count
            written.refused += refused
            return replace(written, inserted=count, bytes=self._output.size() - before)

    def commit(self, checkpoint: Checkpoint) -> None:
        """See Session.commit."""
        landing = self._landing
        ledger = landing.ledger
        with landing.lock, files.translated(self._temporary):
            document = ledger.hold(landing.fence)
            done = document["splits"].get(self._split.id, {}).get("parts", [])
            dirty_count = len(document["quarantine"])
            name = f"{ledgers.key(self._split.id)}-{len(done):05d}"
            part = None
            if self._output is not None:
                size = self._output.close()
                if self._rows:
                    files.replace(self._temporary, ledger.parts / name)
                    part = (name, self._rows, size)
                else:
                    self._temporary.unlink()
            dirty = None
            if checkpoint.quarantine:
                stream = ledgers.key(landing.write.stream)
                dirty = f"{stream}-{landing.write.run}-{dirty_count:05d}.jsonl"
                told = {"sync": landing.write.sync, "run": landing.write.run, "stream": landing.write.stream}
                quarantine.keep(ledger.quarantine, dirty, told | {"at": ledgers.now()}, checkpoint.quarantine)
            crash_point("in_commit")
            ledger.advance(
                landing.fence, checkpoint, part=part, dirty=dirty, settling=quarantine.settling(checkpoint.settled)
            )
        self._output, self._rows = None, 0

    def abort(self) -> None:
        """See Session.abort."""
        if self._output is not None:
            self._output.abandon()
            self._temporary.unlink(missing_ok=True)
        self._output, self._rows = None, 0

    def close(self) -> None:
        """See Session.close."""
        self.abort()
