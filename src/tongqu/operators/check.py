"""Hold rows to rules; bad rows go to quarantine with the cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import pyarrow as pa
from pydantic import PrivateAttr, ValidationError

from tongqu.core.columns import need_columns
from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, UnknownNameError
from tongqu.core.operator import Fault, Lineage, Operator, Place, Projection
from tongqu.core.settings import Settings, invalid_settings, titled
from tongqu.meaning.dataset_rules import (
    KNOWN,
    Freshness,
    Reference,
    RowRule,
    Volume,
    comparable,
    refers,
    row_faults,
)
from tongqu.meaning.expressions import column
from tongqu.meaning.rules import Rule, faults, known_values


class Check(Operator):
    """Hold rows to the rules of a dictionary entry (`check: inspection`) or to rules given here
    (`check: {weight: {required: true, min: 0, max: 500}}`).

    A row that breaks a rule goes to quarantine as `check.required`, `.type`, `.pattern`, `.range`, `.enum`,
    `.reference`, `.expression` or `.unique` with the field and its value; the first broken rule is the cause. Good rows
    pass unchanged. Of an entry, its `rules` (conditions over several fields), `closed`, `freshness` and `volume` hold
    too: other fields than a closed entry lists are refused before any row; a run that is too old or brings an unusual
    number of rows needs attention or, with `severity: error`, fails.
    """

    verb = "check"
    title: ClassVar[Mapping[str, str]] = {"zh": "校验", "en": "Check rules"}

    dataset: str | None = titled("数据集", "Dataset", None)
    """The dictionary entry whose rules hold."""
    rules: dict[str, Rule] = titled("规则", "Rules", default_factory=dict)
    """Rules by field."""
    row_rules: tuple[RowRule, ...] = titled("行规则", "Row rules", ())
    """Conditions over several fields; from the dictionary entry's `rules`."""
    listed: tuple[str, ...] | None = titled("字段", "Fields", None)
    """All fields that may come, if the entry is closed."""
    freshness: Freshness | None = titled("新鲜度", "Freshness", None)
    """How old the newest row may be."""
    volume: Volume | None = titled("数据量", "Volume", None)
    """How many rows a run brings."""
    _known: dict[str, pa.Array[Any]] = PrivateAttr(default_factory=dict)
    _told: tuple[Dataset, Mapping[str, Rule], Sequence[Fault]] | None = PrivateAttr(None)
    """The faults of the dataset that was asked for last: planning asks several times."""

    @classmethod
    def from_yaml(cls, raw: Any, path: str) -> Check:
        if isinstance(raw, str):
            return cls(dataset=raw)
        if not isinstance(raw, Mapping) or not raw:
            raise InvalidSettingsError(
                f"check takes a dataset of the dictionary or rules by field (got {raw!r})", path=path
            )
        return cls(rules=_rules(raw, path, strict=True))

    @classmethod
    def yaml_schema(cls) -> dict[str, Any]:
        schema = cls.model_json_schema()
        return {
            "description": schema["description"],
            "anyOf": [{"type": "string"}, schema["properties"]["rules"]],
            "$defs": schema["$defs"],
        }

    @property
    def chunk_safe(self) -> bool:
        return not self.unique_fields

    @property
    def unique_fields(self) -> tuple[str, ...]:
        """Fields whose values must not come twice; needs the whole input."""
        return tuple(name for name, rule in self.rules.items() if rule.unique)

    @property
    def newest(self) -> str:
        return self.freshness.field if self.freshness else ""

    def bound(self, surroundings: Place) -> Check:
        if self.dataset is None:
            return self
        entry = surroundings.dictionary.get(self.dataset)
        if entry is None:
            valid = ", ".join(surroundings.dictionary) or "none"
            raise UnknownNameError(
                f"no dataset {self.dataset!r} in the dictionary", path=surroundings.path, hint=f"datasets: {valid}"
            )
        where = f"datasets.{self.dataset}"
        fields = entry.get("fields") or {}
        return Check(
            dataset=self.dataset,
            rules=_rules(fields, f"{where}.fields", strict=False),
            row_rules=_row_rules(entry.get("rules") or (), f"{where}.rules"),
            listed=tuple(map(str, fields)) if entry.get("closed") else None,
            freshness=_part(Freshness, entry, "freshness", where),
            volume=_part(Volume, entry, "volume", where),
        )

    def replayed(self) -> Check:
        rules = {name: rule.model_copy(update={"unique": False}) for name, rule in self.rules.items()}
        made = self.model_copy(update={"rules": rules, "freshness": None, "volume": None})
        made._known = self._known
        return made

    @property
    def references(self) -> dict[str, Reference]:
        return refers(self.rules)

    def knowing(self, values: Mapping[str, pa.Array[Any]]) -> Check:
        made = self.model_copy()
        made._known = dict(values)
        return made

    def relations(self) -> dict[str, pa.Table]:
        """See Operator.relations; raises InvalidPlanError if the values were not fetched."""
        found: dict[str, pa.Table] = {}
        for name, reference in self.references.items():
            if name not in self._known:
                raise InvalidPlanError(f"the values of {reference}, which {name!r} refers to, were not fetched")
            found[known_values(reference)] = pa.table({KNOWN: self._known[name]})
        return found

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        if self.dataset is None:
            need_columns(dataset, list(self.rules))
        else:
            need_columns(dataset, [name for name, rule in self.rules.items() if rule.required])
        self._closed(dataset)
        self._fresh(dataset)
        self.faults(dataset)
        for name, values in self._known.items():
            if name in dataset.columns and not comparable(dataset.schema.field(name).type, values.type):
                raise InvalidPlanError(
                    f"{name!r} is {dataset.schema.field(name).type}, and {self.references[name]} is {values.type}",
                    hint="cast the field before the check",
                )
        return dataset

    def _closed(self, dataset: Dataset) -> None:
        extra = [name for name in dataset.columns if self.listed is not None and name not in self.listed]
        if extra:
            raise InvalidPlanError(
                f"the dataset {self.dataset!r} is closed and has no field {', '.join(extra)}",
                hint=f"list it under datasets.{self.dataset}.fields, or drop it in a step before the check",
                params={"fields": ", ".join(extra)},
            )

    def _fresh(self, dataset: Dataset) -> None:
        if self.freshness is None:
            return
        need_columns(dataset, [self.freshness.field])
        kind = dataset.schema.field(self.freshness.field).type
        if not pa.types.is_timestamp(kind) and not pa.types.is_date(kind):
            raise InvalidPlanError(
                f"freshness looks at {self.freshness.field!r}, which is {kind} and no date or timestamp",
                hint="cast it before the check",
            )

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in inputs[0].columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        names = {*self.rules, *([self.newest] if self.newest else [])}
        if self.row_rules:
            names |= set(inputs[0].columns)
        return {(0, name) for name in names if name in inputs[0].columns}

    def projection(self, dataset: Dataset) -> Projection:
        return Projection({c: column(c) for c in dataset.columns})

    def faults(self, dataset: Dataset) -> Sequence[Fault]:
        same = self._told
        if same is None or same[0] is not dataset or same[1] is not self.rules:
            where = f"datasets.{self.dataset}.rules"
            found = [*faults(self.rules, dataset), *row_faults(self.row_rules, dataset.schema, where)]
            same = self._told = (dataset, self.rules, found)
        return same[2]

    def may_fail(self, dataset: Dataset) -> bool:
        return bool(self.row_rules)


