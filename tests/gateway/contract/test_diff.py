"""Which changes of a published version break its callers: 149 single changes with the verdict that is expected."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tongqu.gateway.contract.diff import breaking, compare


def field(kind: str = "int64", **told: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "type": kind, "logical": "", "nullable": True, "unit": "", "length": None, "min": None, "max": None,
        "pattern": None, "enum": None, "set": True, "needed": False, "roles": None, "otherwise": "", "mask": None,
        "purposes": [], "writers": None,
    }  # fmt: skip
    return {**plain, **told}


BASE: dict[str, Any] = {
    "key": ["id"],
    "fields": {
        "id": field(nullable=False, needed=True),
        "qty": field("int32", min="0", max="100", unit="kg"),
        "state": field("string", enum=["done", "open"], length=20),
        "code": field("string", pattern="[A-Z]+", nullable=False, needed=True),
        "price": field("decimal128(12, 2)", set=False, nullable=False),
        "seen": field("timestamp[us, tz=UTC]", set=False, min="2020-01-01", max="2030-01-01"),
        "level": field("string", set=False, enum=["a", "b"], length=5, pattern="[ab]"),
        "who": field("string", roles=["hr", "qa"], otherwise="mask", mask={"with": "name"}, writers=["hr", "mes"]),
        "aim": field("string", roles=[], otherwise="hide", purposes=["audit", "care"]),
        "free": field("string"),
    },
    "parameters": {"day": {"type": "date", "required": True}, "line": {"type": "int32", "required": False}},
    "write": {"insert": True, "update": True, "delete": False, "ingest": True, "idempotency": "optional",
              "conditional": False},
    "relations": {"lines": {"api": "lines", "on": {"line_id": "id"}, "many": True}},
    "limits": {"per_second": 10.0, "burst": 600, "concurrent": None, "rows": 1000, "seconds": 10.0, "body_kb": 1024,
               "cost": None},
    "protocols": ["graphql", "rest"],
    "access": {"public": False, "roles": ["mes", "qa"], "write_roles": ["mes"], "rows": None,
               "rules": [{"effect": "allow", "roles": ["qa"]}, {"effect": "deny", "hours": "00:00-06:00"}]},
    "addresses": {"allow": ["10.0.0.0/8", "192.168.0.0/16"], "deny": ["10.9.0.0/16"]},
    "deprecated": None, "sunset": "2027-06-30", "successor": None,
}  # fmt: skip
GONE = object()
# where, what it becomes (GONE: it is not there), whether it breaks callers
CASES: list[tuple[str, Any, bool]] = [
    # fields come and go
    ("fields.qty", GONE, True), ("fields.price", GONE, True), ("fields.who", GONE, True), ("fields.id", GONE, True),
    ("fields.new", field(), False), ("fields.new", field(set=False, nullable=False), False),
    ("fields.new", field(nullable=False, needed=True), True), ("fields.new", field(needed=True, set=False), False),
    # types: answers may only narrow, what is taken only widen
    ("fields.price.type", "decimal128(14, 2)", True), ("fields.price.type", "decimal128(12, 3)", True),
    ("fields.price.type", "decimal128(10, 2)", False), ("fields.price.type", "decimal128(11, 1)", False),
    ("fields.price.type", "int32", False), ("fields.price.type", "int64", True), ("fields.price.type", "double", True),
    ("fields.price.type", "string", True), ("fields.seen.type", "timestamp[us]", True),
    ("fields.seen.type", "date32[day]", True), ("fields.level.type", "int32", False),
    ("fields.level.type", "double", True), ("fields.level.type", "list<item: string>", True),
    ("fields.qty.type", "int64", True), ("fields.qty.type", "int16", True), ("fields.qty.type", "string", True),
    ("fields.qty.type", "double", True), ("fields.qty.type", "decimal128(12, 0)", True),
    ("fields.free.type", "int64", True), ("fields.free.logical", "uuid", True), ("fields.level.logical", "uuid", False),
    # null
    ("fields.price.nullable", True, True), ("fields.id.nullable", True, True),
    ("fields.seen.nullable", False, False),
    ("fields.level.nullable", False, False), ("fields.qty.nullable", False, True),
    ("fields.free.nullable", False, True),
    # what must be given, what may be set
    ("fields.qty.needed", True, True), ("fields.free.needed", True, True), ("fields.code.needed", False, False),
    ("fields.id.needed", False, False), ("fields.seen.needed", True, False), ("fields.qty.set", False, True),
    ("fields.free.set", False, True), ("fields.price.set", True, False),
    # units
    ("fields.qty.unit", "g", True), ("fields.qty.unit", "", True), ("fields.price.unit", "CNY", False),
    # closed lists
    ("fields.state.enum", ["done", "late", "open"], True), ("fields.state.enum", ["open"], True),
    ("fields.state.enum", None, True), ("fields.level.enum", ["a"], False),
    ("fields.level.enum", ["a", "b", "c"], True),
    ("fields.level.enum", ["a", "c"], True), ("fields.level.enum", None, True), ("fields.free.enum", ["x"], True),
    ("fields.price.enum", ["1.00", "2.00"], False),
    # bounds
    ("fields.qty.min", "-1", True), ("fields.qty.min", "1", True), ("fields.qty.min", None, True),
    ("fields.qty.max", "99", True), ("fields.qty.max", "101", True), ("fields.qty.max", None, True),
    ("fields.seen.min", "2019-12-31", True), ("fields.seen.min", "2021-01-01", False),
    ("fields.seen.min", None, True), ("fields.seen.max", "2031-01-01", True), ("fields.seen.max", "2029-01-01", False),
    ("fields.seen.max", None, True), ("fields.price.min", "0", False), ("fields.price.max", "9", False),
    ("fields.free.length", 10, True), ("fields.state.length", 10, True), ("fields.state.length", 40, True),
    ("fields.level.length", 4, False), ("fields.level.length", 6, True), ("fields.level.length", None, True),
    ("fields.code.pattern", "[A-Z]{3}", True), ("fields.code.pattern", None, True),
    ("fields.free.pattern", "x+", True), ("fields.level.pattern", None, True), ("fields.price.pattern", "1.*", False),
    # who sees a field
    ("fields.who.roles", ["hr"], True), ("fields.who.roles", ["hr", "mes", "qa"], False),
    ("fields.who.roles", None, False), ("fields.free.roles", ["hr"], True), ("fields.who.otherwise", "hide", True),
    ("fields.aim.otherwise", "mask", False), ("fields.who.mask", {"with": "null"}, True),
    ("fields.aim.purposes", ["audit"], True), ("fields.aim.purposes", ["audit", "care", "sale"], False),
    ("fields.aim.purposes", [], False), ("fields.free.purposes", ["audit"], True),
    ("fields.who.writers", ["hr"], True), ("fields.who.writers", None, False), ("fields.free.writers", ["hr"], True),
    # parameters
    ("parameters.day", GONE, True), ("parameters.line", GONE, True), ("parameters.day.required", False, False),
    ("parameters.line.required", True, True), ("parameters.line.type", "int64", False),
    ("parameters.line.type", "int16", True), ("parameters.day.type", "timestamp", True),
    ("parameters.line.type", "string", False), ("parameters.new", {"type": "date", "required": False}, False),
    ("parameters.new", {"type": "date", "required": True}, True),
    # writes
    ("write.insert", False, True), ("write.update", False, True), ("write.delete", True, False),
    ("write.ingest", False, True), ("write.idempotency", "required", True), ("write.conditional", True, True),
    # limits
    ("limits.per_second", 5.0, True), ("limits.per_second", 20.0, False), ("limits.burst", 10, True),
    ("limits.burst", 900, False), ("limits.concurrent", 4, True), ("limits.rows", 100, True),
    ("limits.rows", 5000, False), ("limits.seconds", 5.0, True), ("limits.seconds", 20.0, False),
    ("limits.body_kb", 64, True), ("limits.cost", 1000.0, True),
    # relations, protocols, key
    ("relations.lines", GONE, True), ("relations.lines.many", False, True), ("relations.lines.api", "other", True),
    ("relations.new", {"api": "x", "on": {"a": "b"}, "many": False}, False), ("protocols", ["rest"], True),
    ("protocols", ["graphql", "rest", "soap"], False), ("key", ["code"], True), ("key", [], True),
    # who may call, and until when
    ("access.public", True, False), ("access.roles", ["mes"], True), ("access.roles", ["erp", "mes", "qa"], False),
    ("access.write_roles", [], True), ("access.write_roles", ["erp", "mes"], False), ("access.rows", "a = 1", True),
    ("access.rules", [{"effect": "allow", "roles": ["qa"]}], False),
    ("access.rules", [{"effect": "deny", "hours": "00:00-06:00"}], True),
    ("access.rules", [*BASE["access"]["rules"], {"effect": "deny", "roles": ["mes"]}], True),
    ("access.rules", [*BASE["access"]["rules"], {"effect": "allow", "roles": ["erp"]}], False),
    ("addresses.allow", ["10.0.0.0/8"], True), ("addresses.allow", [], False),
    ("addresses.allow", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], False), ("addresses.deny", [], False),
    ("addresses.deny", ["10.8.0.0/16", "10.9.0.0/16"], True), ("deprecated", "2026-12-01", False),
    ("successor", "v2", False), ("sunset", "2027-01-31", True), ("sunset", "2028-01-31", False),
    ("sunset", None, False),
]  # fmt: skip


def mutated(where: str, value: Any) -> dict[str, Any]:
    """The contract with one thing otherwise."""
    made = deepcopy(BASE)
    *path, last = where.split(".")
    inner = made
    for part in path:
        inner = inner[part]
    if value is GONE:
        del inner[last]
    else:
        inner[last] = value
    return made


def test_every_single_change_has_its_verdict() -> None:
    told = [(where, value, wanted, bool(breaking(BASE, mutated(where, value)))) for where, value, wanted in CASES]
    wrong = [f"{where} = {value}: {got}" for where, value, wanted, got in told if got != wanted]
    assert not wrong
    right = sum(wanted and got for *_, wanted, got in told)
    assert len(CASES) >= 120
    assert right / sum(got for *_, got in told) >= 0.98  # precision
    assert right / sum(wanted for *_, wanted, _ in told) >= 0.98  # recall


@pytest.mark.parametrize("where", sorted({where for where, *_ in CASES if not where.endswith("needed")}))
def test_every_change_is_told_even_if_it_breaks_nobody(where: str) -> None:
    value = next(value for at, value, _ in CASES if at == where)
    assert compare(BASE, mutated(where, value))


def test_nothing_differs_from_itself() -> None:
    assert compare(BASE, deepcopy(BASE)) == []


def test_a_difference_names_side_and_field() -> None:
    one, other = compare(BASE, mutated("fields.qty.max", "50")), compare(BASE, mutated("fields.qty.max", "500"))
    assert [(found.side, found.field, found.at) for found in (*one, *other)] == [
        ("request", "qty", "fields.qty.max"),
        ("response", "qty", "fields.qty.max"),
    ]
