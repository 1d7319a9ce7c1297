"""Two contracts compared from the caller's side: a request may be let in more widely, an answer given more narrowly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import pyarrow as pa

from tongqu.core.errors import ExpressionError
from tongqu.gateway.contract.shape import Contract
from tongqu.gateway.contract.types import fits

_ANY = pa.schema([pa.field("x", pa.bool_())])
"""Something for casts of constants to stand over."""
Side = Literal["request", "response", "access", "version"]


@dataclass(frozen=True)
class Difference:
    """One thing that is otherwise. `code` is stable and has a sentence in every language; `at` is where in the
    contract, `field` the field it is about, if one; `breaking`: somebody who relied on `before` fails or is misled."""

    code: str
    at: str
    side: Side
    before: Any
    after: Any
    breaking: bool
    field: str = ""

    def to_json(self) -> dict[str, Any]:
        """The difference as documents show it."""
        return {
            "code": self.code, "at": self.at, "side": self.side, "field": self.field, "before": self.before,
            "after": self.after, "breaking": self.breaking,
        }  # fmt: skip


def compare(before: Contract, after: Contract) -> list[Difference]:
    """Everything that differs, breaking things first.

    Answers may not widen: a field gone, a type or a value that was not possible before. Requests may not narrow: a
    parameter that must be given now, a value refused that was taken, a lower limit. Rules that follow oasdiff's
    levels: new bounds and removed constraints of answers break, a changed default does not.
    """
    found = [
        *_fields(before, after), *_parameters(before["parameters"], after["parameters"]),
        *_writes(before["write"], after["write"]), *_relations(before["relations"], after["relations"]),
        *_limits(before["limits"], after["limits"]), *_access(before, after), *_whole(before, after),
    ]  # fmt: skip
    return sorted(found, key=lambda one: not one.breaking)


def breaking(before: Contract, after: Contract) -> list[Difference]:
    """What of it breaks callers."""
    return [one for one in compare(before, after) if one.breaking]


# fields


def _fields(before: Contract, after: Contract) -> Iterator[Difference]:
    old, new = before["fields"], after["fields"]
    inserts = bool(before["write"]["insert"])
    taken = inserts or bool(before["write"]["update"])
    for name in [*old, *(name for name in new if name not in old)]:
        at = f"fields.{name}"
        if name not in new:
            yield Difference("field.removed", at, "response", old[name]["type"], None, True, name)
        elif name not in old:
            told = new[name]
            yield Difference("field.added", at, "response", None, told["type"], False, name)
            if inserts and told["needed"] and told["set"]:
                yield Difference("field.needed", at, "request", False, True, True, name)
        else:
            yield from _field(name, old[name], new[name], taken=taken and old[name]["set"], inserts=inserts)


def _field(
    name: str, old: Mapping[str, Any], new: Mapping[str, Any], *, taken: bool, inserts: bool
) -> Iterator[Difference]:
    """`taken`: callers may set it now."""
    at = f"fields.{name}"

    def differs(key: str, side: Side, broken: bool) -> Difference:
        return Difference(f"field.{key}", f"{at}.{key}", side, old[key], new[key], broken, name)

    one, other = ((side["type"], side["logical"]) for side in (old, new))
    if one != other:
        widened, narrowed = not fits(other, one), taken and not fits(one, other)
        yield differs("type", "request" if narrowed and not widened else "response", widened or narrowed)
    if old["nullable"] != new["nullable"]:
        yield differs("nullable", "response" if new["nullable"] else "request", new["nullable"] or taken)
    if old["set"] != new["set"] and (taken or new["set"]):
        yield differs("set", "request", taken)
    if inserts and new["set"] and new["needed"] and not old["needed"] and old["nullable"] == new["nullable"]:
        yield differs("needed", "request", True)
    if old["unit"] != new["unit"]:
        yield differs("unit", "response", bool(old["unit"]))
    for key, loosened, tightened in (
        ("enum", _more_values, _fewer_values), ("min", _lower, _higher), ("max", _greater, _smaller),
        ("length", _greater, _smaller), ("pattern", _loosened, _tightened),
    ):  # fmt: skip
        if old[key] != new[key]:
            wide, narrow = loosened(old[key], new[key]), taken and tightened(old[key], new[key])
            yield differs(key, "request" if narrow and not wide else "response", wide or narrow)
    yield from _shown(name, old, new)


def _shown(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    at = f"fields.{name}"

    def differs(key: str, broken: bool) -> Difference:
        return Difference(f"field.{key}", f"{at}.{key}", "access", old[key], new[key], broken, name)

    if old["roles"] != new["roles"]:
        yield differs("roles", _fewer_of(old["roles"], new["roles"]))
    if old["otherwise"] != new["otherwise"] and old["otherwise"] and new["otherwise"]:
        yield differs("otherwise", new["otherwise"] == "hide")
    elif old["mask"] != new["mask"] and old["mask"]:
        yield differs("mask", new["mask"] is not None)
    if old["purposes"] != new["purposes"]:
        kept = not new["purposes"] or (bool(old["purposes"]) and set(old["purposes"]) <= set(new["purposes"]))
        yield differs("purposes", not kept)
    if old["writers"] != new["writers"]:
        yield differs("writers", _fewer_of(old["writers"], new["writers"]))


def _fewer_of(old: Sequence[str] | None, new: Sequence[str] | None) -> bool:
    """Whether somebody of the one list is not in the other; None is everybody."""
    return new is not None and (old is None or not set(old) <= set(new))


def _more_values(old: Sequence[str] | None, new: Sequence[str] | None) -> bool:
    return old is not None and (new is None or not set(new) <= set(old))


def _fewer_values(old: Sequence[str] | None, new: Sequence[str] | None) -> bool:
    return new is not None and (old is None or not set(old) <= set(new))


def _loosened(old: str | None, new: str | None) -> bool:
    return old is not None


def _tightened(old: str | None, new: str | None) -> bool:
    return new is not None


def _greater(old: Any, new: Any) -> bool:
    """Whether an upper bound was lifted."""
    return old is not None and (new is None or _ordered(new) > _ordered(old))


def _smaller(old: Any, new: Any) -> bool:
    """Whether an upper bound came down."""
    return new is not None and (old is None or _ordered(new) < _ordered(old))


def _lower(old: Any, new: Any) -> bool:
    """Whether a lower bound came down."""
    return old is not None and (new is None or _ordered(new) < _ordered(old))


def _higher(old: Any, new: Any) -> bool:
    """Whether a lower bound was lifted."""
    return new is not None and (old is None or _ordered(new) > _ordered(old))


def _ordered(value: Any) -> tuple[int, Decimal, str]:
    """Numbers by size, before everything else (dates and texts) by its letters."""
    try:
        return (0, Decimal(str(value)), "")
    except InvalidOperation:
        return (1, Decimal(0), str(value))


# requests


def _parameters(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for name in [*old, *(name for name in new if name not in old)]:
        at = f"parameters.{name}"
        if name not in new:
            yield Difference("parameter.removed", at, "request", old[name]["type"], None, True)
        elif name not in old:
            needed = new[name]["required"]
            code = "parameter.required" if needed else "parameter.added"
            yield Difference(code, at, "request", None, new[name]["type"], needed)
        else:
            one, other = old[name], new[name]
            if one["required"] != other["required"]:
                told = (one["required"], other["required"])
                yield Difference("parameter.required", f"{at}.required", "request", *told, other["required"])
            if one["type"] != other["type"]:
                told = (one["type"], other["type"])
                yield Difference("parameter.type", f"{at}.type", "request", *told, not _word_fits(*told))


def _word_fits(before: str, after: str) -> bool:
    """The same for types as projects write them."""
    from tongqu.meaning.expressions import cast, literal, type_of

    try:
        found = type_of([cast(literal(None), word) for word in (before, after)], _ANY)
    except ExpressionError:
        return False
    one, other = (str(kind) for _, kind in found)
    return fits((one, ""), (other, ""))


def _writes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for key in ("insert", "update", "delete", "ingest"):
        if old[key] != new[key]:
            yield Difference(f"write.{key}", f"write.{key}", "request", old[key], new[key], bool(old[key]))
    writes = any(old[key] for key in ("insert", "update", "delete"))
    for key, strict in (("idempotency", "required"), ("conditional", True)):
        if old[key] != new[key]:
            broken = writes and new[key] == strict
            yield Difference(f"write.{key}", f"write.{key}", "request", old[key], new[key], broken)


def _limits(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for key in old:
        if old[key] != new[key]:
            yield Difference(
                f"limit.{key}", f"limit.{key}", "request", old[key], new[key], _smaller(old[key], new[key])
            )


def _relations(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) != new.get(name):
            code = "added" if name not in old else "removed" if name not in new else "changed"
            told = (old.get(name), new.get(name))
            yield Difference(f"relation.{code}", f"relations.{name}", "response", *told, name in old)


# who may call, and the version as a whole


def _access(before: Contract, after: Contract) -> Iterator[Difference]:
    old, new = before["access"], after["access"]

    def differs(key: str, broken: bool) -> Difference:
        return Difference(f"access.{key}", f"access.{key}", "access", old[key], new[key], broken)

    if old["public"] != new["public"]:
        yield differs("public", old["public"])
    for key in ("roles", "write_roles"):
        if old[key] != new[key]:
            yield differs(key, not set(old[key]) <= set(new[key]))
    if old["rows"] != new["rows"]:
        yield differs("rows", new["rows"] is not None)
    if old["rules"] != new["rules"]:
        gone = [rule for rule in old["rules"] if rule not in new["rules"] and rule["effect"] == "allow"]
        come = [rule for rule in new["rules"] if rule not in old["rules"] and rule["effect"] == "deny"]
        yield differs("rules", bool(gone or come))
    one, other = before["addresses"], after["addresses"]
    if one["allow"] != other["allow"]:
        fewer = bool(other["allow"]) and (not one["allow"] or not set(one["allow"]) <= set(other["allow"]))
        told = (one["allow"], other["allow"])
        yield Difference("addresses.allow", "addresses.allow", "access", *told, fewer)
    if one["deny"] != other["deny"]:
        told = (one["deny"], other["deny"])
        yield Difference(
            "addresses.deny", "addresses.deny", "access", *told, not set(other["deny"]) <= set(one["deny"])
        )


def _whole(before: Contract, after: Contract) -> Iterator[Difference]:
    judges: Sequence[tuple[str, Side, Callable[[Any, Any], bool]]] = (
        ("key", "response", lambda old, new: bool(old)),
        ("protocols", "version", lambda old, new: not set(old) <= set(new)),
        ("deprecated", "version", lambda old, new: False),
        ("sunset", "version", _sooner),
        ("successor", "version", lambda old, new: False),
    )
    for key, side, judge in judges:
        if before[key] != after[key]:
            yield Difference(key, key, side, before[key], after[key], judge(before[key], after[key]))


def _sooner(old: str | None, new: str | None) -> bool:
    """Whether a day that was told comes earlier now."""
    return old is not None and new is not None and date.fromisoformat(new) < date.fromisoformat(old)
