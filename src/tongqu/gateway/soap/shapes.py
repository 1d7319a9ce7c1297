"""What a caller can do with an API by SOAP: the operations, the fields it sees and sets, and their names in XML."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.core.policy import Actor
from tongqu.gateway.policy.decision import Action, Decision
from tongqu.gateway.policy.values import family
from tongqu.gateway.problems import Problem
from tongqu.gateway.publication import Api
from tongqu.gateway.rest.xml import element_name, field_name
from tongqu.gateway.rewrite.views import View, view_of
from tongqu.gateway.validating import writable

OPERATIONS = ("Query", "Get", "Insert", "Update", "Upsert", "Delete")
JOINING = ("and", "or", "not")
"""Elements of a filter that are no fields; a field of such a name is written by the number of its first letter."""
_ACTIONS: Mapping[str, tuple[Action, ...]] = {
    "Query": ("read",), "Get": ("read",), "Insert": ("insert",), "Update": ("update",),
    "Upsert": ("insert", "update"), "Delete": ("delete",),
}  # fmt: skip
_EACH: tuple[Action, ...] = ("read", "insert", "update", "delete")
_KEPT = 256
_INTS = {8: "byte", 16: "short", 32: "int", 64: "long"}
_WORDS = {
    "decimal": "decimal", "bool": "boolean", "text": "string", "date": "date", "timestamp": "dateTime",
    "instant": "dateTime", "time": "time", "binary": "base64Binary", "uuid": "string", "json": "string",
    "other": "string",
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What one caller may do. `view` is what it sees (None: nothing), `key` the fields that find one row, `inputs` the
    fields that each writing operation sets."""

    api: Api
    operations: tuple[str, ...]
    view: View | None
    key: tuple[pa.Field[Any], ...]
    inputs: Mapping[str, tuple[pa.Field[Any], ...]]

    @property
    def fields(self) -> tuple[pa.Field[Any], ...]:
        """The fields of rows that are given, in their order, as the caller sees them."""
        return () if self.view is None else tuple(seen.field for seen in self.view.fields.values())

    def field(self, name: str) -> pa.Field[Any] | None:
        """A field that the caller sees or may set; None for all others."""
        if self.view is not None and name in self.view.fields:
            return self.view.fields[name].field
        return next((one for fields in self.inputs.values() for one in fields if one.name == name), None)


_SHAPES: OrderedDict[tuple[Any, ...], Shape] = OrderedDict()


def shape_of(api: Api, actor: Actor) -> Shape:
    """Raises Problem `auth.missing` or `api.unknown` for who may do nothing at all: to them there is no such API."""
    decisions = {action: api.policy.decide(actor, action) for action in _EACH}
    key = (id(api), *((one.allowed, one.plan, one.writable) for one in decisions.values()))
    found = _SHAPES.get(key)
    if found is None or found.api is not api or not all(one.plan or not one.allowed for one in decisions.values()):
        found = _SHAPES[key] = _made(api, decisions)
        while len(_SHAPES) > _KEPT:
            _SHAPES.popitem(last=False)
    if not found.operations:
        raise Problem("api.unknown" if actor.known else "auth.missing")
    return found


def _made(api: Api, decisions: Mapping[Action, Decision]) -> Shape:
    allowed = {action for action, decision in decisions.items() if decision.allowed}
    view = view_of(api, decisions["read"]) if "read" in allowed else None
    may = api.entry.write
    open_to = {"insert": may.insert, "update": may.update, "delete": may.delete, "read": True}
    known = view.key if view is not None else ()
    inputs: dict[str, tuple[pa.Field[Any], ...]] = {}
    operations = []
    for name, actions in _ACTIONS.items():
        if not all(action in allowed and open_to[action] for action in actions):
            continue
        if actions != ("read",):
            if not api.table:
                continue
            names = frozenset.intersection(*(decisions[action].writable for action in actions))
            inputs[name] = tuple(writable(api, names).values())
        if name == "Get" and not known:
            continue
        if name == "Upsert" and not (api.dataset.key and {one.name for one in inputs[name]} >= set(api.dataset.key)):
            continue
        operations.append(name)
    key = tuple(api.dataset.schema.field(name) for name in known)
    return Shape(api, tuple(operations), view, key, inputs)


def tag(name: str) -> str:
    """The name of a field's element."""
    if name in JOINING:
        return f"_x{ord(name[0]):04X}_{name[1:]}"
    return element_name(name)


def named(element: str) -> str:
    """The field whose element has this name."""
    return field_name(element)


def xsd_type(field: pa.Field[Any]) -> str:
    """The type of the field's values in XML Schema, without prefix; of a list that of its items."""
    kind = family(field)
    if kind == "list":
        return xsd_type(field.type.field(0))
    if kind == "int":
        word = _INTS[field.type.bit_width]
        if pa.types.is_unsigned_integer(field.type):
            return "unsigned" + word.capitalize()
        return word
    if kind == "float":
        return "double" if pa.types.is_float64(field.type) else "float"
    return _WORDS[kind]
