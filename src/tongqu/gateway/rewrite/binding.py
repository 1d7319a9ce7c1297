"""First half of rewriting: names and values are checked and bound; what remains is a shape without any value in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tongqu.gateway.asking import Ask, Compare, Condition, Joined, Negated, Slot
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.policy.values import fitted
from tongqu.gateway.problems import Problem, malformed
from tongqu.gateway.publication import Api, Relation
from tongqu.gateway.rewrite import regular
from tongqu.gateway.rewrite.views import Seen, View, unfit, unknown, view_of

Relations = Callable[[str], "tuple[Api, Decision] | None"]
"""A relation's API and what the caller may do with it, by the relation's name; None: there is none for this caller."""

Shape = tuple[Any, ...]
"""Nested plain tuples: operators, names of visible fields, names of placeholders. Never a value."""

MOST = 5000
"""Comparisons, and items of all lists, of one question."""
_REGULAR = 2 * regular.HEAVIEST
"""Weight of all regular expressions of one question: each row is compared with each of them."""
_DEEPEST = 20
_STEP = re.compile(r"[\w \-]{1,64}")
_EQUAL = frozenset(("eq", "neq", "in", "isdistinct"))
_ORDERED = _EQUAL | {"gt", "gte", "lt", "lte"}
OPERATORS = {
    "int": _ORDERED, "decimal": _ORDERED, "float": _ORDERED, "date": _ORDERED, "timestamp": _ORDERED,
    "instant": _ORDERED, "time": _ORDERED, "uuid": _EQUAL, "bool": _EQUAL, "binary": frozenset(("eq", "neq")),
    "text": _ORDERED | {"like", "ilike", "match", "imatch"}, "list": frozenset(("eq", "neq", "cs", "cd", "ov")),
}  # fmt: skip
"""Which operators a kind of values has beside `is`."""
_PATTERNS = ("like", "ilike")
_TEXT = pa.field("", pa.string())


@dataclass(frozen=True)
class Gap:
    """A placeholder whose value is told later (`Slot`), and what it is compared with."""

    name: str
    place: int
    part: Compare
    seen: Seen

    def value(self, text: str) -> Any:
        """The text as a value of the field's type. Raises Problem `value.invalid`."""
        return _fitting(self.part, text, self.seen)


@dataclass
class Binding:
    """Binds the values of one question over one view. `params` are the placeholders' values, `shown` fields in use."""

    view: View
    params: dict[str, Any]
    relations: Relations | None = None
    prefix: str = ""
    used: set[str] = field(default_factory=set)
    joins: dict[str, tuple[View, Relation]] = field(default_factory=dict)
    left: list[int] = field(default_factory=lambda: [MOST])
    regular: list[int] = field(default_factory=lambda: [_REGULAR])
    gaps: list[Gap] = field(default_factory=list)

    def hole(self, value: Any) -> str:
        """A placeholder's name for a value."""
        self.left[0] -= 1
        if self.left[0] < 0:
            raise Problem("query.malformed", f"more than {MOST} values are too many")
        name = f"{self.prefix}p{len(self.params)}"
        self.params[name] = value
        return name

    def target(
        self, name: str, path: Sequence[str] = (), text: bool = False, parameter: str = ""
    ) -> tuple[Shape, Seen]:
        """A field, or a step into its JSON, as something that can be compared, grouped or ordered by."""
        seen = self.view.seen(name, parameter)
        if seen.after is not None:
            raise unfit(name)
        self.used.add(name)
        if not path:
            return ("field", name), seen
        if seen.family != "json":
            raise Problem("query.malformed", f"{name!r} is no JSON")
        if len(path) > _DEEPEST or not all(_STEP.fullmatch(step) for step in path):
            raise Problem("query.malformed", f"the path into {name!r} is not understood")
        kind = _TEXT if text else pa.field("", pa.string(), metadata={"tongqu.logical": "json"})
        return ("path", name, tuple(path), text), Seen(kind.with_name(name), seen.tree)

    def condition(self, part: Condition, depth: int = 0) -> Shape:
        """A condition's shape."""
        if depth > _DEEPEST:
            raise Problem("query.malformed", "the conditions nest too deep")
        if isinstance(part, Negated):
            return ("not", self.condition(part.part, depth + 1))
        if isinstance(part, Joined):
            return (part.word, *(self.condition(one, depth + 1) for one in part.parts))
        relation, dot, name = part.field.partition(".")
        if dot and part.field not in self.view.fields:
            inner = Compare(name, part.operator, part.value, part.quantifier, part.path, part.text)
            return self.related(relation, part.field, lambda binding: binding.condition(inner, depth + 1))
        return self._compare(part)

    def _compare(self, part: Compare) -> Shape:
        target, seen = self.target(part.field, part.path, part.text)
        kind, operator = seen.family, part.operator
        if operator == "is":
            if part.value not in ("null", "not_null") and kind != "bool":
                raise _invalid(part.field, "only null and not_null can be asked of it")
            return ("is", target, part.value)
        if operator not in OPERATORS.get(kind, ()):
            raise malformed(part.field, f"{operator!r} cannot be asked of {part.field!r}, which holds {kind}")
        if operator == "in":
            return ("in", target, *(self._value(part, one, seen) for one in part.value)) if part.value else ("false",)
        if part.quantifier:
            word = "or" if part.quantifier == "any" else "and"
            return (word, *((operator, target, self._value(part, one, seen)) for one in part.value))
        return (operator, target, self._value(part, part.value, seen))

    def _value(self, part: Compare, value: Any, seen: Seen) -> str:
        if isinstance(value, Slot):
            name = self.hole(value)
            self.gaps.append(Gap(name, value.place, part, seen))
            return name
        made = _fitting(part, value, seen)
        if part.operator in ("match", "imatch"):
            self.regular[0] -= _checked(part.field, made)
            if self.regular[0] < 0:
                raise Problem("query.costly", "the regular expressions are too many, or too large")
        return self.hole(made)

    def related(self, name: str, parameter: str, inside: Callable[[Binding], Shape | None]) -> Shape:
        """Rows that have a related row for which `inside` holds."""
        relation = self.view.api.relations.get(name)
        found = self.relations(name) if relation is not None and self.relations is not None else None
        if relation is None or found is None or not found[1].allowed:
            raise unknown(parameter, parameter)
        api, decision = found
        view = view_of(api, decision)
        if not joins(self.view, view, relation):
            raise unknown(parameter, parameter)
        if api.connection != self.view.api.connection or api.server is not self.view.api.server:
            raise Problem("query.malformed", f"{name!r} lies in another system: rows cannot be chosen by it")
        prefix = f"{self.prefix}r{len(self.params)}_"
        binding = Binding(view, {}, None, prefix, left=self.left, regular=self.regular)
        shape = inside(binding)
        binding.used |= set(relation.on.values())
        self.used |= set(relation.on)
        self.params |= binding.params | {prefix + key: value for key, value in decision.params.items()}
        self.params |= {f"{prefix}arg_{key}": value for key, value in arguments(api, {}).items()}
        self.joins[prefix] = (view, relation)
        return ("exists", prefix, decision.plan, shape, tuple(sorted(binding.used)))


