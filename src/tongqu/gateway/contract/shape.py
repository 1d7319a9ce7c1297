"""The promise of one published version as plain data: fields, parameters, writes, limits, who may call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tongqu.core.data import Meta
from tongqu.gateway.policy.field_rules import level
from tongqu.gateway.settings import SECONDS
from tongqu.gateway.validating import demanded, writable
from tongqu.meaning.fields import metadata

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.gateway.entry import ApiEntry
    from tongqu.gateway.policy.settings import FieldAccess
    from tongqu.gateway.publication import Api
    from tongqu.meaning.rules import Rule

Contract = dict[str, Any]
"""JSON: `key fields parameters write relations limits protocols access addresses deprecated sunset successor`."""
_LENGTH = re.compile(r"(?:character varying|varchar|character|char|bpchar|nvarchar|nchar)\s*\(\s*(\d+)\s*\)")
_INTERNAL = 1


def contract_of(api: Api) -> Contract:
    """The contract of a compiled API. Fields that no rule ever shows are no part of it."""
    settable = writable(api, api.dataset.columns)
    fields = {}
    for field in api.dataset.schema:
        access = api.entry.access.fields.get(field.name)
        told = metadata(field)
        named = any(field.name in rule.fields for rule in api.entry.access.rules if rule.effect == "allow")
        if access is None and not named and level(told.get(Meta.CLASS, "internal")) > _INTERNAL:
            continue
        rule = api.rules.get(field.name)
        fields[field.name] = {
            **_typed(field, rule), "set": field.name in settable, "needed": demanded(field, rule), **_seen(access, told)
        }  # fmt: skip
    return {"key": list(api.dataset.key), "fields": fields, **_declared(api.entry)}


def without_source(entry: ApiEntry, before: Contract) -> Contract:
    """The contract of an entry whose source cannot be asked: what the entry itself says, the rest as it was."""
    published = entry.fields if entry.fields is not None else list(before["fields"])
    fields = {}
    for name in published:
        if name in before["fields"]:
            old = before["fields"][name]
            access = entry.access.fields.get(name)
            fields[name] = old if access is None and old["roles"] is None else {**old, **_seen(access, {})}
    return {"key": list(entry.source.key) or before["key"], "fields": fields, **_declared(entry)}


def _typed(field: pa.Field[Any], rule: Rule | None) -> dict[str, Any]:
    told = metadata(field)
    length = _LENGTH.search(told.get(Meta.NATIVE, "").lower())
    return {
        "type": str(field.type),
        "logical": told.get(Meta.LOGICAL, ""),
        "nullable": field.nullable and not (rule is not None and rule.required),
        "unit": told.get(Meta.UNIT, ""),
        "length": int(length[1]) if length else None,
        "min": None if rule is None or rule.min is None else str(rule.min),
        "max": None if rule is None or rule.max is None else str(rule.max),
        "pattern": None if rule is None else rule.pattern,
        "enum": None if rule is None or rule.enum is None else sorted(map(str, rule.enum)),
    }


def _seen(access: FieldAccess | None, told: Mapping[str, str]) -> dict[str, Any]:
    """Who sees the value (None: all who may read), what others see, for which purposes, and who may set it."""
    if access is None:
        return {"roles": None, "otherwise": "", "mask": None, "purposes": [], "writers": None}
    masked = access.otherwise == "mask" or (access.mask is not None and "otherwise" not in access.model_fields_set)
    mask = access.mask.model_dump(by_alias=True, exclude_defaults=True, mode="json") if access.mask else None
    return {
        "roles": sorted(access.roles),
        "otherwise": "mask" if masked else "hide",
        "mask": (mask or {"with": told.get(Meta.MASK, "")}) if masked else None,
        "purposes": sorted(access.purposes),
        "writers": None if access.write is None else sorted(access.write),
    }


def _declared(entry: ApiEntry) -> Contract:
    limit, write, access = entry.limit, entry.write, entry.access
    return {
        "parameters": {
            name: {"type": one.type, "required": one.required and one.default is None}
            for name, one in sorted(entry.source.parameters.items())
        },
        "write": write.model_dump(include=set(_WRITES), mode="json"),
        "relations": {
            name: {"api": one.api, "on": dict(sorted(one.on.items())), "many": one.many}
            for name, one in sorted(entry.relations.items())
        },
        "limits": {
            "per_second": limit.requests / SECONDS[limit.per], "burst": limit.burst or limit.requests,
            "concurrent": limit.concurrent, "rows": limit.rows, "seconds": limit.seconds, "body_kb": limit.body_kb,
            "cost": limit.cost,
        },
        "protocols": sorted(entry.protocols),
        "access": {
            "public": access.public, "roles": sorted(access.roles), "write_roles": sorted(access.write_roles),
            "rows": access.rows,
            "rules": [rule.model_dump(exclude_defaults=True, mode="json") | {"effect": rule.effect}
                      for rule in access.rules],
        },
        "addresses": {"allow": sorted(entry.addresses.allow), "deny": sorted(entry.addresses.deny)},
        "deprecated": entry.deprecated, "sunset": entry.sunset, "successor": entry.successor,
    }  # fmt: skip


_WRITES = ("insert", "update", "delete", "idempotency", "conditional", "ingest")
