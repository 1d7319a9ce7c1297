"""Run a function of the user's: Arrow in, Arrow out."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.errors import ConfigError, ExpressionError, InvalidPlanError, SchemaError
from tongqu.core.operator import Lineage, Operator, Place, no_duplicates, reshaped
from tongqu.core.settings import titled
from tongqu.meaning.expressions import arrow_type, cast, column, parse_type, type_of


class Python(Operator):
    """Call `function(table: pyarrow.Table) -> pyarrow.Table` of a file: `python: {file: x.py, function: f}`.

    The function sees one chunk at a time and may return fewer or more rows. The code runs with the rights of the
    process; only who may edit the project's files can place it.
    """

    verb = "python"
    title: ClassVar[Mapping[str, str]] = {"zh": "Python 函数", "en": "Python function"}

    file: str = titled("文件", "File")
    """Path of the Python file, relative to the project's folder."""
    function: str = titled("函数", "Function", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of the function in the file."""
    columns: dict[str, str] | None = titled("输出字段", "Output columns", None)
    """Columns that come out with their types; without it the same as go in."""
    whole: bool = titled("整表", "Whole input", False)
    """The function must see all rows at once; the rows must fit into memory."""

    @property
    def chunk_safe(self) -> bool:
        return not self.whole

    def bound(self, surroundings: Place) -> Python:
        for kind in (self.columns or {}).values():
            parse_type(kind)
        return self.model_copy(update={"file": str(Path(surroundings.folder) / self.file)})

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

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, c) for c in inputs[0].columns}

    def apply(self, tables: Sequence[pa.Table], inputs: Sequence[Dataset]) -> pa.Table:
        """Call the function. Raises SchemaError if what it returns has not the planned columns."""
        planned = self.output(inputs).schema
        returned = _load(self.file, self.function)(tables[0])
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
