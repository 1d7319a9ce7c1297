"""The JSON Schema of what may be written, made of types and the dictionary's rules, and rows held against it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any
from weakref import ReferenceType, ref

import pyarrow as pa

from tongqu.core.data import Meta
from tongqu.gateway.policy.values import family, fitted
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.rewrite.views import unknown
from tongqu.kit.serving.texts import dumps
from tongqu.meaning.expressions import cast, column, type_of
from tongqu.meaning.fields import metadata
from tongqu.meaning.rules import Rule

MOST_ERRORS = 20
_MOST_KEPT = 500
_TYPES: dict[str, dict[str, Any]] = {
    "int": {"type": "integer"}, "decimal": {"type": ["number", "string"]},
    "float": {"type": ["number", "string"], "pattern": r"^-?([0-9]{1,30}(\.[0-9]{1,30})?|Infinity)$|^NaN$"},
    "bool": {"type": "boolean"}, "text": {"type": "string"}, "date": {"type": "string", "format": "date"},
    "timestamp": {"type": "string"}, "instant": {"type": "string", "format": "date-time"},
    "time": {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,6})?)?$"},
    "uuid": {"type": "string", "format": "uuid"},
    "binary": {"type": "string", "pattern": r"^\\x([0-9a-fA-F]{2})*$"}, "list": {"type": "array"}, "json": {},
}  # fmt: skip
_WORDS = {
    "Required": ("required", "is required"), "Type": ("type", "has another type"),
    "Pattern": ("pattern", "does not have the form that the field demands"), "Enum": ("enum", "is no allowed value"),
    "Minimum": ("range", "is below the least allowed value"),
    "Maximum": ("range", "is above the greatest allowed value"),
}  # fmt: skip
Row = Mapping[str, Any]


def writable(api: Api, names: Collection[str]) -> dict[str, pa.Field[Any]]:
    """The fields of `names` that can be set at all, in the dataset's order: not those the source computes."""
    return {
        field.name: field
        for field in api.dataset.schema
        if field.name in names and not metadata(field).get(Meta.GENERATED) and family(field) != "other"
    }


