"""Shows a run while it goes: a live table on a terminal, JSON lines for programs, and a summary at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Self

from tongqu.app.messages import t
from tongqu.app.outlets import tell
from tongqu.core.data import Counts
from tongqu.core.events import Committed, Event, LaneChanged, Retrying, StreamEnded, StreamPlanned, Warned


class JsonLines:
    """One line per commit on stderr: `{"run","stream","split","read","written"}`; counts are the stream's so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        del ended

    def __call__(self, event: Event) -> None:
        """Print the line if the event is a commit."""
        if isinstance(event, Committed):
            line = {
                "run": event.run,
                "stream": event.stream,
                "split": event.split,
                "read": event.counts.read,
                "written": event.counts.written,
            }
            tell(json.dumps(line, ensure_ascii=False))


class Quiet:
    """Only tells what a person must know: retries, rows that left the pass lane, warnings."""

    def __init__(self, clean: Any):
        self._clean = clean

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        del ended

    def __call__(self, event: Event) -> None:
        """Print a line for the event if it matters."""
        line = remark(event)
        if line:
            tell(self._clean(line))


def remark(event: Event) -> str:
    """What a person should be told about the event; empty for most."""
    if isinstance(event, Retrying):
        return t("progress.retrying", stream=event.stream, problem=event.problem, attempt=event.attempt,
                 delay=f"{event.delay:.1f}")  # fmt: skip
    if isinstance(event, LaneChanged):
        return t("progress.lane_changed", stream=event.stream, reason=event.reason)
    if isinstance(event, Warned):
        return t("progress.warned", stream=event.stream, message=event.message)
    return ""


@dataclass
class _Row:
    lane: str
    total: int | None
    status: str = "running"
    counts: Counts = field(default_factory=Counts)
    begun: float = field(default_factory=time.monotonic)
    ended: float | None = None
    before: Counts | None = None
    """What earlier attempts had done; None until it is known."""


class LiveTable:
    """A table that redraws itself on a terminal: stream, lane, rows, MB/s, time left."""

    def __init__(self, clean: Any) -> None:
        from rich.console import Console
        from rich.live import Live

        self._clean = clean
        self._rows: dict[str, _Row] = {}
        self._lock = RLock()
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True, get_renderable=self._draw)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *ended: Any) -> None:
        self._live.__exit__(*ended)

    def __call__(self, event: Event) -> None:
        """Take the event into the table."""
        line = remark(event)
        if line:
            self._console.print(self._clean(line), markup=False, highlight=False)
        with self._lock:
            if isinstance(event, StreamPlanned):
                before = Counts() if event.attempt == 1 else None
                self._rows[event.stream] = _Row(event.lane, event.rows, before=before)
            row = self._rows.get(event.stream)
            if row is None:
                return
            if isinstance(event, Committed):
                row.before = row.before or event.counts
                row.counts = event.counts
            elif isinstance(event, StreamEnded):
                row.counts, row.status, row.ended = event.counts, event.status, time.monotonic()

    def _draw(self) -> Any:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        names = ("stream", "lane", "rows", "rate", "left", "status")
        for name in names:
            table.add_column(t(f"column.{name}"), justify="right" if name in ("rows", "rate", "left") else "left")
        with self._lock:
            running = [item for item in self._rows.items() if item[1].ended is None]
            done = [item for item in self._rows.items() if item[1].ended is not None]
            for name, row in [*done[-5:], *running[:20]]:
                table.add_row(name, row.lane, *_speed(row), t(f"status.{row.status}"))
            more = len(self._rows) - min(len(done), 5) - min(len(running), 20)
        if more > 0:
            table.add_row(t("progress.more", count=more))
        return table


def _speed(row: _Row) -> tuple[str, str, str]:
    seconds = max((row.ended or time.monotonic()) - row.begun, 0.001)
    before = row.before or row.counts
    read, size = row.counts.read - before.read, row.counts.bytes - before.bytes
    rate = f"{size / seconds / 1e6:.1f} MB/s" if size else ""
    rows = f"{row.counts.read:,}"
    left = ""
    if row.total:
        rows += f" / {row.total:,}"
        if read and row.ended is None and row.total > row.counts.read:
            left = f"{seconds * (row.total - row.counts.read) / read:.0f} s"
    return rows, rate, left


def summary(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The run's document as rows of a table for people; the first row is the heading.

    Of a run that has not ended, and of one that was killed, not everything is known.
    """
    names = ("stream", "lane", "read", "written", "filtered", "quarantined", "seconds", "rate", "status")
    table: list[tuple[str, ...]] = [tuple(t(f"column.{name}") for name in names)]
    for stream in document.get("streams", []):
        seconds = float(stream.get("seconds") or 0)
        speed = f"{stream['written'] / seconds:,.0f}/s" if seconds > 0 else ""
        table.append(
            (
                stream["name"],
                stream.get("lane") or "-",
                f"{stream['read']:,}",
                f"{stream['written']:,}",
                f"{stream.get('filtered', 0):,}",
                f"{stream['quarantined']:,}",
                f"{seconds:.2f}" if "seconds" in stream else "",
                speed,
                t(f"status.{stream.get('status', document['status'])}"),
            )
        )
    return table
