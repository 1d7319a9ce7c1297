"""Answers the gateway's questions from files: Parquet as it lies there, others read once and again when they change."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import RLock
from time import monotonic
from typing import Any, TypeVar

import pyarrow as pa
from sqlglot import exp

from tongqu.connectors.file.choices import chosen
from tongqu.connectors.file.finding import find
from tongqu.connectors.file.settings import FileSettings
from tongqu.connectors.file.shelf import Shelf
from tongqu.connectors.file.source import FileSource
from tongqu.core.data import Dataset, Read
from tongqu.core.errors import InvalidPlanError, LostPositionError, NotFoundError
from tongqu.core.server import Change, Cost, Format, Idempotency, Limits, Outcome, Page, Query, Server
from tongqu.kit import files
from tongqu.kit.drivers import driver
from tongqu.kit.serving.duck import Duck, hidden
from tongqu.kit.serving.statements import Statements
from tongqu.kit.serving.threads import Running, Workers
from tongqu.kit.serving.trees import bind
from tongqu.meaning.masks import Mask

T = TypeVar("T")
_WORKERS = 4
_SECONDS = 300.0
"""For what is asked while publishing; files may have to be fetched."""
LOOK_HERE, LOOK_ELSEWHERE = 0.5, 30.0
"""Seconds between two looks whether files have changed."""
_MEMORY = "1GB"
_TRIES = 3


@dataclass
class _Held:
    """A dataset as it was read."""

    dataset: Dataset
    relation: str
    signature: tuple[Any, ...]
    looked: float
    copied: bool


class FileServer(Server):
    """Read-only. Rows are those that a run would read: what cannot be read as its column says is no row here either.

    Files that DuckDB reads exactly as the connector does (whole Parquet files here) are read in place; of others a copy
    is kept in a temporary database, outside memory, and made anew when size, time or first bytes of a file change, or a
    file comes or goes. A query sees one state of each dataset.
    """

    dialect = "duckdb"
    transactions = False

    def __init__(self, settings: FileSettings, *, clock: Callable[[], float] = monotonic):
        self._settings, self._clock = chosen(settings), clock
        self._shelf = Shelf(self._settings)
        self._look = LOOK_HERE if self._shelf.place is None else LOOK_ELSEWHERE
        self._workers: Workers | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._database: Any = None
        self._held: dict[str, _Held] = {}
        self._numbers = count(1)
        self._statements = Statements("duckdb", self._stands)
        self._duck = Duck(self._statements, self._settings.display())
        self._lock = RLock()

    @property
    def connections(self) -> tuple[int, int] | None:
        """See Server.connections."""
        return self._workers.numbers if self._workers is not None else None

    async def open(self) -> None:
        """See Server.open."""
        self._workers = Workers(_WORKERS, "tongqu-files")
        await self._run(lambda _: self._opened(), _SECONDS)

    async def describe(self, name: str) -> Dataset:
        """See Server.describe: with the types that a run would infer."""
        return await self._run(lambda _: self._fresh(name, now=True).dataset, _SECONDS)

    async def columns(self, sql: str, params: Mapping[str, Any]) -> pa.Schema:
        """See Server.columns."""
        tree = bind(sql, self.dialect)

        def found(_: Running) -> pa.Schema:
            with self._cursor(tree) as cursor:
                return self._duck.schema(cursor, tree, params)

        return await self._run(found, _SECONDS)

    async def query(self, query: Query, format: Format, limits: Limits) -> Page:
        """See Server.query."""

        def made(running: Running) -> Page:
            with self._cursor(query.tree) as cursor:
                return self._duck.page(cursor, query, format, limits, running)

        return await self._run(made, limits.seconds)

    async def stream(self, query: Query, format: Format, limits: Limits) -> AsyncIterator[bytes]:
        """See Server.stream."""

        def made(running: Running) -> Iterator[bytes]:
            with self._cursor(query.tree) as cursor:
                yield from self._duck.pieces(cursor, query, format, limits, running)

        async for piece in self._need().each(made, limits.seconds):
            yield piece

    async def explain(self, query: Query) -> Cost:
        """See Server.explain."""

        def told(_: Running) -> Cost:
            with self._cursor(query.tree) as cursor:
                return self._duck.cost(cursor, query)

        return await self._run(told, _SECONDS)

    async def transact(
        self,
        changes: Sequence[Change],
        limits: Limits,
        idempotency: Idempotency | None = None,
        answer: Callable[[Outcome], bytes] | None = None,
    ) -> Outcome:
        """See Server.transact: files are not changed by calls."""
        del changes, limits, idempotency, answer
        raise InvalidPlanError(
            f"{self._settings.display()} can only be read by calls",
            hint="write into a database, or publish an intake and a pipeline that writes files",
        )

    def mask(self, mask: Mask, column: pa.Field[Any]) -> exp.Expr | None:
        """See Server.mask."""
        return hidden(mask, column)

    async def close(self) -> None:
        """See Server.close."""
        workers, self._workers = self._workers, None
        if workers is None:
            return
        await workers.close()
        self._held.clear()
        self._shelf.close()
        database, self._database = self._database, None
        if database is not None:
            database.close()
        if self._folder is not None:
            self._folder.cleanup()

    # ---- in workers

    def _need(self) -> Workers:
        if self._workers is None:
            raise InvalidPlanError(f"{self._settings.display()} is not open for serving")
        return self._workers

    async def _run(self, call: Callable[[Running], T], seconds: float) -> T:
        return await self._need().run(call, seconds)

    def _opened(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tongqu-files-")
        self._shelf.lodge(Path(self._folder.name))
        if self._shelf.place is None:
            find(self._shelf)
        config = {
            "autoinstall_known_extensions": False, "autoload_known_extensions": False, "memory_limit": _MEMORY,
            "temp_directory": f"{self._folder.name}/spill",
        }  # fmt: skip
        database = driver("duckdb", "duckdb").connect(f"{self._folder.name}/copies.duckdb", config=config)
        if self._shelf.place is None:
            database.execute(f"SET GLOBAL allowed_directories = [{_text(_base(self._shelf.path))}]")
        database.execute("SET GLOBAL enable_external_access = false")
        database.execute("SET GLOBAL TimeZone = 'UTC'")
        database.execute("SET GLOBAL lock_configuration = true")
        self._database = database

    @contextmanager
    def _cursor(self, tree: exp.Expr) -> Iterator[Any]:
        """A connection of one's own, after the datasets of the tree were looked at."""
        local = {cte.alias for cte in tree.find_all(exp.CTE)}
        for table in tree.find_all(exp.Table):
            if table.name not in local and not table.db and isinstance(table.this, exp.Identifier):
                self._fresh(table.name)
        cursor = self._database.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    def _stands(self, name: str) -> exp.Expr | None:
        held = self._held.get(name)
        return exp.Table(this=exp.to_identifier(held.relation, quoted=True)) if held is not None else None

    def _fresh(self, name: str, *, now: bool = False) -> _Held:
        """The dataset as its files are; read again if they have changed."""
        with self._lock:
            held = self._held.get(name)
            if held is not None and not now and self._clock() - held.looked < self._look:
                return held
            for attempt in range(1, _TRIES + 1):
                try:
                    return self._looked(name, held)
                except LostPositionError:  # it changed while it was read
                    if attempt == _TRIES:
                        raise
            raise NotFoundError(f"no dataset {name!r}")

    def _looked(self, name: str, held: _Held | None) -> _Held:
        signature = self._signature(name)
        if held is not None and held.signature == signature:
            held.looked = self._clock()
            return held
        source = FileSource(self._settings)
        if self._folder is not None:
            source.lodge(Path(self._folder.name) / "source")
        try:
            found = [one for one in source.datasets([name]) if one.name == name]
            if not found:
                raise NotFoundError(f"no dataset {name!r} in {self._settings.display()}")
            relation = f"_{next(self._numbers)}"
            copied = self._made(source, found[0], relation)
        finally:
            source.close()
        made = self._held[name] = _Held(found[0], relation, signature, self._clock(), copied)
        self._statements.forget()
        if held is not None:
            self._database.execute(f"DROP {'TABLE' if held.copied else 'VIEW'} {held.relation}")
        return made

    def _signature(self, name: str) -> tuple[Any, ...]:
        if self._shelf.place is not None:
            self._shelf.close()
        groups = find(self._shelf)
        if name not in groups:
            raise NotFoundError(
                f"no dataset {name!r} in {self._settings.display()}", hint=f"there are: {', '.join(list(groups)[:20])}"
            )
        return tuple((one.label, tuple(sorted(files.identity(one.path).items()))) for one in groups[name])

    def _made(self, source: FileSource, dataset: Dataset, relation: str) -> bool:
        """A view of files in place, or a copy of their rows; whether it is a copy."""
        scanning = source.scan(dataset) if self._shelf.place is None else None
        with self._duck.told(), self._database.cursor() as cursor:
            if scanning is not None:
                with scanning as scan:
                    cursor.execute(f"CREATE VIEW {relation} AS SELECT * FROM {scan.relation}")
                return False
            batches = (
                batch.rows
                for split in source.splits(dataset, 1)
                for batch in source.read(Read(dataset, split))
                if batch.rows.num_rows
            )
            cursor.register("_rows", pa.RecordBatchReader.from_batches(dataset.schema, batches))
            cursor.execute(f"CREATE TABLE {relation} AS SELECT * FROM _rows")
            return True


def _base(path: str) -> str:
    """The folder that all files of a path are in."""
    parts = Path(path).absolute().parts
    fixed = [part for number, part in enumerate(parts) if not any(set(one) & set("*?[") for one in parts[: number + 1])]
    base = Path(*fixed)
    return str(base if base.is_dir() else base.parent)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
