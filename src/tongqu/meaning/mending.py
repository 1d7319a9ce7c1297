"""Rules that mend quarantined rows: `truncate FIELD=n`, `set FIELD=value`, `map FIELD old=new,…`, `discard`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute

import pyarrow as pa

from tongqu.core.errors import ExpressionError, InvalidSettingsError
from tongqu.meaning.expressions import Typed, typed

VERBS = ("truncate", "set", "map", "discard")
_HINT = "rules: truncate FIELD=20 · set FIELD=value or expression · map FIELD old=new,other=new · map FIELD codes.csv"
_CALL = re.compile(r"[A-Za-z_]\w*\s*\(.*\)", re.DOTALL)


@dataclass(frozen=True)
class Mend:
    """One parsed rule. `value` is what stands after `=`; `codes` are a map's pairs."""

    text: str
    verb: str
    field: str = ""
    value: str = ""
    length: int = 0
    codes: Mapping[str, str] = attribute(default_factory=dict)


def parse(text: str, read: Callable[[str], str]) -> Mend:
    """A rule as a person wrote it; `read` gives the content of a file. Raises InvalidSettingsError naming `--rule`."""
    verb, _, rest = text.strip().partition(" ")
    if verb not in VERBS:
        raise InvalidSettingsError(f"unknown rule {verb!r}", path="--rule", hint=_HINT)
    if verb == "discard":
        if rest.strip():
            raise InvalidSettingsError(f"discard takes nothing (got {rest.strip()!r})", path="--rule", hint=_HINT)
        return Mend(text, verb)
    if verb == "map":
        return _map(text, rest.strip(), read)
    name, equals, value = rest.partition("=")
    name = name.strip()
    if not equals or not name:
        raise InvalidSettingsError(f"{verb} is written {verb} FIELD=… (got {text!r})", path="--rule", hint=_HINT)
    if verb == "set":
        return Mend(text, verb, name, value)
    if not re.fullmatch(r"\s*\d{1,9}\s*", value):
        raise InvalidSettingsError(f"truncate needs a number of characters (got {value!r})", path="--rule", hint=_HINT)
    return Mend(text, verb, name, length=int(value))


def _map(text: str, rest: str, read: Callable[[str], str]) -> Mend:
    name, _, pairs = rest.partition(" ")
    pairs = pairs.strip()
    if not name or not pairs:
        raise InvalidSettingsError(f"map is written map FIELD old=new,… (got {text!r})", path="--rule", hint=_HINT)
    if "=" not in pairs:
        rows = [row for row in csv.reader(io.StringIO(read(pairs))) if row]
    else:
        rows = [[part.strip() for part in pair.split("=", 1)] for pair in next(csv.reader([pairs]))]
    codes: dict[str, str] = {}
    for row in rows:
        if len(row) != 2:
            raise InvalidSettingsError(
                f"map needs pairs of an old and a new value (got {','.join(row)!r})", path="--rule", hint=_HINT
            )
        if codes.setdefault(row[0], row[1]) != row[1]:
            raise InvalidSettingsError(f"map gives {row[0]!r} two new values", path="--rule", hint=_HINT)
    return Mend(text, "map", name, codes=codes)


def mended(mend: Mend, row: Mapping[str, object]) -> object:
    """The new value of the rule's field in a row as JSON, for all rules but expressions.

    Raises InvalidSettingsError where the rule does not fit the value.
    """
    old = row.get(mend.field)
    if mend.verb == "set":
        return plain(mend.value)
    if mend.verb == "map":
        return mend.codes.get(old if isinstance(old, str) else "" if old is None else str(old), old)
    if old is not None and not isinstance(old, str):
        raise InvalidSettingsError(f"truncate cuts texts, and {mend.field!r} holds {old!r}", path="--rule")
    return old if old is None else old[: mend.length]


def plain(value: str) -> str | None:
    """A value as it is written after `set FIELD=`: null, a text in quotes, or the text itself."""
    stripped = value.strip()
    if stripped.lower() == "null":
        return None
    if len(stripped) >= 2 and stripped[0] == stripped[-1] == "'":
        return stripped[1:-1].replace("''", "'")
    return value


def expression(mend: Mend, schema: pa.Schema) -> Typed | None:
    """The expression that a `set` rule means, or None if it means a plain value.

    It is an expression if it reads a column or calls a function. A single word is a value, also where a column has that
    name (a column alone is written `"name"`), and `138-0000` is a text, not a subtraction. What looks like an
    expression and is none (a misspelt function, an operator over a known column that does not fit) raises
    ExpressionError.
    """
    if mend.verb != "set":
        return None
    value = mend.value.strip()
    quoted = len(value) > 1 and value[0] == value[-1] == "'" and "'" not in value[1:-1].replace("''", "")
    if quoted or re.fullmatch(r"\w*", value):
        return None
    try:
        made = typed(value, schema, path="--rule")
    except ExpressionError:
        if _CALL.fullmatch(value) or _reads(value, schema.names):
            raise
        return None
    return made if made.columns or _calls(made) else None


def _calls(made: Typed) -> bool:
    from sqlglot import exp

    return any(True for _ in made.tree.find_all(exp.Func, exp.Case, exp.Cast))


def _reads(value: str, names: Sequence[str]) -> bool:
    words = set(re.findall(r"[^\W\d]\w*", value))
    return bool(words & set(names)) and bool(re.search(r"[-+*/|<>()]|::", value))
