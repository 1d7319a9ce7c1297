"""Names that GraphQL can hold, for fields and APIs of any name; no name depends on one that the caller does not see."""

from __future__ import annotations

import re

_ESCAPED = re.compile(r"_x(?:[0-9A-F]{4}|[0-9A-F]{8})_")


def graphql_name(name: str) -> str:
    """The name itself where GraphQL can hold it; else each letter that it cannot as `_x91CD_`, as .NET's XmlConvert
    writes names. Two names never become one."""
    made: list[str] = []
    for place, sign in enumerate(name):
        fits = sign == "_" or (sign.isascii() and sign.isalnum() and (place > 0 or not sign.isdigit()))
        leading = place == 0 and not (name[1:2].isascii() and name[1:2].isalnum())  # nothing may begin with `__`
        reserved = sign == "_" and (_ESCAPED.match(name, place) or (leading and len(name) > 1))
        made.append(sign if fits and not reserved else _code(sign))
    return "".join(made) or "_x0000_"


def _code(sign: str) -> str:
    number = ord(sign)
    return f"_x{number:04X}_" if number <= 0xFFFF else f"_x{number:08X}_"


def free(name: str, taken: set[str]) -> str:
    """The name, with as many `_` behind it as make it new among `taken`, which it joins."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
