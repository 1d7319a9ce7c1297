"""Writes streams into files: chunks wait as parts beside the target, and one rename makes them visible."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tongqu.connectors.file import ledger as ledgers
from tongqu.connectors.file import quarantine
from tongqu.connectors.file.arrivals import marker_of
from tongqu.connectors.file.changing import settle_file
from tongqu.connectors.file.ledger import Run, StreamLedger, checkpoints
from tongqu.connectors.file.outpost import Outpost
from tongqu.connectors.file.publish import publish, remove
from tongqu.connectors.file.session import FileSession, Landing
from tongqu.connectors.file.settings import FileSettings
from tongqu.connectors.file.shelf import Shelf
from tongqu.connectors.file.target import STATE, Target, existing, root, target
from tongqu.connectors.file.undoing import count_rows, is_kept, put_back
from tongqu.core.connector import Sink
from tongqu.core.data import Counts, Opened, Position, Split, Started, Write, WriteMode, Written
from tongqu.core.dirty import Dirty, Fix
from tongqu.core.errors import InvalidPlanError, PrivilegeError
from tongqu.kit import files, lasting
from tongqu.kit.faults import crash_point
from tongqu.kit.places.local import LocalPlace
from tongqu.kit.places.place import Place, joined, parent
from tongqu.kit.quarantine import matching, refuse_replay, written_how
from tongqu.kit.undoing import nothing_kept, refuse_while_written


class FileSink(Sink):
    """One file, or a folder with one file (or folder of partitions) a stream. Modes: append and replace.

    Rows become visible at `finish`, all at once; until then they are parts in `.tongqu` beside the target. Exactly
    once: a chunk's rows, quarantine, counts and position are committed by replacing one JSON file.
    """

    def __init__(self, settings: FileSettings):
        self._settings = settings
        where = settings.elsewhere
        self._place = Shelf(settings).place
        if self._place is not None and not self._place.writes:
            raise InvalidPlanError(f"{where.scheme if where else ''} files are only read", path=settings.display())
        self._image: Path | None = None
        self._runs: dict[str, Run] = {}
        self._landings: dict[str, Landing] = {}

    def lodge(self, folder: Path) -> None:
        """See Sink.lodge: the ledger, the parts and the new content of a target elsewhere, until it is there."""
        if self._place is not None:
            self._image = folder / "targets"

    @property
    def _root(self) -> Path:
        if self._place is not None and self._image is None:
            raise InvalidPlanError(
                f"{self._settings.display()} is written with the help of a project's home, and there is none",
                path=self._settings.display(),
            )
        return root(self._settings, self._image)

    @property
    def _state(self) -> Path:
        return self._root / STATE

    def modes(self) -> tuple[WriteMode, ...]:
        """Append and replace."""
        return (WriteMode.APPEND, WriteMode.REPLACE)

    def identity(self, name: str) -> str:
        """See Sink.identity: the path."""
        if self._place is not None:
            return self._place.shown(existing(self._settings, name, Path()).remote)
        return str(existing(self._settings, name).path)

    def check(self) -> Iterator[str]:
        """`folder`, `write`: the folder is there or can be made, and a file can be made in it. Leaves nothing. Before
        them the stages of a connection elsewhere."""
        if self._place is not None:
            yield from self._place.stages()
            yield from self._writable(self._place)
            return
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

    def _writable(self, place: Place) -> Iterator[str]:
        """The same stages at a place elsewhere."""
        where = existing(self._settings, "x", Path()).remote
        folder = parent(where)
        while folder and place.there(folder) is None:
            folder = parent(folder)
        yield "folder"
        probe = joined(folder, f".tongqu-check-{os.getpid()}")
        with tempfile.NamedTemporaryFile(prefix="tongqu-check-") as file:
            place.put(probe, Path(file.name))
        place.delete(probe)
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
        place = target(self._settings, write.dataset.name, schema, self._image)
        self._alone(write, place)
        if write.replay:
            own = self._state / ledgers.key(write.sync)
            refuse_replay(write, ledgers.writer(self._state, place.path, but=own))
        place.form.check(schema)
        with files.translated(self._root):
            lasting.make_folder(self._state)
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
        outpost = Outpost(self._place, place) if self._place is not None else None
        self._landings[write.stream] = Landing(write, place, ledger, fence, claim, outpost=outpost)
        ours = head is not None and head["run"] == write.run
        previous = head["position"] if head and head["state"] != "discarded" else None
        if head and ours and head["state"] == "finished" and not write.follows:
            ledger.store(head | {"fence": fence})
            return Opened(fence, {}, previous, finished=True, counts=Counts.from_json(head["counts"]))
        shape = _shape(write, place)
        resumes = head and ours and head["state"] == "running" and head["shape"] == shape
        base = self._taken(outpost, write, head if resumes else None) if outpost else None
        with files.translated(place.path):
            changed = settle_file(write, place, self._state, head)
        self._landings[write.stream].changed = changed
        if head and resumes:
            document = head | {"fence": fence, "base": base}
        else:
            document = {
                "stream": write.stream, "target": str(place.path), "run": write.run, "fence": fence,
                "state": "running", "shape": shape, "position": previous, "counts": {}, "splits": {}, "swap": None,
                "base": base, "quarantine": _kept(head), "dirty": len(_kept(head)),
                "settled": (head or {}).get("settled", {}), "how": written_how(write), **changed.remember,
            }  # fmt: skip
        ledger.store(document)
        ledger.clean(document)
        counts = Counts.from_json(head["counts"]) if head and ours else Counts()
        return Opened(fence, checkpoints(document), previous, counts=counts, changes=changed.settled.changes)

    def _taken(self, outpost: Outpost, write: Write, head: dict[str, Any] | None) -> dict[str, Any] | None:
        """Take a target elsewhere: bring here what an append goes on after, unless the new content is built already;
        its identity."""
        outpost.take(write.run)
        if head and head["swap"]:
            return dict(head["base"]) if head.get("base") else None
        if write.mode is WriteMode.APPEND and not outpost.target.partition:
            return outpost.fetch()
        for image in (outpost.target.path, outpost.target.temporary, outpost.target.previous):
            remove(image)
        return None

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
            if landing.outpost is not None:
                landing.outpost.publish(document, landing.ledger.store, append, write.stream)
            if self._settings.marker:
                self._mark(landing.target)
            crash_point("after_swap")
            numbers = {k: v for k, v in asdict(written).items() if k != "refused"}
            counts = replace(counts, **numbers)
            landing.ledger.store(
                document
                | {"state": "finished", "position": position, "counts": counts.to_json()}
                | {"splits": {}, "swap": None, "pushed": None}
                | {"written": numbers, "dirty": len(document["quarantine"]), "settling": {}}
                | {"settled": document.get("settled", {}) | document.get("settling", {})}
            )
            shutil.rmtree(landing.ledger.parts, ignore_errors=True)
            if landing.outpost is not None:
                landing.outpost.leave()
                for image in (landing.target.path, landing.target.previous):
                    remove(image)
            return written

    def _mark(self, place: Target) -> None:
        """Put the marker that says that a target is complete; in a folder of partitions it stands in the folder."""
        path = place.remote or str(place.path)
        marker = marker_of(self._settings, f"{path}/_" if place.partition else path)
        with tempfile.NamedTemporaryFile(prefix="tongqu-marker-") as empty:
            (self._place or LocalPlace()).put(marker, Path(empty.name))

    def undo(self, dataset: str) -> int:
        """See Sink.undo: the names of the content and of the one kept before it are exchanged. Raises
        InvalidPlanError for a folder of partitions where the file system cannot exchange two names in one step."""
        place = existing(self._settings, dataset, self._image)
        outpost = Outpost(self._place, place) if self._place is not None else None
        if not (outpost.is_kept() if outpost else is_kept(place)):
            raise nothing_kept(dataset)
        refuse_while_written(dataset, ledgers.writer(self._state, place.path))
        for stream, landing in list(self._landings.items()):
            if landing.target.path == place.path:
                self._landings.pop(stream).claim.release()
        with files.translated(self._root):
            lasting.make_folder(self._state)
        claim = files.Lock(self._state / f"{ledgers.key(place.path.name)}.lock", str(place.path))
        try:
            if outpost is not None:
                outpost.put_back()
                return count_rows(outpost.path, self._settings)
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
        if self._place is not None:
            self._place.close()


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
