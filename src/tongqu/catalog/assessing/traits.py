"""Whether an operation can be paged, asked for changes, or called twice without harm, by the names it uses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tongqu.catalog.assessing.shapes import Operation, fields
from tongqu.catalog.assessing.words import lead
from tongqu.kit.openapi import vocabulary as words

_PAGED = {words.PAGE, words.OFFSET, words.CURSOR}
_ONCE = re.compile(
    r"idempot|幂等|^(x)?(request|client(request|order)?|message|msg|trans(action)?|out(trade|biz|order)?|external|biz|serial)"
    r"(id|no|number|key|token|code)$|^requestkey$|流水号"
)
_ONCE_SAID = re.compile(r"idempot|幂等|流水号|防重", re.IGNORECASE)


def roles(operation: Operation) -> dict[str, str]:
    """What its parameters are for (see `kit.openapi.vocabulary`), each with the parameter; those of a body too."""
    found: dict[str, str] = {}
    for name, said, where in _asked(operation):
        role = words.role({"name": name, "description": said})
        if role:
            found.setdefault(role, where)
    return found


def _asked(operation: Operation) -> Iterator[tuple[str, str, str]]:
    for one in operation.parameters:
        if one.where in ("query", "header"):
            yield one.name, one.description, one.place
    if operation.method in ("POST", "CALL"):
        for path, member in fields(operation.sends):
            if path.count(".") <= 2:
                yield member.name, member.description, member.place


def pages(operation: Operation) -> bool:
    """Whether a list comes in pages: by parameters, or by a `Link` header."""
    return bool(_PAGED & roles(operation).keys()) or "link" in operation.headers


def incremental(operation: Operation) -> bool:
    """Whether a list can be asked for what has changed."""
    return words.SINCE in roles(operation)


def once(operation: Operation) -> str:
    """The place of the key by which a repeated call is known, by its name or the beginning of its description; empty if
    there is none."""
    for one in operation.parameters:
        if _keyed(one.name, one.description):
            return one.place
    for path, member in fields(operation.sends):
        if path.count(".") <= 1 and _keyed(member.name, member.description):
            return member.place
    return ""


def _keyed(name: str, description: str) -> bool:
    return bool(_ONCE.search(words.plain(name)) or _ONCE_SAID.search(lead(description)))
