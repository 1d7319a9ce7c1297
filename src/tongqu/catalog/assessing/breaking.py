"""What a new version of a vendor's document changes, and which changes break a caller of the version before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tongqu.catalog.assessing.shapes import Interface, Operation, Parameter, Shape

_WIDER = {("integer", "number")}


@dataclass(frozen=True)
class Change:
    """One difference. `what` names its kind, `place` where in the new document (in the old one for what is gone)."""

    what: str
    breaking: bool
    operation: str
    place: str
    name: str = ""
    old: str = ""
    new: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "what": self.what, "breaking": self.breaking, "operation": self.operation, "place": self.place,
            "name": self.name, "old": self.old, "new": self.new,
        }  # fmt: skip


def changes(old: Interface, new: Interface) -> list[Change]:
    """All differences that a caller can notice, breaking ones first, each once even if many operations share it.

    Shapes are compared by what they hold and not by what they are called, so a schema that was only renamed is no
    change. What is sent may become looser, what is received may become richer; the opposite breaks.
    """
    found = list(_Comparison().run(old, new))
    return sorted(found, key=lambda one: not one.breaking)


class _Comparison:
    def __init__(self) -> None:
        self._seen: set[tuple[int, int, bool]] = set()

    def run(self, old: Interface, new: Interface) -> Iterator[Change]:
        before = {_key(op): op for op in old.operations}
        after = {_key(op): op for op in new.operations}
        for key, op in before.items():
            if key in after:
                yield from self.operation(op, after[key])
            else:
                yield Change("operation.removed", True, op.label, op.place)
        for key, op in after.items():
            if key not in before:
                yield Change("operation.added", False, op.label, op.place)
        if gone := [one for one in old.servers if one not in new.servers]:
            yield Change("server.removed", True, "", "#/servers", old=", ".join(gone), new=", ".join(new.servers))

    def operation(self, old: Operation, new: Operation) -> Iterator[Change]:
        if new.deprecated and not old.deprecated:
            yield Change("operation.deprecated", False, new.label, new.place)
        before = {_name(one): one for one in old.parameters}
        after = {_name(one): one for one in new.parameters}
        for key, one in before.items():
            if key in after:
                yield from _parameter(new, one, after[key])
            else:
                yield Change("parameter.removed", True, old.label, one.place, one.name)
        for key, one in after.items():
            if key not in before:
                what = "parameter.required" if one.required else "parameter.added"
                yield Change(what, one.required, new.label, one.place, one.name)
        if new.sends is not None and old.sends is not None:
            yield from self.shape(new, old.sends, new.sends, "", sent=True)
        elif new.sends is not None and any(m.required for m in new.sends.members.values()):
            yield Change("body.required", True, new.label, new.sends.place)
        if old.gives is not None and new.gives is not None:
            yield from self.shape(new, old.gives, new.gives, "", sent=False)
        elif old.gives is not None:
            yield Change("answer.removed", True, new.label, new.place)
        if _closed(old, new):
            shown = [" | ".join("+".join(sorted(way)) or "—" for way in op.access or ()) or "—" for op in (old, new)]
            yield Change("access.changed", True, new.label, new.place, old=shown[0], new=shown[1])

    def shape(self, op: Operation, old: Shape, new: Shape, path: str, *, sent: bool) -> Iterator[Change]:
        """Differences of two shapes and all below; the path is that of the first operation where they were met."""
        waiting = [(old, new, path)]
        while waiting:
            before, after, here = waiting.pop()
            key = (id(before), id(after), sent)
            if key in self._seen:
                continue
            self._seen.add(key)
            yield from _kinds(op, before, after, here, sent=sent)
            for name, member in before.members.items():
                below = f"{here}.{name}" if here else name
                other = after.members.get(name)
                if other is None:
                    if not (after.typed or after.members):
                        continue
                    yield Change("field.removed", True, op.label, member.place, below)
                    continue
                if other.required and not member.required and sent:
                    yield Change("field.required", True, op.label, other.place, below)
                if member.required and not other.required and not sent:
                    yield Change("field.optional", True, op.label, other.place, below)
                waiting.append((member.shape, other.shape, below))
            for name, member in after.members.items():
                if name not in before.members:
                    below = f"{here}.{name}" if here else name
                    needed = sent and member.required
                    yield Change("field.required" if needed else "field.added", needed, op.label, member.place, below)
            if before.items is not None and after.items is not None:
                waiting.append((before.items, after.items, f"{here}[]"))


def _kinds(op: Operation, old: Shape, new: Shape, path: str, *, sent: bool) -> Iterator[Change]:
    kinds = (old.type, new.type)
    if all(kinds) and kinds[0] != kinds[1] and "mixed" not in (kinds[0] if not sent else "", kinds[1] if sent else ""):
        fine = kinds in _WIDER if sent else kinds[::-1] in _WIDER
        yield Change("field.retyped", not fine, op.label, new.place, path, *kinds)
    elif old.format != new.format and old.type == new.type and (old.format or sent):
        yield Change("field.reformatted", True, op.label, new.place, path, old.format or "—", new.format or "—")
    if new.nullable and not old.nullable and not sent:
        yield Change("field.nullable", True, op.label, new.place, path)
    if old.nullable and not new.nullable and sent:
        yield Change("field.not_null", True, op.label, new.place, path)
    gone = [one for one in old.choices if one not in new.choices] if new.choices else []
    more = [one for one in new.choices if one not in old.choices]
    if (gone or (more and not old.choices)) and sent:
        yield Change(
            "choice.removed", True, op.label, new.place, path, ", ".join(gone[:10]), ", ".join(new.choices[:10])
        )
    elif more and old.choices:
        yield Change("choice.added", False, op.label, new.place, path, "", ", ".join(more[:10]))


def _parameter(op: Operation, old: Parameter, new: Parameter) -> Iterator[Change]:
    if new.required and not old.required:
        yield Change("parameter.required", True, op.label, new.place, new.name)
    if old.type and new.type and old.type != new.type and (old.type, new.type) not in _WIDER and new.type != "string":
        yield Change("parameter.retyped", True, op.label, new.place, new.name, old.type, new.type)
    gone = [one for one in old.choices if one not in new.choices] if new.choices else []
    if gone:
        yield Change(
            "choice.removed", True, op.label, new.place, new.name, ", ".join(gone), ", ".join(new.choices[:10])
        )


def _closed(old: Operation, new: Operation) -> bool:
    """Whether somebody who could call it by a way of the old document cannot any more."""
    if not new.access:
        return False
    ways = old.access or (frozenset(),)
    return not all(any(now <= way for now in new.access) for way in ways)


def _key(operation: Operation) -> tuple[str, str]:
    path = re.sub(r"\{[^}]*\}", "{}", operation.path).rstrip("/")
    return operation.method, path


def _name(one: Parameter) -> tuple[str, str]:
    return one.where, "" if one.where == "path" else one.name


def summary(found: list[Change]) -> Mapping[str, int]:
    """How many break, and how many do not."""
    breaking = sum(one.breaking for one in found)
    return {"breaking": breaking, "other": len(found) - breaking}