def schema_of(api: Api, names: Collection[str], *, whole: bool) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a row that sets fields of `names`; `whole` for new rows, where what the source and
    the dictionary demand must be there. Decimals may be sent as texts, so that no digit is lost on the way."""
    fields = writable(api, names)
    properties = {name: _property(field, api.rules.get(name)) for name, field in fields.items()}
    made: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    needed = [name for name, field in fields.items() if demanded(field, api.rules.get(name))]
    return {**made, "required": needed} if whole and needed else made


def demanded(field: pa.Field[Any], rule: Rule | None) -> bool:
    """Whether a new row must have the field: the source or the dictionary asks for it, and nothing fills it."""
    told = metadata(field)
    given = told.get(Meta.DEFAULT) or told.get(Meta.IDENTITY)
    return (rule is not None and rule.required) or (not field.nullable and not given)


def _property(field: pa.Field[Any], rule: Rule | None) -> dict[str, Any]:
    kind = family(field)
    made = dict(_TYPES.get(kind, {}))
    if pa.types.is_integer(field.type):
        bits, signed = field.type.bit_width, pa.types.is_signed_integer(field.type)
        made["minimum"] = -(1 << bits - 1) if signed else 0
        made["maximum"] = (1 << bits - 1) - 1 if signed else (1 << bits) - 1
    if pa.types.is_decimal(field.type):
        most = Decimal(10) ** (field.type.precision - field.type.scale) - Decimal(1).scaleb(-field.type.scale)
        made["minimum"], made["maximum"] = -most, most
    if rule is not None:
        _ruled(made, rule)
    if pa.types.is_decimal(field.type):
        made.setdefault("pattern", _digits(field.type, negative=made["minimum"] < 0))
    told = metadata(field)
    for key, meta in (("title", Meta.TITLE), ("x-unit", Meta.UNIT)):
        if told.get(meta):
            made[key] = told[meta]
    if field.nullable and not (rule is not None and rule.required):
        if "type" in made:
            made["type"] = [*([made["type"]] if isinstance(made["type"], str) else made["type"]), "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    return made


def _digits(kind: Any, *, negative: bool) -> str:
    """What a decimal sent as text looks like."""
    whole, scale = kind.precision - kind.scale, kind.scale
    part = f"(\\.[0-9]{{1,{scale}}})?" if scale > 0 else ""
    return f"^{'-?' if negative else ''}[0-9]{{1,{max(whole, 1)}}}{part}$"


def _ruled(made: dict[str, Any], rule: Rule) -> None:
    if rule.pattern is not None:
        made["pattern"] = f"^(?:{rule.pattern})$"
    if rule.enum is not None:
        made["enum"] = list(rule.enum)
    for key, limit, tighter in (("minimum", rule.min, max), ("maximum", rule.max, min)):
        if isinstance(limit, int | Decimal):
            made[key] = tighter(limit, made[key]) if key in made else limit


@dataclass(frozen=True)
class _Form:
    """What rows are held against: made once for an API and the fields that may be set."""

    api: ReferenceType[Api]
    fields: Mapping[str, pa.Field[Any]]
    kinds: Mapping[str, str]
    """The family of each field."""
    validator: Any


class Schemas:
    """Rows held against their schema. Keeps compiled schemas by what they are made of, and forms by their API."""

    def __init__(self) -> None:
        self._validator = lru_cache(maxsize=_MOST_KEPT)(_compiled)
        self._forms: dict[tuple[int, frozenset[str], bool], _Form] = {}

    def _form(self, api: Api, names: frozenset[str], whole: bool) -> _Form:
        place = (id(api), names, whole)
        found = self._forms.get(place)
        if found is None or found.api() is not api:
            fields = writable(api, names)
            validator = self._validator(dumps_schema(schema_of(api, names, whole=whole)))
            found = _Form(ref(api), fields, {name: family(field) for name, field in fields.items()}, validator)
            if len(self._forms) >= _MOST_KEPT:
                self._forms.clear()
            self._forms[place] = found
        return found

    def typed(
        self, api: Api, names: Collection[str], rows: Sequence[Row], *, whole: bool, texts: bool, single: bool
    ) -> list[dict[str, Any]]:
        """The rows with values of their fields' types, ready to be bound.

        `texts`: all values are texts or null (CSV, XML), read as their field's type. `single`: the body was one row, so
        that pointers do not begin with its number. Raises Problem `field.unknown` for a field that is not in `names`,
        hidden or not there, and `body.invalid` with at most 20 errors `{pointer, code, detail}`.
        """
        form = self._form(api, frozenset(names), whole)
        fields, validator = form.fields, form.validator
        for row in rows:
            strangers = [name for name in row if name not in fields]
            if strangers:
                raise unknown(strangers[0])
        errors: list[dict[str, str]] = []
        made: list[dict[str, Any]] = []
        for number, row in enumerate(rows):
            start = "" if single else f"/{number}"
            instance = {name: _instance(value, fields[name], form.kinds[name], texts) for name, value in row.items()}
            if not validator.is_valid(instance):
                errors += _told(validator, instance, start)
            else:
                made.append(_fitted(instance, form, api.rules, start, errors))
            if len(errors) >= MOST_ERRORS:
                break
        if errors:
            detail = f"{errors[0]['pointer'] or '/'} {errors[0]['detail']}"
            raise Problem("body.invalid", detail, errors=errors[:MOST_ERRORS])
        return made


def dumps_schema(schema: Mapping[str, Any]) -> str:
    """The schema as JSON; limits keep all their digits."""
    return dumps(schema).decode()


def _compiled(text: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.Draft202012Validator(json.loads(text), pattern_options=jsonschema_rs.RegexOptions())


def _instance(value: Any, field: pa.Field[Any], kind: str, texts: bool) -> Any:
    """The value as the schema looks at it: texts of numbers as numbers where they may come as texts."""
    if isinstance(value, str) and (kind in ("decimal", "float") or (texts and kind in ("int", "bool"))):
        try:
            return fitted(value, field, kind)
        except ValueError:
            return {}  # of no allowed type
    if texts and isinstance(value, str) and kind in ("json", "list"):
        try:
            return json.loads(value, parse_float=Decimal)
        except (ValueError, RecursionError):
            return {} if kind == "list" else value
    return value


def _told(validator: Any, instance: Row, start: str) -> list[dict[str, str]]:
    found = []
    for error in validator.iter_errors(instance):
        kind = type(error.kind).__name__.rpartition("_")[2] if error.kind is not None else ""
        code, words = _WORDS.get(kind, ("invalid", "does not fit the schema"))
        names = [str(step) for step in error.instance_path]
        if kind == "Required":
            names.append(error.kind.property)
        pointer = start + "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)
        found.append({"pointer": pointer, "code": code, "detail": words})
    return found


def _fitted(
    row: Row, form: _Form, rules: Mapping[str, Rule], start: str, errors: list[dict[str, str]]
) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in row.items():
        field, kind = form.fields[name], form.kinds[name]
        pointer = f"{start}/{name.replace('~', '~0').replace('/', '~1')}"
        if kind == "json":
            made[name] = None if value is None else dumps(value).decode()
            continue
        try:
            made[name] = fitted(value, field, kind)
        except ValueError as error:
            errors.append({"pointer": pointer, "code": "type", "detail": str(error)})
            continue
        rule = rules.get(name)
        if rule is not None and rule.type is not None and isinstance(value, str) and kind == "text":
            try:
                fitted(value, _read_as(rule.type))
            except ValueError as error:
                errors.append({"pointer": pointer, "code": "type", "detail": str(error)})
        if isinstance(made[name], date) and not _between(made[name], rule, field):
            errors.append({"pointer": pointer, "code": "range", "detail": "is outside the allowed range"})
    return made


@lru_cache(maxsize=200)
def _read_as(kind: str) -> pa.Field[Any]:
    """What a text must be readable as, by the dictionary's name of a type."""
    text = pa.schema([pa.field("text", pa.string())])
    ((_, made),) = type_of([cast(column("text"), kind, trying=True)], text)
    return pa.field("text", made)


def _between(value: date, rule: Rule | None, field: pa.Field[Any]) -> bool:
    """Dates and times, which JSON Schema cannot compare."""
    least, greatest = (_moment(limit, field) for limit in ((rule.min, rule.max) if rule is not None else (None, None)))
    return (least is None or value >= least) and (greatest is None or value <= greatest)


def _moment(limit: Any, field: pa.Field[Any]) -> Any:
    try:
        return fitted(limit, field)
    except ValueError:  # a limit of another kind, which `check` refuses in a pipeline
        return None
