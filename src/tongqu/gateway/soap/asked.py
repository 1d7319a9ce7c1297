"""The element of an operation as a question or a change in the gateway's own words."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tongqu.gateway.asking import Ask, Compare, Condition, Joined, Negated, Order, Wanted
from tongqu.gateway.policy.decision import Decision
from tongqu.gateway.policy.values import family
from tongqu.gateway.problems import Problem
from tongqu.gateway.soap.envelope import local
from tongqu.gateway.soap.schema import COMPARISONS
from tongqu.gateway.soap.shapes import JOINING, Shape, named
from tongqu.gateway.soap.words import XSI

if TYPE_CHECKING:
    from lxml.etree import _Element

_NIL = f"{{{XSI}}}nil"
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Reading:
    """Reads elements of one namespace for one caller."""

    shape: Shape
    space: str

    def parts(self, element: _Element, *names: str, many: bool = False) -> dict[str, list[_Element]]:
        """The children by name, which may only be these (any, if none are given), each once unless `many`."""
        found: dict[str, list[_Element]] = {}
        for child in element:
            name = local(child)
            if str(child.tag) != f"{{{self.space}}}{name}":
                raise _wrong(name, f"elements are in the namespace {self.space}")
            if names and name not in names:
                raise _wrong(name, "there is no such element here")
            if name in found and not many:
                raise _wrong(name, "the element is there twice")
            found.setdefault(name, []).append(child)
        return found

    def ask(self, operation: _Element) -> Ask:
        """The question of `Query`."""
        told = self.parts(operation, "fields", "filter", "order", "limit", "after", "count", "parameters")
        one = {name: elements[0] for name, elements in told.items()}
        limit = text(one.get("limit")).strip()
        if limit and not (limit.isascii() and limit.isdigit() and len(limit) < 10):
            raise _wrong("limit", "a whole number is expected")
        return Ask(
            wanted=self.wanted(one.get("fields")),
            where=self.condition(one["filter"]) if "filter" in one else None,
            order=self._order(one.get("order")),
            limit=int(limit) if limit else None,
            after=text(one.get("after")).strip(),
            count="exact" if truth(one.get("count")) else "none",
            arguments=self._arguments(one.get("parameters")),
        )

    def wanted(self, element: _Element | None) -> tuple[Wanted, ...] | None:
        """The fields that are named; None for all."""
        names = self.names(element)
        return None if names is None else tuple(Wanted(name) for name in names)

    def names(self, element: _Element | None) -> tuple[str, ...] | None:
        """The names in a list of `field` elements; None where there are none."""
        if element is None:
            return None
        return tuple(text(one) for one in self.parts(element, "field", many=True).get("field", ())) or None

    def condition(self, element: _Element) -> Condition | None:
        """The condition that a filter comes to: all its fields and its `and` filters hold, none of its `not` filters,
        and one of its `or` filters, if it has any."""
        made: list[Condition] = []
        for name, elements in self.parts(element, many=True).items():
            if name not in JOINING:
                made += [self._compared(one) for one in elements]
                continue
            inner = [found for one in elements if (found := self.condition(one)) is not None]
            if name == "or" and len(inner) > 1:
                made.append(Joined("or", tuple(inner)))
            else:
                made += [Negated(one) for one in inner] if name == "not" else inner
        return None if not made else made[0] if len(made) == 1 else Joined("and", tuple(made))

    def _compared(self, element: _Element) -> Condition:
        name = named(local(element))
        field = self.shape.field(name)
        made: list[Condition] = []
        for word, elements in self.parts(element, *COMPARISONS, "in", "isNull").items():
            one = elements[0]
            if word == "isNull":
                made.append(Compare(name, "is", "null" if truth(one) else "not_null"))
            elif word == "in":
                values = self.parts(one, "value", many=True).get("value", ())
                made.append(Compare(name, "in", tuple(self._value(value, field) for value in values)))
            else:
                made.append(Compare(name, COMPARISONS[word], self._value(one, field)))
        if not made:  # an unknown field is refused even so
            made = [Joined("or", (Compare(name, "is", "null"), Compare(name, "is", "not_null")))]
        return made[0] if len(made) == 1 else Joined("and", tuple(made))

    def _value(self, element: _Element, field: pa.Field[Any] | None) -> Any:
        if nil(element):
            raise _wrong(local(element), "null is asked for by isNull")
        return lexical(element, field)

    def _order(self, element: _Element | None) -> tuple[Order, ...]:
        made = []
        for one in self.parts(element, "by", many=True).get("by", ()) if element is not None else ():
            told = self.parts(one, "field", "descending")
            if "field" not in told:
                raise _wrong("by", "it names a field")
            made.append(Order(text(told["field"][0]), truth(told["descending"][0]) if "descending" in told else False))
        return tuple(made)

    def _arguments(self, element: _Element | None) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, (one,) in self.parts(element).items() if element is not None else ():
            known = self.shape.api.parameters.get(named(name))
            field = known if isinstance(known, pa.Field) else pa.field("", known) if known is not None else None
            made[named(name)] = None if nil(one) else lexical(one, field)
        return made

    def row(self, element: _Element) -> dict[str, Any]:
        """A row of fields to be set: null where `xsi:nil` says so, an empty text where the element is empty."""
        made: dict[str, Any] = {}
        for name, (one,) in self.parts(element).items():
            field = self.shape.field(named(name))
            made[named(name)] = None if nil(one) else lexical(one, field)
        return made

    def rows(self, element: _Element | None) -> list[dict[str, Any]]:
        """The rows of a list of `row` elements."""
        if element is None:
            raise _wrong("rows", "it is needed")
        return [self.row(one) for one in self.parts(element, "row", many=True).get("row", ())]

    def key(self, element: _Element, decision: Decision) -> Condition:
        """The condition that finds the row of a key. Raises `row.unknown` where the caller does not see the key."""
        key = self.shape.api.dataset.key
        if not key or any(name not in decision.fields or decision.fields[name] is not None for name in key):
            raise Problem("row.unknown")
        told = {named(name): one for name, (one,) in self.parts(element).items()}
        if set(told) != set(key):
            raise _wrong("key", f"it has {', '.join(key)}")
        parts = tuple(
            Compare(name, "eq", self._value(told[name], self.shape.api.dataset.schema.field(name))) for name in key
        )
        return parts[0] if len(parts) == 1 else Joined("and", parts)


def nil(element: _Element) -> bool:
    """Whether the element is null."""
    return element.get(_NIL, "").strip() in ("true", "1")


def text(element: _Element | None) -> str:
    """The text of an element that has nothing else; empty where there is none. Raises Problem `body.invalid`."""
    if element is None:
        return ""
    if len(element):
        raise _wrong(local(element), "it holds a text and no elements")
    return element.text or ""


def truth(element: _Element | None) -> bool:
    """An `xs:boolean`; false where there is none."""
    if element is None or nil(element):
        return False
    found = _TRUTH.get(text(element).strip())
    if found is None:
        raise _wrong(local(element), "it is true or false")
    return found


def lexical(element: _Element, field: pa.Field[Any] | None) -> Any:
    """The value in the forms that the gateway reads: texts, and lists of them. White space around what is no text does
    not count; dates may have a zone, which says nothing about a day."""
    kind = family(field) if field is not None else "text"
    if kind == "list" and field is not None:
        inner = field.type.field(0)
        return [None if nil(one) else lexical(one, inner) for one in element if local(one) == "item"]
    found = text(element)
    if kind in ("text", "json", "other"):
        return found
    found = found.strip()
    if kind == "binary":
        try:
            return "\\x" + base64.b64decode("".join(found.split()), validate=True).hex()
        except (binascii.Error, ValueError):
            raise Problem("value.invalid", f"{local(element)[:64]!r} must be in Base64") from None
    if kind == "float" and found in ("INF", "+INF", "-INF"):
        return "-Infinity" if found[0] == "-" else "Infinity"
    if kind == "date" and len(found) > 10 and found[10] in "Z+-":
        return found[:10]
    return found


def _wrong(name: str, detail: str) -> Problem:
    name = name[:64]
    told = {"parameter": name, "code": "element", "detail": detail}
    return Problem("body.invalid", f"{name!r}: {detail}", errors=[told])
