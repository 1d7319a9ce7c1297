"""Hold rows to rules; bad rows go to quarantine with the cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import ValidationError

from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidSettingsError, UnknownNameError
from tongqu.core.operator import Fault, Lineage, Operator, Place, Projection, need_columns
from tongqu.core.settings import invalid_settings, titled
from tongqu.meaning.expressions import column
from tongqu.meaning.rules import Rule, faults


class Check(Operator):
    """Hold rows to the rules of a dictionary entry (`check: inspection`) or to rules given here
    (`check: {weight: {required: true, min: 0, max: 500}}`).

    A row that breaks a rule goes to quarantine as `check.required`, `.type`, `.pattern`, `.range`, `.enum` or `.unique`
    with the field and its value; the first broken rule is the cause. Good rows pass unchanged.
    """

    verb = "check"
    title: ClassVar[Mapping[str, str]] = {"zh": "校验", "en": "Check rules"}

    dataset: str | None = titled("数据集", "Dataset", None)
    """The dictionary entry whose rules hold."""
    rules: dict[str, Rule] = titled("规则", "Rules", default_factory=dict)
    """Rules by field."""

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

    def bound(self, surroundings: Place) -> Check:
        if self.dataset is None:
            return self
        entry = surroundings.dictionary.get(self.dataset)
        if entry is None:
            valid = ", ".join(surroundings.dictionary) or "none"
            raise UnknownNameError(
                f"no dataset {self.dataset!r} in the dictionary", path=surroundings.path, hint=f"datasets: {valid}"
            )
        where = f"datasets.{self.dataset}.fields"
        return Check(dataset=self.dataset, rules=_rules(entry.get("fields") or {}, where, strict=False))

    def output(self, inputs: Sequence[Dataset]) -> Dataset:
        (dataset,) = inputs
        if self.dataset is None:
            need_columns(dataset, list(self.rules))
        else:
            need_columns(dataset, [name for name, rule in self.rules.items() if rule.required])
        self.faults(dataset)
        return dataset

    def lineage(self, inputs: Sequence[Dataset]) -> Lineage:
        return {c: {(0, c)} for c in inputs[0].columns}

    def reads(self, inputs: Sequence[Dataset]) -> set[tuple[int, str]]:
        return {(0, name) for name in self.rules if name in inputs[0].columns}

    def projection(self, dataset: Dataset) -> Projection:
        return Projection({c: column(c) for c in dataset.columns})

    def faults(self, dataset: Dataset) -> Sequence[Fault]:
        return faults(self.rules, dataset)

    def may_fail(self, dataset: Dataset) -> bool:
        return False


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


operator = Check
