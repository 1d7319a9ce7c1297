"""What row-wise steps look up: whole inputs, kept in a database that may use the disk, and fresh if rows are of now."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.errors import CancelledError, TongquError
from tongqu.core.history import History
from tongqu.core.operator import Step
from tongqu.engine.flow import Flow, entered, refusal
from tongqu.meaning.sandbox import open_sandbox, quoted, relation_names
from tongqu.meaning.versions import EVER

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from tongqu.engine.mirror import Mirror


_PAUSE = 0.1
_INSTANT = pa.timestamp("us", "UTC")
_GAP = pa.struct([pa.field("since", _INSTANT), pa.field("until", _INSTANT)])
_RESTING = 10
"""A key that was waited for in vain is not waited for again for so many times as long."""


@dataclass(frozen=True)
class Side:
    """An input that is read whole: when the first chunk needs it, and anew where rows of now need it fresher."""

    dataset: Dataset
    rows: Callable[[], Flow]
    recipe: str = ""
    """A text that changes when what makes its rows does."""
    stop: threading.Event = field(default_factory=threading.Event, compare=False)
    """Set when nothing shall be waited for any more."""
    mirror: Mirror | None = field(default=None, compare=False)
    """Where the input is followed by its own log: the copy that is looked up instead of reading it again."""

    @property
    def kept(self) -> Dataset:
        """What is kept of it: its rows, or their versions."""
        history = self.mirror is not None and self.mirror.history is not None
        return self.mirror.given if self.mirror is not None and history else self.dataset


class Sides:
    """The kept inputs of one chain, shared by its forks; safe to use from their threads.

    A side that was being loaded when its source failed is loaded anew when it is next asked for; what was kept of it
    before is used until then only by rows that may be looked up in something so old.
    """

    def __init__(
        self,
        sides: Mapping[str, Side],
        steps: Sequence[Step],
        settings: tuple[int, int, Path | str | None],
    ):
        threads, memory_mb, temp_directory = settings
        self._sides, self._steps = sides, steps
        self._folder = Path(tempfile.mkdtemp(prefix="tongqu-", dir=temp_directory))
        self._database = open_sandbox(threads, memory_mb, self._folder / "spill")
        self._begun: dict[str, float] = {}
        """When the read began that gave what a table holds, in seconds of the monotonic clock."""
        self._took: dict[str, float] = {}
        self._versions: dict[str, int] = {}
        """Of sides that are followed: the version of the copy that a table holds."""
        self._reached: dict[str, int] = {}
        """Of sides that are kept with their history: before when a table holds everything."""
        self._lock = threading.Lock()
        self._closing = weakref.finalize(self, _close, self._database, self._folder)

    def connection(self) -> DuckDBPyConnection:
        """A connection of its own for a fork of the chain, which sees the tables."""
        return self._database.cursor()

    def tables(self, step: Step, rows: pa.Table, inputs: Sequence[Dataset] = (), *, live: bool = False) -> list[str]:
        """The quoted names of the tables that hold the step's sides, in their order, and of those that tell when they
        began to be read; read now if they are not yet.

        If the `rows` (of `inputs[0]`) are `live`, they are as fresh as the step wants, and what these rows do not find
        is waited for as long as it says. A side that is followed has everything that was committed there before the
        call, or as long before as the step allows; one with a history, everything before the rows' instants, which is
        waited for as long as the step says. Raises CancelledError if stopped meanwhile.
        """
        number = next(n for n, other in enumerate(self._steps) if other.id == step.id)
        names = step.operator.side_names
        found = [f"side_{number}_{place}" for place in range(len(names))]
        age, patience = step.operator.side_freshness if live else (None, 0.0)
        for table, name in zip(found, names, strict=True):
            history = step.operator.side_history
            if history is not None:
                self._settle(step, (self._sides[name], table), rows, inputs, history)
                continue
            if live and age is None and self._sides[name].mirror is not None:
                age = 0.0
            self._fresh(step, self._sides[name], table, None if age is None else time.monotonic() - age, inputs)
            if live and patience:
                self._await(step, self._sides[name], table, rows, inputs)
        return [quoted(table) for table in found] + [quoted(f"{table}_at") for table in found]

    def _fresh(self, step: Step, side: Side, table: str, since: float | None, inputs: Sequence[Dataset]) -> None:
        """Read the side unless the read of what is kept began after `since`."""
        with self._lock:
            begun = self._begun.get(table)
            if begun is None or (since is not None and begun < since):
                now = time.monotonic()
                if side.mirror is None:
                    self._load(step, side, table, side.rows())
                else:
                    self._follow(step, side, (table, inputs), side.mirror)
                self._begun[table], self._took[table] = now, time.monotonic() - now

    def _settle(
        self, step: Step, into: tuple[Side, str], rows: pa.Table, inputs: Sequence[Dataset], history: History
    ) -> None:
        """Have everything in the table that was committed before the instants of the rows, as far as it can be within
        the time that they wait; the clock here must be so far for that."""
        (side, table), mirror = into, into[0].mirror
        assert mirror is not None  # noqa: S101  # refused when planning
        instants = _instants(rows, history.on)
        came, horizon = time.monotonic(), _now() - history.lateness + history.wait
        wanted = int(instants[instants < horizon].max(initial=EVER))
        while table not in self._reached or self._reached[table] <= wanted:
            left = came + history.wait / 1e6 - time.monotonic()
            pause = min(left, (wanted + history.lateness + 1 - _now()) / 1e6)
            if pause > 0 and side.stop.wait(pause):
                raise CancelledError(f"stopped while step {step.id!r} waited for a history", path=step.path)
            self._fresh(step, side, table, time.monotonic(), inputs)
            if left <= 0:
                break
        mirror.answered(int(instants[instants < self._reached[table]].max(initial=EVER)))

    def _follow(self, step: Step, side: Side, into: tuple[str, Sequence[Dataset]], mirror: Mirror) -> None:
        """Bring the table to what the side's log tells now: the groups of rows that changed, or all of it."""
        at, (table, inputs) = datetime.now(UTC), into
        mirror.caught_up(time.monotonic())
        with mirror.still():
            held, version = self._versions.get(table), mirror.version
            changed = None if held is None else mirror.changed(held)
            if changed is None:
                version, rows = mirror.whole()
                self._load(step, side, table, rows, at)
            else:
                columns = [theirs for _, (place, theirs) in step.operator.matches(inputs) if place]
                told = _told(at, mirror)
                self._amend(step, side, (table, told), changed.select(columns), mirror.among(columns, changed))
            self._versions[table], self._reached[table] = version, mirror.reached

    def _amend(self, step: Step, side: Side, into: tuple[str, pa.Table], groups: pa.Table, rows: pa.Table) -> None:
        """Make groups anew, which are told by their values in the columns that are matched: their rows are these."""
        import duckdb

        (table, told), connection = into, self._database.cursor()
        try:
            connection.execute("BEGIN")
            if groups.num_rows:
                keys = [f"k{n}" for n in range(groups.num_columns)]
                connection.register("gone", groups.rename_columns(keys))
                match = " AND ".join(f"{quoted(table)}.{key} = gone.{key}" for key in keys)
                connection.execute(f"DELETE FROM {quoted(table)} WHERE EXISTS (SELECT 1 FROM gone WHERE {match})")
                connection.register("came", rows.rename_columns(list(relation_names(rows.column_names).values())))
                connection.execute(f"INSERT INTO {quoted(table)} {step.operator.side('came', side.kept)}")
            connection.register("told", told)
            items = ", ".join(f"{name} = told.{name}" for name in told.column_names)
            connection.execute(f"UPDATE {quoted(f'{table}_at')} SET {items} FROM told")
            connection.execute("COMMIT")
        except (duckdb.Error, pa.ArrowException) as error:
            raise refusal(error, step) from None
        finally:
            connection.close()

    def _await(self, step: Step, side: Side, table: str, rows: pa.Table, inputs: Sequence[Dataset]) -> None:
        """Read the side again and again until the keys of all rows are there, or have been waited for. It is read at
        most half of the time, however long that takes."""
        _, patience = step.operator.side_freshness
        came = time.monotonic()
        connection = self._database.cursor()
        given_up = quoted(f"{table}_given_up")
        try:
            names = list(relation_names(rows.column_names).values())
            connection.register("came", rows.rename_columns(names))
            keys = step.operator.absent("came", quoted(table), inputs)
            while self._lacking(connection, keys, given_up):
                left = came + patience - time.monotonic()
                if left <= 0:
                    self._give_up(connection, keys, given_up, patience)
                    return
                if side.stop.wait(min(left, max(_PAUSE, self._took[table]))):
                    raise CancelledError(f"stopped while step {step.id!r} waited for what rows look up", path=step.path)
                self._fresh(step, side, table, time.monotonic(), inputs)
        finally:
            connection.close()

    def _lacking(self, connection: DuckDBPyConnection, keys: str, given_up: str) -> bool:
        """Whether there are keys to wait for."""
        with self._lock:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {given_up} AS SELECT *, 0.0::DOUBLE AS until FROM ({keys}) LIMIT 0"
            )
            row = connection.execute(
                f"SELECT count(*) FROM (SELECT * FROM ({keys}) EXCEPT "
                f"SELECT * EXCLUDE (until) FROM {given_up} WHERE until > {time.monotonic()!r})"
            ).fetchone()
        return bool(row and row[0])

    def _give_up(self, connection: DuckDBPyConnection, keys: str, given_up: str, patience: float) -> None:
        """Do not wait for these keys again for a while; they are kept where the side is, on disk if they are many."""
        now = time.monotonic()
        with self._lock:
            connection.execute(f"DELETE FROM {given_up} WHERE until <= {now!r}")
            connection.execute(f"INSERT INTO {given_up} SELECT *, {now + _RESTING * patience!r} FROM ({keys})")

    def _load(self, step: Step, side: Side, table: str, rows: Flow, at: datetime | None = None) -> None:
        import duckdb

        at = at or datetime.now(UTC)
        failures: list[BaseException] = []
        connection = self._database.cursor()
        incoming = f"{table}_in"
        try:
            connection.register(incoming, entered(side.kept, rows, failures))
            query = step.operator.side(quoted(incoming), side.kept)
            connection.register("told", _told(at, side.mirror))
            made, about = quoted(f"{table}_new"), quoted(f"{table}_at")
            connection.execute(f"CREATE OR REPLACE TABLE {made} AS {query}")
            connection.execute("BEGIN")  # whoever asks meanwhile sees both of the one read, or both of the other
            connection.execute(f"DROP TABLE IF EXISTS {quoted(table)}")
            connection.execute(f"ALTER TABLE {made} RENAME TO {quoted(table)}")
            connection.execute(f"CREATE OR REPLACE TABLE {about} AS SELECT * FROM told")
            connection.execute("COMMIT")
        except TongquError as error:
            error.path = error.path or step.path
            raise
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise (failures[0] if failures else refusal(error, step)) from None
        finally:
            connection.close()

    def close(self) -> None:
        """Close the database and delete its files; may be called twice."""
        self._closing()


def _told(at: datetime, mirror: Mirror | None) -> pa.Table:
    """The one row that tells of a kept side: when it began to be read, and how far its history goes."""
    history = mirror is not None and mirror.history is not None
    reached = mirror.reached if mirror is not None and history else None
    gaps = [{"since": since, "until": until} for since, until in mirror.gaps()] if mirror is not None else []
    columns: list[Any] = [pa.array([at], _INSTANT), pa.array([reached], pa.int64()).cast(_INSTANT)]
    return pa.Table.from_arrays([*columns, pa.array([gaps], pa.list_(_GAP))], names=["read_at", "reached", "gaps"])


def _now() -> int:
    return time.time_ns() // 1000


def _instants(rows: pa.Table, name: str) -> Any:
    """The instants of rows that have one, in microseconds since 1970."""
    return rows.column(name).drop_null().cast(_INSTANT).cast(pa.int64()).to_numpy()


def _close(database: DuckDBPyConnection, folder: Path) -> None:
    database.close()
    shutil.rmtree(folder, ignore_errors=True)
