"""An opened stream of a file sink, and the way of one split's rows into its parts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

import pyarrow as pa

from tongqu.connectors.file import ledger as ledgers
from tongqu.connectors.file import quarantine
from tongqu.connectors.file.assembly import part_form
from tongqu.connectors.file.changing import Changed, conformed
from tongqu.connectors.file.ledger import StreamLedger
from tongqu.connectors.file.outpost import Outpost
from tongqu.connectors.file.target import Target
from tongqu.core.connector import Session
from tongqu.core.data import Checkpoint, Split, Write, Written
from tongqu.kit import files, lasting
from tongqu.kit.faults import crash_point
from tongqu.kit.formats.output import Output, unfit
from tongqu.kit.sieve import sieved


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
    outpost: Outpost | None = None
    """The target's place, if it is elsewhere."""

    @property
    def schema(self) -> pa.Schema:
        """What is written."""
        return self.changed.schema if self.changed else self.write.dataset.schema


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
                    lasting.replace(self._temporary, ledger.parts / name)
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
