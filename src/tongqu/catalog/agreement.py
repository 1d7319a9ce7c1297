"""What two datasets are compared by: their common columns, the form both sides write each in, and the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tongqu.core.compare import ORDERED, Canon, Comparison, Form
from tongqu.core.data import Dataset, Meta
from tongqu.core.errors import InvalidPlanError, SchemaError, UnknownNameError

_LARGEST_SCALE = 30
_PADDED = ("postgres:character(", "mysql:char(", "oracle:char(", "mssql:char(", "mssql:nchar(")


@dataclass(frozen=True)
class Wish:
    """What was asked for: columns (none = all common ones), key (none = the source's own), bag = compare by whole row
    without a key, tolerance of floats, and which rows."""

    columns: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    bag: bool = False
    tolerance: float = 0.0
    where: str = ""


@dataclass(frozen=True)
class Agreement:
    """Both sides' comparison, the names of compared columns by side, and what a person should know."""

    left: Comparison
    right: Comparison
    common: Mapping[str, str]
    """All columns both sides have: the left's name to the right's."""
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The compared columns by the left's names."""
        return tuple(column.name for column in self.left.columns)

    @property
    def soft(self) -> tuple[tuple[Canon, Canon], ...]:
        """Pairs of columns whose texts may differ although the values are equal."""
        pairs = zip(self.left.columns, self.right.columns, strict=True)
        return tuple((left, right) for left, right in pairs if left.soft)

    def without(self, names: Sequence[str], note: str) -> Agreement:
        """The same without some columns (the left's names), with a note that says why."""
        keep = [number for number, column in enumerate(self.left.columns) if column.name not in names]
        left, right = (
            Comparison(tuple(side.columns[number] for number in keep), side.key, side.where)
            for side in (self.left, self.right)
        )
        return Agreement(left, right, self.common, (*self.notes, note))


def agree(left: Dataset, right: Dataset, wish: Wish) -> Agreement:
    """How the two are compared.

    Raises UnknownNameError for columns that are not there, SchemaError naming every pair of columns whose types cannot
    be written alike, InvalidPlanError if there is no key and no bag was asked for.
    """
    common = _common(left, right)
    key = () if wish.bag else _key(left, right, wish, common)
    chosen = _chosen(left, wish, common, key)
    notes = _left_out(left, right, common) if not wish.columns else []
    pairs: dict[str, tuple[Canon, Canon]] = {}
    wrong = []
    for name in chosen:
        first, second = left.schema.field(name), right.schema.field(common[name])
        form = _nested(first, second) if _is_nested(first, second) else _form(first, second)
        if form is None and _is_nested(first, second) and not wish.columns:
            notes.append(f"{name}: nested values of different types are not compared")
        elif form is None:
            wrong.append(f"{name} ({_shown(first)} and {_shown(second)})")
        else:
            pairs[name] = _canons(first, second, form, wish)
            if wish.bag and form is Form.FLOAT and not wish.tolerance:
                notes.append(f"{name}: systems may write doubles beyond 2^53 differently, and a bag's rows have no key "
                             "to look them up by")  # fmt: skip
            notes += _remarks(first, second, form)
    if wrong:
        raise SchemaError(
            f"columns of different kinds cannot be compared: {', '.join(wrong)}",
            path=left.name,
            hint="choose others with --columns, or cast one side in a view or pipeline",
        )
    bad = [name for name in key if pairs[name][0].form not in ORDERED]
    if bad:
        raise InvalidPlanError(f"{', '.join(bad)} cannot be a key: such values have no exact order", path=left.name)
    sides = [
        Comparison(tuple(pair[side] for pair in pairs.values()), tuple(pairs[name][side] for name in key), wish.where)
        for side in (0, 1)
    ]
    return Agreement(sides[0], sides[1], common, tuple(notes))


def _common(left: Dataset, right: Dataset) -> dict[str, str]:
    """The left's names to the right's; a name in other letter case counts where it is the only one."""
    there = set(right.columns)
    folded: dict[str, list[str]] = {}
    for name in right.columns:
        folded.setdefault(name.lower(), []).append(name)
    found = {}
    for name in left.columns:
        alike = folded.get(name.lower(), [])
        if name in there:
            found[name] = name
        elif len(alike) == 1 and alike[0] not in left.columns:
            found[name] = alike[0]
    if not found:
        raise SchemaError(
            f"{left.name!r} and {right.name!r} have no column in common", path=left.name,
            hint=f"left: {', '.join(left.columns)}; right: {', '.join(right.columns)}",
        )  # fmt: skip
    return found


def _need(names: Sequence[str], common: Mapping[str, str], what: str, where: str) -> None:
    missing = [name for name in names if name not in common]
    if missing:
        raise UnknownNameError(
            f"{what}: both sides need the column {', '.join(missing)}", path=where,
            hint=f"they have in common: {', '.join(common)}", params={"name": ", ".join(missing)},
        )  # fmt: skip


def _key(left: Dataset, right: Dataset, wish: Wish, common: Mapping[str, str]) -> tuple[str, ...]:
    if wish.key:
        _need(wish.key, common, "key", left.name)
        return wish.key
    back = {there: here for here, there in common.items()}
    for key in (left.key, tuple(back.get(name, "") for name in right.key)):
        if key and all(name in common for name in key):
            return key
    raise InvalidPlanError(
        f"neither side of {left.name!r} has a key that the other has too",
        path=left.name,
        hint="name the columns that identify a row with --key, or compare whole rows as a bag with --no-key",
    )


def _chosen(left: Dataset, wish: Wish, common: Mapping[str, str], key: Sequence[str]) -> list[str]:
    _need(wish.columns, common, "columns", left.name)
    return [name for name in left.columns if name in common and (not wish.columns or name in (*wish.columns, *key))]


def _left_out(left: Dataset, right: Dataset, common: Mapping[str, str]) -> list[str]:
    only = [name for name in left.columns if name not in common]
    others = [name for name in right.columns if name not in common.values()]
    notes = [f"only the left side has {', '.join(only)}: not compared"] if only else []
    return notes + ([f"only the right side has {', '.join(others)}: not compared"] if others else [])


def _meta(field: pa.Field[Any], key: Meta) -> str:
    value = (field.metadata or {}).get(key.encode(), b"")
    return value.decode()


def _shown(field: pa.Field[Any]) -> str:
    return _meta(field, Meta.NATIVE).partition(":")[2] or str(field.type)


def _is_nested(*fields: pa.Field[Any]) -> bool:
    return any(pa.types.is_nested(field.type) for field in fields)


def _nested(first: pa.Field[Any], second: pa.Field[Any]) -> Form | None:
    """Nested values are compared as the system's own text where both sides are the same system and type."""
    native = _meta(first, Meta.NATIVE)
    return Form.TEXT if native and native == _meta(second, Meta.NATIVE) else None


def _own(field: pa.Field[Any]) -> Form:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    tests = (
        (pa.types.is_integer, Form.INTEGER), (pa.types.is_boolean, Form.BOOLEAN), (pa.types.is_decimal, Form.DECIMAL),
        (pa.types.is_floating, Form.FLOAT), (pa.types.is_date, Form.DATE), (pa.types.is_time, Form.TIME),
        (pa.types.is_timestamp, Form.TIMESTAMP),
    )  # fmt: skip
    for test, form in tests:
        if test(kind):
            return form
    if "binary" in str(kind):
        return Form.BINARY
    return {"uuid": Form.UUID, "json": Form.JSON, "decimal": Form.NUMBER}.get(_meta(field, Meta.LOGICAL), Form.TEXT)


_NUMBERS = (Form.BOOLEAN, Form.INTEGER, Form.DECIMAL, Form.NUMBER, Form.FLOAT)
"""From narrow to wide: two of them are compared in the wider one."""


def _form(first: pa.Field[Any], second: pa.Field[Any]) -> Form | None:
    """The form that both columns can be written in without loss, or None."""
    forms = {_own(first), _own(second)}
    if len(forms) == 1:
        form = forms.pop()
        return Form.NUMBER if form is Form.DECIMAL and _scale(first, second) > _LARGEST_SCALE else form
    if forms <= set(_NUMBERS):
        wide = max(forms, key=_NUMBERS.index)
        if Form.BOOLEAN in forms and wide is not Form.INTEGER:
            return None
        return Form.NUMBER if wide is Form.DECIMAL and _scale(first, second) > _LARGEST_SCALE else wide
    if forms == {Form.DATE, Form.TIMESTAMP}:
        return Form.TIMESTAMP
    if forms in ({Form.TEXT, Form.UUID}, {Form.TEXT, Form.JSON}):
        return (forms - {Form.TEXT}).pop()
    return None


def _scale(*fields: pa.Field[Any]) -> int:
    return max(field.type.scale if pa.types.is_decimal(field.type) else 0 for field in fields)


def _canons(first: pa.Field[Any], second: pa.Field[Any], form: Form, wish: Wish) -> tuple[Canon, Canon]:
    padded = form is Form.TEXT and any(_meta(f, Meta.NATIVE).startswith(_PADDED) for f in (first, second))
    scale = max(_scale(first, second), 0) if form is Form.DECIMAL else 0
    tolerance = wish.tolerance if form is Form.FLOAT else 0.0
    left, right = (Canon(field.name, form, scale, padded, tolerance) for field in (first, second))
    return left, right


def _remarks(first: pa.Field[Any], second: pa.Field[Any], form: Form) -> list[str]:
    zones = [bool(field.type.tz) for field in (first, second) if pa.types.is_timestamp(field.type)]
    if form is Form.TIMESTAMP and len(set(zones)) == 2:
        return [f"{first.name}: only one side has a time zone; the other's times are taken as UTC"]
    if Form.FLOAT in (form,) and _own(first) is not _own(second):
        return [f"{first.name}: {_shown(first)} and {_shown(second)} are compared as doubles"]
    return []
