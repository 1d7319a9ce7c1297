"""The operations of a SOAP service as datasets: which give lists, how they are asked, and how records are written back.

A WSDL says of its operations only what they are called, take and give; the rest is concluded from these, and what is
concluded from another operation than the list's own says from which (`Found.guesses`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tongqu.catalog.assessing.shapes import Interface, Member, Operation, Shape
from tongqu.kit.openapi import verbs
from tongqu.kit.openapi import vocabulary as words
from tongqu.kit.openapi.lists import Found
from tongqu.kit.openapi.writing import Guess

_SIZE = 100
_DEEPEST = 4
_CODE = re.compile(r"^(return|result|status|error|err|resp(onse)?)?code$", re.IGNORECASE)
_MESSAGE = re.compile(r"^(return|result|status|error|err)?(message|msg|text|info)$", re.IGNORECASE)
_WENT = ("success", "succeeded", "issuccess", "ok")
_ENDS = ("id", "no", "code", "number", "key")


@dataclass(frozen=True)
class _Records:
    """What a list gives: the thing it is called after, its record's shape, and the fields that tell records apart."""

    noun: str
    shape: Shape
    key: Sequence[str]

    @property
    def simple(self) -> dict[str, str]:
        """Its simple fields by their plain names."""
        return {words.plain(name): name for name, one in self.shape.members.items() if not one.shape.inner.members}


def lists(interface: Interface) -> list[Found]:
    """Every operation in the document's order: those that give lists as datasets of a SOAP connection, the others,
    unless a list is written by them, with the reason."""
    found: list[Found] = []
    used: set[str] = set()
    taken: set[str] = set()
    for operation in interface.operations:
        kind, noun = verbs.taken_apart(operation.label)
        one_record = kind == verbs.LOOK and _gives_one(operation)
        if operation.records is None or kind not in (verbs.LIST, verbs.LOOK) or one_record:
            what = "its answer has no list of records" if kind in (verbs.LIST, verbs.LOOK) else "it is no query"
            what = "it gives one record" if one_record else what
            found.append(Found("", operation.label, reason=what))
            continue
        name = _called(operation.label)
        name = name if name not in taken else operation.label
        taken.add(name)
        one = _listed(interface, operation, name, noun)
        used |= {guess.source for guess in one.guesses}
        found.append(one)
    return [one for one in found if one.settings or one.operation not in used]


def _gives_one(operation: Operation) -> bool:
    """Whether it is called after one thing and is told which: `GetOrder(OrderNo)`."""
    last = re.sub(r"([A-Z]?[a-z]+|[A-Z]+)$", "", operation.label)
    word = operation.label[len(last) :].lower()
    members = operation.sends.members if operation.sends is not None else {}
    return verbs.singular(word) == word and any(words.plain(name).endswith(_ENDS) for name in members)


def _called(label: str) -> str:
    """A dataset's name: the operation's without its verb, `GetOrders` is `Orders`."""
    rest = re.sub(r"^(get|list|find|query|search|read|fetch)[_-]?(?=[A-Z_\d]|[a-z])", "", label, flags=re.IGNORECASE)
    return rest if len(rest) > 1 else label


def _listed(interface: Interface, operation: Operation, name: str, noun: str) -> Found:
    """The dataset of an operation that gives a list."""
    shape = operation.records or Shape("")
    fields = {field: "" for field, one in shape.members.items() if not one.shape.inner.members}
    settings: dict[str, Any] = {"operation": operation.label}
    key = words.key_field(fields, noun)
    roles, needs = _roles(operation)
    if words.PAGE in roles or words.OFFSET in roles:
        way = words.PAGE if words.PAGE in roles else words.OFFSET
        size = {"size_param": roles[words.SIZE], "size": _SIZE} if words.SIZE in roles else {}
        settings["paging"] = {"kind": way, "param": roles[way], **size}
    changed = words.changed_field(fields) or next((f for f in fields if words.plain(f) in ("changed", "updated")), "")
    if changed and words.SINCE in roles:
        until = {"until_param": roles[words.UNTIL]} if words.UNTIL in roles else {}
        settings["incremental"] = {"cursor": changed, "param": roles[words.SINCE], **until}
    records = _Records(noun, shape, [key] if key else [])
    guesses = list(_guesses(interface, operation, records))
    if not key and (told := next((one for one in guesses if one.setting == "key"), None)):
        records = replace(records, key=told.value)
    if records.key:
        settings["key"] = list(records.key)
    reason = f"needs {', '.join(needs)}: give them under arguments" if needs else ""
    return Found(name, operation.label, settings, reason, tuple(needs), tuple(guesses))


def _roles(operation: Operation) -> tuple[dict[str, str], list[str]]:
    """What arguments are for, as keys with points between them, and those that must be given otherwise."""
    roles: dict[str, str] = {}
    needs: list[str] = []
    for path, member in _arguments(operation.sends, "", 0):
        what = words.role({"name": member.name, "description": member.description})
        if what and what not in roles:
            roles[what] = path
        elif member.required and not member.shape.nullable and "." not in path:
            needs.append(path)
    above = {path.partition(".")[0] for path in roles.values()}
    return roles, [path for path in needs if path not in above]


