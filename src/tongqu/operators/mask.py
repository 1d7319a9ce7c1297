"""Hide personal data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
from pydantic import PrivateAttr, ValidationError

from tongqu.core.columns import need_columns, reshaped
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, RunError, UnknownNameError
from tongqu.core.operator import Lineage, Operator, Place, Projection
from tongqu.core.settings import invalid_settings, titled
from tongqu.meaning.evaluating import evaluated
from tongqu.meaning.expressions import arrow_type, column, type_of
from tongqu.meaning.fields import recast
from tongqu.meaning.keyed_masks import fits, hidden, read_mask_key
from tongqu.meaning.masks import KEYED, Mask, masked

if TYPE_CHECKING:
    from sqlglot import exp


class Masking(Operator):
    """Mask columns: `mask: {inspector: name, phone: phone, salary: {with: bucket, to: 1000}, note: null}`, or with the
    `mask` of each field of a dictionary entry: `mask: inspection`.

    The original values do not reach any later step. Null stays null. A hash takes its key by reference,
    `{with: hash, key: "${secret:hr}"}`: equal values give equal hashes, so they can still be joined and counted.
    `tokenise` and `encrypt` take one too, and `decrypt` opens what they made. A masked column is no key, cursor or
    index any more, and keeps its class unless `class` states another. Rows that steps before this one quarantine are
    kept unmasked: place it early.
    """

    verb = "mask"
    title: ClassVar[Mapping[str, str]] = {"zh": "脱敏", "en": "Mask"}

    dataset: str | None = titled("数据集", "Dataset", None)
    """The dictionary entry whose masks hold."""
    columns: dict[str, Mask] = titled("字段与脱敏方式", "Column and mask", default_factory=dict)
    """Each column with its mask; a word is short for `{with: word}`."""
    _keys: dict[str, bytes] = PrivateAttr(default_factory=dict)

    @classmethod
    def from_yaml(cls, raw: Any, path: str) -> Masking:
        if isinstance(raw, str):
            return cls(dataset=raw)
        if not isinstance(raw, Mapping) or not raw:
            raise InvalidSettingsError(f"mask takes columns with masks, or a dataset (got {raw!r})", path=path)
        return cls(columns={str(name): _mask(value, f"{path}.{name}") for name, value in raw.items()})

    @classmethod
    def yaml_schema(cls) -> dict[str, Any]:
        schema = cls.model_json_schema()
        entry = {"anyOf": [{"type": ["string", "null"]}, {"$ref": "#/$defs/Mask"}]}
        return {
            "description": schema["description"],
            "anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": entry}],
            "$defs": schema["$defs"],
        }

    def bound(self, surroundings: Place) -> Masking:
        if self.dataset is None:
            return self
        entry = surroundings.dictionary.get(self.dataset)
        if entry is None:
            valid = ", ".join(surroundings.dictionary) or "none"
            raise UnknownNameError(
                f"no dataset {self.dataset!r} in the dictionary", path=surroundings.path, hint=f"datasets: {valid}"
            )
        fields = {
            n: f["mask"] for n, f in (entry.get("fields") or {}).items() if isinstance(f, Mapping) and "mask" in f
        }
        if not fields:
            raise InvalidPlanError(f"no field of {self.dataset!r} has a mask", path=surroundings.path)
        where = f"datasets.{self.dataset}.fields"
        masks = {name: _mask(value, f"{where}.{name}.mask") for name, value in fields.items()}
        return Masking(dataset=self.dataset, columns=masks)

    def unlocked(self, resolve: Callable[[str], str]) -> Masking:
        made = self.model_copy()
        made._keys = {n: resolve(m.key).strip().encode() for n, m in self.columns.items() if m.key is not None}
        for name, key in made._keys.items():
            read_mask_key(self.columns[name], key)
        return made

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        need_columns(dataset, list(self.columns))
        trees = self._trees(dataset)
        types = dict(zip(trees, type_of(list(trees.values()), dataset.schema), strict=True))
        fields: list[pa.Field[Any]] = []
        for field in dataset.schema:
            mask = self.columns.get(field.name)
            if mask is not None:
                kind, logical = arrow_type(*types[field.name]) if field.name in types else (pa.string(), None)
                changes: dict[str, str | None] = {"class": mask.class_} if mask.class_ else {}
                field = recast(field, kind, logical, **changes)  # noqa: PLW2901
            fields.append(field)
        return reshaped(dataset, fields, {c: c for c in dataset.columns if c not in self.columns})

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in inputs[0].columns}

    def copies(self, inputs: Sequence[Dataset]) -> dict[str, tuple[int, str]]:
        return {c: (0, c) for c in inputs[0].columns if c not in self.columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, name) for name in self.columns}

    def projection(self, dataset: Dataset) -> Projection | None:
        if any(mask.with_ in KEYED for mask in self.columns.values()):
            return None
        return Projection({c: column(c) for c in dataset.columns} | self._trees(dataset))

    def may_fail(self, dataset: Dataset) -> bool:
        return False

    def apply(self, tables: Sequence[pa.Table], inputs: Sequence[Dataset]) -> pa.Table:
        """The same in Arrow, where a column is hidden by a key."""
        table, dataset = tables[0], inputs[0]
        after = self.output(inputs).schema
        made: dict[str, Any] = {name: table.column(name) for name in table.column_names}
        others = evaluated(self._trees(dataset), table)
        made |= {name: others.column(name) for name in others.column_names}
        for name, mask in self.columns.items():
            if mask.with_ in KEYED:
                if name not in self._keys:
                    raise RunError(f"the key of the mask of {name!r} was not looked up")
                made[name] = hidden(table.column(name).combine_chunks(), mask, self._keys[name])
        return pa.table([made[field.name].cast(field.type) for field in after], schema=after)

    def _trees(self, dataset: Dataset) -> dict[str, exp.Expr]:
        for name, mask in self.columns.items():
            kind = dataset.schema.field(name).type
            if mask.with_ in KEYED:
                fits(mask, name, kind)
        plain = {name: mask for name, mask in self.columns.items() if mask.with_ not in KEYED}
        return {name: masked(mask, name, dataset.schema) for name, mask in plain.items()}


def _mask(value: Any, path: str) -> Mask:
    given = dict(value) if isinstance(value, Mapping) else {"with": value}
    try:
        return Mask.model_validate(given)
    except ValidationError as error:
        raise invalid_settings(Mask, error, path) from None


operator = Masking
