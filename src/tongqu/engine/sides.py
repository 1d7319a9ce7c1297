"""What row-wise steps look up: whole inputs, kept once in a database that may use the disk."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.errors import TongquError
from tongqu.core.operator import Step
from tongqu.engine.flow import Flow, entered, refusal
from tongqu.meaning.sandbox import open_sandbox, quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True)
class Side:
    """An input that is read whole, when the first chunk needs it."""

    dataset: Dataset
    rows: Callable[[], Flow]
    recipe: str = ""
    """A text that changes when what makes its rows does."""


class Sides:
    """The kept inputs of one chain, shared by its forks; safe to use from their threads.

    A side that was being loaded when its source failed is loaded anew when it is next asked for.
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
        self._loaded: set[str] = set()
        self._lock = threading.Lock()
        self._closing = weakref.finalize(self, _close, self._database, self._folder)

    def connection(self) -> DuckDBPyConnection:
        """A connection of its own for a fork of the chain, which sees the tables."""
        return self._database.cursor()

    def tables(self, step: Step) -> list[str]:
        """The quoted names of the tables that hold the step's sides, in their order; read now if they are not yet."""
        number = next(n for n, other in enumerate(self._steps) if other.id == step.id)
        found = []
        with self._lock:
            for place, name in enumerate(step.operator.side_names):
                table = f"side_{number}_{place}"
                if table not in self._loaded:
                    self._load(step, self._sides[name], table)
                    self._loaded.add(table)
                found.append(quoted(table))
        return found

    def _load(self, step: Step, side: Side, table: str) -> None:
        import duckdb

        failures: list[BaseException] = []
        connection = self._database.cursor()
        incoming = f"{table}_in"
        try:
            connection.register(incoming, entered(side.dataset, side.rows(), failures))
            query = step.operator.side(quoted(incoming), side.dataset)
            connection.execute(f"CREATE OR REPLACE TABLE {quoted(table)} AS {query}")
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


def _close(database: DuckDBPyConnection, folder: Path) -> None:
    database.close()
    shutil.rmtree(folder, ignore_errors=True)