def _arguments(shape: Shape | None, above: str, depth: int) -> Iterator[tuple[str, Member]]:
    for name, member in (shape.members if shape is not None else {}).items():
        if member.shape.members and depth < 2:
            yield from _arguments(member.shape, f"{above}{name}.", depth + 1)
            if depth == 0 and member.required and not any(True for _ in _arguments(member.shape, "", 1)):
                yield f"{above}{name}", member
        else:
            yield f"{above}{name}", member


def _guesses(interface: Interface, listing: Operation, records: _Records) -> Iterator[Guess]:
    """What other operations on the same thing say: the key, and how a record is written and looked at."""
    made: dict[str, Guess] = {}
    key: Guess | None = None
    for operation in interface.operations:
        kind, noun = verbs.taken_apart(operation.label)
        if operation is listing or noun != records.noun or kind in ("", verbs.LIST) or kind in made:
            continue
        names = _naming(operation.sends, records)
        if kind in (verbs.LOOK, verbs.DELETE) and not records.key and names:
            key = key or Guess("key", [names[1]], operation.label)
            records = replace(records, key=key.value)
        value = _look(operation, records) if kind == verbs.LOOK else _call(operation, records, kind)
        if value is not None:
            made[kind] = Guess(f"write.{kind}", {"operation": operation.label, **value}, operation.label)
    if key is not None:
        yield key
    if made.keys() - {verbs.LOOK}:
        yield from made.values()


def _naming(sends: Shape | None, records: _Records) -> tuple[str, str] | None:
    """The argument that names a record and the field it is, if nothing else must be given."""
    members = sends.members if sends is not None else {}
    found = [(name, field) for name in members if (field := _field(name, records))]
    found = [one for one in found if not records.key or one[1] in records.key]
    others = [one for one in members.values() if one.required and not one.shape.nullable]
    if len(found) != 1 or any(one.name != found[0][0] for one in others) or members[found[0][0]].shape.members:
        return None
    return found[0]


def _field(argument: str, records: _Records) -> str:
    """The field that an argument of this name stands for."""
    name = words.plain(argument)
    if name in records.simple:
        return records.simple[name]
    end = next((end for end in _ENDS if name == f"{records.noun}{end}" and end in records.simple), "")
    return records.simple.get(end, "")


def _look(operation: Operation, records: _Records) -> dict[str, Any] | None:
    named = _naming(operation.sends, records)
    place = _record_at(operation.gives, records)
    if named is None or place is None:
        return None
    return {"arguments": {named[0]: f"{{{named[1]}}}"}, **({"record": place} if place else {})}


def _call(operation: Operation, records: _Records, kind: str) -> dict[str, Any] | None:
    """The arguments of an operation that changes a record, and where its answer says what became of it."""
    members: Mapping[str, Member] = operation.sends.members if operation.sends is not None else {}
    named = _naming(operation.sends, records)
    given: dict[str, Any] = {}
    whole = [name for name, one in members.items() if one.shape.items is None and _alike(one.shape, records)]
    if kind == verbs.DELETE:
        if named is None:
            return None
        given["arguments"] = {named[0]: f"{{{named[1]}}}"}
    elif len(whole) == 1:
        if any(one.required and not one.shape.nullable for name, one in members.items() if name != whole[0]):
            return None
        given["arguments"] = {whole[0]: "{*}"}
    elif operation.sends is None or not _alike(operation.sends, records):
        return None
    return given | _said(operation.gives)


def _alike(shape: Shape, records: _Records) -> bool:
    """Whether a shape is that of the records: most of what it has they have too."""
    if shape is records.shape:
        return True
    theirs = {words.plain(name) for name in shape.members}
    ours = {words.plain(name) for name in records.shape.members}
    return bool(theirs) and len(theirs & ours) * 2 > len(theirs)


def _record_at(gives: Shape | None, records: _Records) -> str | None:
    """The path to a single record in an answer; empty if the answer is it, None if it has none."""
    level = [("", gives)] if gives is not None else []
    for _ in range(_DEEPEST):
        following = []
        for path, shape in level:
            if shape.items is None and _alike(shape, records):
                return path
            below = f"{path}." if path else ""
            following += [(f"{below}{name}", one.shape) for name, one in shape.members.items()]
        level = following
    return None


def _said(gives: Shape | None) -> dict[str, str]:
    """Where an answer says whether it went through, and what is wrong."""
    level = [("", gives)] if gives is not None else []
    for _ in range(3):
        following: list[tuple[str, Shape]] = []
        for path, shape in level:
            below = f"{path}." if path else ""
            found: dict[str, str] = {}
            for name, one in shape.members.items():
                plain = words.plain(name)
                if "ok" not in found and one.shape.type == "boolean" and plain in _WENT:
                    found["ok"] = f"{below}{name}=true|1"
                elif "ok" not in found and one.shape.type == "integer" and _CODE.match(plain):
                    found["ok"] = f"{below}{name}=0"
                elif "error" not in found and one.shape.type == "string" and _MESSAGE.match(plain):
                    found["error"] = f"{below}{name}"
                following.append((f"{below}{name}", one.shape))
            if "ok" in found:
                return found
        level = following
    return {}
