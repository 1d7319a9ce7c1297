"""Makes the mutation that writes a record, and reads what its answer says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from graphql import GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType, GraphQLSchema, get_named_type

from tongqu.connectors.graphql.query import checked, chosen, document
from tongqu.connectors.graphql.settings import MutationSettings
from tongqu.core.errors import InvalidSettingsError
from tongqu.kit.answers.bodies import WHOLE, Template, objects
from tongqu.kit.answers.cutting import told_errors
from tongqu.kit.answers.selecting import looked_up
from tongqu.kit.patterns import nearest
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result

PEER = "@id"
"""In variables: the identifier that the API gave the record when it was created."""
_PEER_COLUMN = "_tongqu_peer"
_REFUSALS = ("userErrors", "user_errors", "errors")
_DEPTH = 2


@dataclass(frozen=True)
class Mutation:
    """One mutation, ready to be sent with the variables of a row."""

    told: MutationSettings
    text: str
    variables: Template
    refusals: str
    """Keys in the mutation's value that lead to a list of refusals; empty if it has none."""

    @classmethod
    def of(cls, schema: GraphQLSchema, told: MutationSettings, columns: Sequence[str], where: str) -> Mutation:
        """The mutation of the settings, as the schema allows it; raises InvalidSettingsError."""
        fields = schema.mutation_type.fields if schema.mutation_type else {}
        if told.mutation not in fields:
            raise InvalidSettingsError(
                f"the schema has no mutation {told.mutation!r}", path=f"{where}.mutation",
                hint=f"near are: {nearest(told.mutation, list(fields)) or ', '.join(list(fields)[:20]) or 'none'}",
            )  # fmt: skip
        field = fields[told.mutation]
        payload = get_named_type(field.type)
        held = payload if isinstance(payload, GraphQLObjectType | GraphQLInterfaceType) else None
        refusals = told.errors or next((name for name in _REFUSALS if held and name in held.fields), "")
        select = told.select
        if held is not None and not select:
            select = chosen(held, (), _DEPTH).text
            listed = held.fields.get(refusals)
            if listed is not None and refusals not in select:
                inner = get_named_type(listed.type)
                words = chosen(inner, (), 1).text if isinstance(inner, GraphQLObjectType) else ""
                select = f"{select} {refusals} {{ {words} }}" if words else f"{select} {refusals}"
        variables = told.variables or _variables(field.args, columns, where)
        if unknown := sorted(set(variables) - set(field.args)):
            raise InvalidSettingsError(
                f"{told.mutation} has no argument {unknown[0]!r}", path=f"{where}.variables",
                hint=f"its arguments: {', '.join(field.args)}",
            )  # fmt: skip
        kinds = {name: str(field.args[name].type) for name in variables}
        text = checked(schema, document((told.mutation,), select, kinds, operation="mutation"), where)
        plain = json.loads(json.dumps(variables).replace(f'"{{{PEER}}}"', f'"{{{_PEER_COLUMN}}}"'))
        return cls(told, text, Template(plain), refusals)

    def body(self, effects: Effects) -> bytes:
        """The call's body for its only effect."""
        rows = effects.rows
        if _PEER_COLUMN in self.variables.names():
            rows = rows.append_column(_PEER_COLUMN, pa.array(effects.peers, pa.string()))
        (filled,) = self.variables.filled(rows, objects(effects.rows, named(self.told, effects.rows)))
        return f'{{"query": {json.dumps(self.text)}, "variables": {filled}}}'.encode()

    def outcome(self, document: Any, op: Op, status: int) -> Outcome:
        """What the answer says of the effect. An error inside the API, or in reading the value of a mutation that was
        carried out, leaves the outcome unknown; all others, and what it lists as refusals, are its refusal."""
        if not isinstance(document, dict):
            return Outcome(Result.UNKNOWN, status=status, detail="the answer is no GraphQL answer")
        told = document.get("errors")
        held = (document.get("data") or {}).get(self.told.mutation) if isinstance(document.get("data"), dict) else None
        if told:
            went = held not in (None, False) or _inside(told)
            result = Result.UNKNOWN if went or _internal(told) else Result.FAILED
            return Outcome(result, status=status, detail=told_errors(told), field=_field(told))
        refused = looked_up(held, self.refusals) if self.refusals and isinstance(held, dict) else None
        if refused:
            return Outcome(Result.FAILED, status=status, detail=told_errors(refused), field=_field(refused))
        if op is Op.DELETE and held in (None, False):
            return Outcome(Result.OK, None, status)  # it was not there
        if held is None or held is False:
            return Outcome(Result.FAILED, status=status, detail=f"{self.told.mutation} answered {json.dumps(held)}")
        identifier = looked_up(held, self.told.id) if self.told.id else _identifier(held)
        done = op if op is not Op.UPSERT else None
        return Outcome(Result.OK, done, status, peer="" if identifier is None else str(identifier))


def named(told: MutationSettings | None, rows: pa.Table) -> dict[str, str]:
    """What our columns are called in the records that are sent."""
    names = {ours: theirs for ours, theirs in (told.fields if told else {}).items() if ours in rows.column_names}
    return names or {name: name for name in rows.column_names}


def _variables(arguments: Mapping[str, Any], columns: Sequence[str], where: str) -> dict[str, Any]:
    """The variables where nothing is said: the record as the only input, and arguments called like columns."""
    inputs = [n for n, one in arguments.items() if isinstance(get_named_type(one.type), GraphQLInputObjectType)]
    made: dict[str, Any] = {name: f"{{{name}}}" for name in arguments if name in columns}
    if len(inputs) == 1:
        made[inputs[0]] = f"{{{WHOLE}}}"
    if not made:
        raise InvalidSettingsError(
            "nothing says what the arguments are", path=f"{where}.variables",
            hint=f'arguments: {", ".join(arguments)}; for example {{input: "{{*}}"}}',
        )  # fmt: skip
    return made


def _internal(told: Any) -> bool:
    codes = [(one.get("extensions") or {}).get("code", "") for one in told if isinstance(one, dict)]
    return any(str(code).upper() in ("INTERNAL_SERVER_ERROR", "INTERNAL", "TIMEOUT", "UNAVAILABLE") for code in codes)


def _inside(told: Any) -> bool:
    """Whether an error is about a field of the mutation's value: it was carried out, and reading its value failed."""
    paths = [one.get("path") for one in told if isinstance(one, dict)] if isinstance(told, list) else []
    return any(isinstance(path, list) and len(path) > 1 for path in paths)


def _field(told: Any) -> str:
    """The field that the first complaint is about, where it says so."""
    first = told[0] if isinstance(told, list) and told and isinstance(told[0], dict) else {}
    field = first.get("field") or (first.get("extensions") or {}).get("field") or ""
    field = field[-1] if isinstance(field, list) and field else field
    return str(field) if field else ""


def _identifier(held: Any) -> Any:
    """The first `id` in a value, nearest first."""
    level = [held]
    while level:
        for one in level:
            if isinstance(one, dict) and one.get("id") is not None:
                return one["id"]
        level = [value for one in level if isinstance(one, dict) for value in one.values() if isinstance(value, dict)]
    return None