def _fitting(part: Compare, value: Any, seen: Seen) -> Any:
    """A value as what it is compared with takes it."""
    try:
        made = fitted(value, seen.field, seen.family)
    except ValueError as error:
        raise _invalid(part.field, str(error)) from None
    if part.operator in _PATTERNS and made is not None and (len(made) - len(made.rstrip("\\"))) % 2:
        raise _invalid(part.field, "a pattern does not end with a single backslash")
    return made


def joins(one: View, other: View, relation: Relation) -> bool:
    """Whether the caller sees, on both sides and as they are, the fields that a relation is made by."""
    pairs = [(one.fields.get(here), other.fields.get(there)) for here, there in relation.on.items()]
    return all(seen is not None and seen.mask is None for pair in pairs for seen in pair)


def arguments(api: Api, given: dict[str, Any]) -> dict[str, Any]:
    """The values of an SQL source's parameters. Raises Problem `value.invalid`, `query.malformed`."""
    entries = api.entry.source.parameters
    for name in given:
        if name not in entries:
            raise Problem("query.malformed", f"there is no parameter {name[:64]!r}")
    made: dict[str, Any] = {}
    for name, entry in entries.items():
        if name not in given and entry.required and entry.default is None:
            raise _invalid(name, "it must be given")
        value = given.get(name, entry.default)
        try:
            made[name] = fitted(value, _parameter(name, api.parameters.get(name), entry.type))
        except ValueError as error:
            raise _invalid(name, str(error)) from None
    return made


def _parameter(name: str, known: Any, word: str) -> pa.Field[Any]:
    if isinstance(known, pa.DataType):
        return pa.field(name, known)
    if isinstance(known, pa.Field):
        return known
    from tongqu.meaning.expressions import cast, literal, type_of

    ((_, kind),) = type_of([cast(literal(None), word)], pa.schema([pa.field("x", pa.int8())]))
    return pa.field(name, kind)


def _invalid(parameter: str, detail: str) -> Problem:
    shown = parameter if len(parameter) <= 64 else parameter[:63] + "…"
    told = f"the value of {shown!r} does not fit: {detail}"
    return Problem("value.invalid", told, errors=[{"parameter": shown, "code": "value.invalid", "detail": detail}])


def _checked(parameter: str, pattern: str) -> int:
    """The weight of a regular expression. Raises Problem `value.invalid`."""
    try:
        return regular.checked(pattern)
    except regular.CostlyError:
        raise _invalid(
            parameter, "nothing that repeats, or may be empty, can be repeated, and all together has at most 300 places"
        ) from None
    except (re.error, ValueError, RecursionError, OverflowError):
        detail = (
            "it must be a regular expression of at most 200 characters, of groups, classes and repetitions up to 255"
        )
        raise _invalid(parameter, detail) from None


def chosen(ask: Ask, binding: Binding) -> Shape | None:
    """The shape of everything that chooses rows: conditions, and relations that must or must not be there."""
    parts: list[Shape] = [] if ask.where is None else [binding.condition(ask.where)]
    for related in ask.related:
        if not (related.inner or related.none):
            continue
        where = related.ask.where

        def inside(inner: Binding, where: Condition | None = where) -> Shape | None:
            return None if where is None else inner.condition(where)

        made = binding.related(related.relation, related.relation, inside)
        parts.append(("not", made) if related.none else made)
    return None if not parts else parts[0] if len(parts) == 1 else ("and", *parts)
