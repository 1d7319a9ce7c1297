"""Group rows, find anomalies, or score rows with a saved model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import model_validator

from tongqu.core.columns import need_columns, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import ConfigError, InvalidPlanError, SchemaError
from tongqu.core.operator import Lineage, Operator, Place
from tongqu.core.settings import titled
from tongqu.meaning.codes import typed_as
from tongqu.meaning.learned import clusters, isolation, load, matrix, pinned, robust_z, scores


class Model(Operator):
    """Apply a model to numbers: `model: {do: cluster, columns: [x, y], clusters: 5, into: group}`, `model: {do:
    anomaly, columns: [temp, load], method: robust_z, threshold: 3.5, into: odd}`, or `model: {do: score, file:
    models/risk.skops, sha256: 9f…, columns: [x, y], into: risk}`.

    `cluster` (k-means over standardised columns) and `anomaly` (isolation forest, or the robust z score) learn from all
    rows at once: these must fit into memory, and incremental reads are refused. `score` reads a model saved by
    `skops.io.dump` and pinned by its SHA-256; a pickle is not read, since opening it runs what it holds. Rows where a
    column is null or no finite number get null. The same rows in the same order give the same result for a `seed`.
    Needs the extra `model` (scikit-learn), except for `robust_z`.
    """

    verb = "model"
    title: ClassVar[Mapping[str, str]] = {"zh": "模型", "en": "Apply a model"}

    do: Literal["cluster", "anomaly", "score"] = titled("用途", "Do")
    """What for."""
    columns: tuple[str, ...] = titled("字段", "Columns", min_length=1)
    """Columns of numbers, in the order the model knows them."""
    into: str = titled("结果字段", "Into")
    """The new column: the group's number (bigint), whether the row is an anomaly (boolean), or the score."""
    clusters: int = titled("组数", "Clusters", 8, ge=2, le=1000)
    """How many groups."""
    method: Literal["isolation_forest", "robust_z"] = titled("方法", "Method", "isolation_forest")
    """How anomalies are found."""
    threshold: float = titled("阈值", "Threshold", 3.5, gt=0)
    """`robust_z`: an anomaly is more than so many robust standard deviations from the median."""
    share: float | None = titled("异常占比", "Share", None, gt=0, le=0.5)
    """`isolation_forest`: the expected part of anomalies."""
    score_into: str | None = titled("异常分数字段", "Score into", None)
    """`anomaly`: a further column for the score, higher for stranger rows."""
    file: str | None = titled("模型文件", "File", None)
    """`score`: the saved model, in the project's folder."""
    sha256: str | None = titled("模型摘要", "SHA-256", None, pattern=r"^[0-9a-fA-F]{64}$")
    """`score`: the model file's digest."""
    trusted: tuple[str, ...] = titled("可信类型", "Trusted", ())
    """`score`: further Python types that the model may hold; those of scikit-learn are known."""
    output_of: Literal["predict", "predict_proba", "decision_function", "score_samples"] = titled(
        "输出", "Output", "predict"
    )
    """`score`: what the model is asked for; of several numbers a row (`predict_proba`) the last."""
    type: str = titled("结果类型", "Type", "double")
    """`score`: the result's type."""
    seed: int = titled("随机种子", "Seed", 0, ge=0)
    """Makes the result repeatable."""

    @model_validator(mode="after")
    def _sound(self) -> Model:
        if (self.do == "score") != (self.file is not None) or (self.file is None) != (self.sha256 is None):
            raise ValueError("`score`, and only it, needs `file` and `sha256`")
        if self.score_into is not None and self.do != "anomaly":
            raise ValueError("`score_into` goes with `do: anomaly`")
        return self

    @property
    def chunk_safe(self) -> bool:
        return self.do == "score"

    def bound(self, surroundings: Place) -> Model:
        typed_as(self.type)
        if self.file is None or self.sha256 is None:
            return self
        folder = Path(surroundings.folder).resolve()
        file = (folder / self.file).resolve()
        where = f"{surroundings.path}.file"
        if not file.is_relative_to(folder):
            raise InvalidPlanError(f"the model {self.file!r} is not inside the project's folder", path=where)
        if not file.is_file():
            raise ConfigError(f"there is no model {self.file!r}", path=where, hint=f"looked for {file}")
        try:
            pinned(file.read_bytes(), self.sha256, self.file)
        except InvalidPlanError as error:
            error.path = where
            raise
        return self.model_copy(update={"file": str(file)})

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, self.columns)
        for name in self.columns:
            kind = dataset.schema.field(name).type
            if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
                raise InvalidPlanError(f"{name!r} is {kind}, not a number", hint="cast it before, or map its codes")
        fields: dict[str, pa.Field[Any]] = {field.name: field for field in dataset.schema}
        for name, kind in self._made().items():
            fields[name] = pa.field(name, kind)
        return reshaped(dataset, list(fields.values()), {c: c for c in dataset.columns if c not in self._made()})

    def _made(self) -> dict[str, pa.DataType]:
        if self.do == "cluster":
            return {self.into: pa.int64()}
        if self.do == "score":
            return {self.into: typed_as(self.type)[0]}
        score = {self.score_into: pa.float64()} if self.score_into is not None else {}
        return {self.into: pa.bool_(), **score}

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        made: Lineage = {c: {(0, c)} for c in inputs[0].columns}
        return made | {name: {(0, c) for c in self.columns} for name in self._made()}

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        return {c: (0, c) for c in inputs[0].columns if c not in self._made()}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, name) for name in self.columns}

    def apply(self, tables: Sequence[pa.Table], inputs: Sequence[Dataset]) -> pa.Table:
        table = tables[0]
        values, complete = matrix(table, self.columns)
        made = self._results(values[complete])
        after = self.output(inputs).schema
        columns: dict[str, Any] = {name: table.column(name) for name in table.column_names}
        for name, found in made.items():
            columns[name] = _placed(found, complete, after.field(name).type, name)
        return pa.table([columns[field.name] for field in after], schema=after)

    def _results(self, values: Any) -> dict[str, Any]:
        if self.do == "cluster":
            return {self.into: clusters(values, self.clusters, self.seed)}
        if self.do == "score":
            if not len(values):
                return {self.into: np.empty(0)}
            model = _load(self.file or "", self.sha256 or "", self.trusted)
            return {self.into: scores(model, values, self.columns, self.output_of)}
        if self.method == "robust_z":
            found = robust_z(values)
            odd = found > self.threshold
        else:
            odd, found = isolation(values, self.share, self.seed)
        return {self.into: odd, **({self.score_into: found} if self.score_into is not None else {})}


def _placed(found: Any, complete: Any, kind: pa.DataType, name: str) -> pa.Array[Any]:
    """Results at the places of the complete rows, null elsewhere."""
    try:
        results = pa.array(found).cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise SchemaError(f"{name!r}: what the model gives is no {kind}", hint="state another `type`") from None
    places = np.cumsum(complete) - 1
    indices = pa.array(places, pa.int64(), mask=~complete)
    if not len(results):
        return pa.array([None] * len(complete), kind)
    made: pa.Array[Any] = results.take(indices)
    return made


@lru_cache(maxsize=8)
def _load(file: str, sha256: str, trusted: tuple[str, ...]) -> Any:
    data = Path(file).read_bytes()
    pinned(data, sha256, file)
    return load(data, file, trusted)


operator = Model
