"""Run a function of the user's: Arrow in, Arrow out."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import computed_field

from tongqu.core.columns import no_duplicates, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import ConfigError, ExpressionError, InvalidPlanError, RunError, SchemaError, TongquError
from tongqu.core.operator import Lineage, Operator, Place
from tongqu.core.settings import titled
from tongqu.meaning.expressions import arrow_type, cast, column, parse_type, type_of


class Python(Operator):
    """Call `function(table: pyarrow.Table) -> pyarrow.Table` of a file: `python: {file: x.py, function: f}`.

    The function sees one chunk at a time and may return fewer or more rows. The code runs with the rights of the
    process; only who may edit the project's files can place it.
    """

    verb = "python"
    title: ClassVar[Mapping[str, str]] = {"zh": "Python 函数", "en": "Python function"}
    missing_rows = "filtered"

    file: str = titled("文件", "File")
    """Path of the Python file, relative to the project's folder and inside it."""
    function: str = titled("函数", "Function", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the function in the file."""
    columns: dict[str, str] | None = titled("输出字段", "Output columns", None)
    """Columns that come out with their types; without it the same as go in."""
    whole: bool = titled("整表", "Whole input", False)
    """The function must see all rows at once; the rows must fit into memory."""

    @property
    def chunk_safe(self) -> bool:
        return not self.whole

    @computed_field  # type: ignore[prop-decorator]  # pydantic reads it off the property
    @property
    def digest(self) -> str:
        """What the file holds now: with other code a half-finished run is another run."""
        file = Path(self.file)
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else ""

    def bound(self, surroundings: Place) -> Python:
        for kind in (self.columns or {}).values():
            parse_type(kind)
        folder = Path(surroundings.folder).resolve()
        file = (folder / self.file).resolve()
        where = f"{surroundings.path}.file"
        if not file.is_relative_to(folder):
            raise InvalidPlanError(
                f"the Python file {self.file!r} is not inside the project's folder",
                path=where,
                hint=f"put it into {folder}",
            )
        if not file.is_file():
            raise ConfigError(f"there is no Python file {self.file!r}", path=where, hint=f"looked for {file}")
        return self.model_copy(update={"file": str(file)})

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        if self.columns is None:
            return dataset
        no_duplicates(list(self.columns), self.verb)
        probe = pa.schema([pa.field("value", pa.string())])
        fields: list[pa.Field[Any]] = []
        for name, kind in self.columns.items():
            try:
                ((duckdb_type, arrow),) = type_of([cast(column("value"), kind, trying=True)], probe)
                found, logical = arrow_type(duckdb_type, arrow)
            except ExpressionError as error:
                raise InvalidPlanError(f"column {name!r}: {error.message}", hint=error.hint) from None
            old = dataset.schema.field(name) if name in dataset.columns else None
            same = old is not None and old.type == found
            meta = old.metadata if same and old is not None else {"tongqu.logical": logical} if logical else None
            fields.append(pa.field(name, found, metadata=meta))
        return reshaped(dataset, fields, {c: c for c in self.columns if c in dataset.columns})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        every = {(0, c) for c in inputs[0].columns}
        return {name: set(every) for name in self.output(inputs).columns}

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        del inputs
        return {}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, c) for c in inputs[0].columns}

    def apply(self, tables: Sequence[pa.Table], inputs: Sequence[Dataset]) -> pa.Table:
        """Call the function. Raises RunError if it fails, SchemaError if it returns other columns than planned."""
        planned = self.output(inputs).schema
        returned = self._called(tables[0])
        if isinstance(returned, pa.RecordBatch):
            returned = pa.Table.from_batches([returned])
        if not isinstance(returned, pa.Table):
            raise SchemaError(f"{self.function}() returned {type(returned).__name__}, not a pyarrow.Table")
        if returned.schema.names != planned.names:
            raise SchemaError(
                f"{self.function}() returned the columns {', '.join(returned.schema.names)}",
                hint=f"planned: {', '.join(planned.names)}; declare others under `columns`",
            )
        try:
            return returned.cast(planned)
        except pa.ArrowInvalid as error:
            raise SchemaError(f"{self.function}() returned other types than planned: {error}") from None

    def _called(self, table: pa.Table) -> Any:
        try:
            return _load(self.file, self.function)(table)
        except TongquError:
            raise
        except (Exception, SystemExit) as error:  # leaving by sys.exit() is no result either
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == self.file]
            line = f" in line {frames[-1].lineno}" if frames else ""
            raise RunError(
                f"{self.function}() of {Path(self.file).name} failed{line}: {type(error).__name__}: {error}",
                hint="mend the function and run again; nothing of this chunk was committed",
            ) from error


@lru_cache(maxsize=64)
def _load(file: str, function: str) -> Callable[[pa.Table], Any]:
    path = Path(file).resolve()
    name = f"tongqu_user_{abs(hash(str(path))):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"there is no Python file {file!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found = getattr(module, function, None)
    if not callable(found):
        raise ConfigError(f"{file!r} has no function {function!r}")
    return found  # type: ignore[no-any-return]  # a user's module has no types


operator = Python