S = TypeVar("S", bound=Settings)


def _rules(raw: Mapping[str, Any], path: str, *, strict: bool) -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for name, values in raw.items():
        where = f"{path}.{name}"
        if not isinstance(values, Mapping):
            raise InvalidSettingsError(f"rules of {name!r} must be a mapping (got {values!r})", path=where)
        unknown = [key for key in values if key not in Rule.model_fields]
        if strict and unknown:
            valid = ", ".join(Rule.model_fields)
            raise InvalidSettingsError(f"unknown rule {unknown[0]!r}", path=where, hint=f"rules: {valid}")
        try:
            rule = Rule.model_validate(dict(values))
        except ValidationError as error:
            raise invalid_settings(Rule, error, where) from None
        if not rule.empty:
            found[str(name)] = rule
    return found


def _row_rules(raw: Any, path: str) -> tuple[RowRule, ...]:
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise InvalidSettingsError(f"rules of a dataset are a list (got {raw!r})", path=path)
    found: list[RowRule] = []
    for at, values in enumerate(raw):
        if not isinstance(values, Mapping):
            raise InvalidSettingsError(f"a rule is a mapping (got {values!r})", path=f"{path}[{at}]")
        rule = RowRule.parse(values, f"{path}[{at}]")
        if any(rule.name == other.name for other in found):
            raise InvalidSettingsError(f"two rules are named {rule.name!r}", path=f"{path}[{at}]")
        found.append(rule)
    return tuple(found)


def _part(kind: type[S], entry: Mapping[str, Any], name: str, path: str) -> S | None:
    values = entry.get(name)
    if values is None:
        return None
    if not isinstance(values, Mapping):
        raise InvalidSettingsError(f"{name} is a mapping (got {values!r})", path=f"{path}.{name}")
    return kind.parse(values, f"{path}.{name}")


operator = Check
