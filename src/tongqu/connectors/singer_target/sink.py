"""Writes rows through a Singer target: a run of the program for so many rows, each noted in the ledger of calls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa

from tongqu.connectors.singer_target.settings import TargetSettings
from tongqu.core.data import Write, WriteMode
from tongqu.core.errors import InvalidPlanError, TimedOutError, UnknownOutcomeError
from tongqu.core.kernels import pc
from tongqu.kit.foreign.json_schema import schema_of
from tongqu.kit.foreign.process import Process, Sandbox, whole_lines
from tongqu.kit.foreign.shelf import Shelf
from tongqu.kit.originals import constant, original_texts
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result, all_ok
from tongqu.kit.remote.sink import RemoteSink
from tongqu.kit.remote.writer import Keyed, Writer

_SLICE = 8192


class TargetSink(RemoteSink):
    """See RemoteSink. The target's table is called as the dataset."""

    def __init__(self, settings: TargetSettings):
        super().__init__(settings.calls)
        self.name = settings.target
        self._settings = settings
        self._sandbox = Sandbox(settings)
        self._lodging: Path | None = None

    def lodge(self, folder: Path) -> None:
        """See Sink.lodge; home is where packages are installed."""
        super().lodge(folder)
        self._lodging = folder

    def _program(self) -> Path:
        shelf = Shelf.of_lodging(self._lodging, self._settings.installed)
        return shelf.program(self._settings.package or self._settings.target, self._settings.target)

    def check(self) -> Iterator[str]:
        """installed, the label of its egress, then `started`: the program takes its configuration and no rows."""
        program = self._program()
        yield "installed"
        yield self._settings.reach
        TargetWriter(self._settings, self._sandbox, program, None).check()
        yield "started"

    def modes(self) -> tuple[WriteMode, ...]:
        """Append and upsert: a target shows no rows and replaces none."""
        return (WriteMode.APPEND, WriteMode.UPSERT)

    def writer(self, write: Write) -> Writer:
        """See RemoteSink.writer."""
        return TargetWriter(self._settings, self._sandbox, self._program(), write)

    def close(self) -> None:
        """See Sink.close."""
        super().close()
        self._sandbox.close()


class TargetWriter(Writer):
    """One call is one run of the program: SCHEMA, RECORDs and a STATE that it must give back."""

    divides = False

    def __init__(self, settings: TargetSettings, sandbox: Sandbox, program: Path, write: Write | None):
        self._settings, self._sandbox, self._program, self._write = settings, sandbox, program, write
        upserts = write is not None and write.mode is not WriteMode.APPEND
        self.ops = frozenset({Op.UPSERT} if upserts else {Op.CREATE})
        self.keyed = Keyed.ROW if upserts else Keyed.NO
        self.batch = settings.rows

    def check(self) -> None:
        """Run the program with nothing to write. Raises ReadError if it fails."""
        process = self._start()
        try:
            process.done_feeding()
            for _ in process.blocks(lambda: False, self._settings.limits.start_seconds):
                pass
            process.need_success()
        finally:
            process.close()

    def _start(self) -> Process:
        config = self._sandbox.file("config", self._settings.config)
        return self._sandbox.start([str(self._program), "--config", str(config)], feeds=True)

    def send(self, effects: Effects) -> Sequence[Outcome]:
        """See Writer.send. Raises UnknownOutcomeError if the program fails: it may have written some of the rows."""
        if self._write is None:
            raise InvalidPlanError("there is no stream to write", path=self._settings.target)
        process = self._start()
        feeder = Thread(target=self._feed, args=(process, effects), name="tongqu-foreign-stdin", daemon=True)
        feeder.start()
        try:
            said = b"".join(whole_lines(process.blocks(lambda: False), self._settings.target))
            code = process.finish()
        except TimedOutError as error:
            raise UnknownOutcomeError(error.message, path=self._settings.target, hint=error.hint) from error
        finally:
            process.close()
            feeder.join(10)
        if code:
            raise UnknownOutcomeError(process.failed(f"{self._settings.target} ended with exit code {code}").message)
        given = [line for line in said.splitlines() if line.strip()]
        if given and not _is(given[-1], effects.id):
            raise UnknownOutcomeError(f"{self._settings.target} ended without giving the last STATE back")
        return all_ok(len(effects), Outcome(Result.OK, None if self.keyed is Keyed.ROW else Op.CREATE))

    def _feed(self, process: Process, effects: Effects) -> None:
        """Write all messages; a program that stops listening is told by its exit code."""
        assert self._write is not None  # noqa: S101  # the caller looked
        name = self._write.dataset.name
        key = list(self._write.key)
        schema = {
            "type": "SCHEMA",
            "stream": name,
            "schema": schema_of(effects.rows.schema, key),
            "key_properties": key,
        }
        head = f'{{"type": "RECORD", "stream": {json.dumps(name)}, "record": '
        try:
            process.feed(json.dumps(schema).encode() + b"\n")
            for start in range(0, len(effects), _SLICE):
                process.feed(_lines(head, effects.rows.slice(start, _SLICE)))
            process.feed(json.dumps({"type": "STATE", "value": {"tongqu": effects.id}}).encode() + b"\n")
        except (BrokenPipeError, ValueError, OSError):
            return
        process.done_feeding()


def _lines(head: str, rows: pa.Table) -> bytes:
    """A RECORD for each row, made by columns."""
    texts = original_texts(rows)
    lines = pc.binary_join_element_wise(constant(head), texts, constant("}\n"), constant(""))
    bounds: Any = pa.array([0, rows.num_rows], pa.int32())
    whole: Any = pa.ListArray.from_arrays(bounds, lines)
    return bytes(pc.binary_join(whole, constant(""))[0].as_buffer())


def _is(line: bytes, call: str) -> bool:
    """Whether a state that the target gave back is that of this call."""
    try:
        state = json.loads(line)
    except ValueError:
        return False
    return isinstance(state, dict) and state.get("tongqu") == call
