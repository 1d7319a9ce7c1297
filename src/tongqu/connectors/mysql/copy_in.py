"""Fits PostgreSQL's COPY text into LOAD DATA: which types need a cast at the source, and the escapes that differ.

PostgreSQL writes `\\b \\f \\n \\r \\t \\v \\\\ \\N`; LOAD DATA reads `\\0 \\b \\n \\r \\t \\Z \\N` and takes any other
escaped character as itself, so `\\f` and `\\v` become the raw bytes. (PostgreSQL: COPY, Text Format; MySQL: LOAD DATA.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tongqu.connectors.mysql.types import INTEGERS, Native, is_bytes

_TEXT = frozenset({"text", "character varying", "character", "bpchar", "name", "uuid", "json", "jsonb"})
_LONG = frozenset({"varchar", "tinytext", "text", "mediumtext", "longtext"})
_PAIR = re.compile(rb"\\\\|\\f|\\v")
_RAW = {b"\\\\": b"\\\\", b"\\f": b"\f", b"\\v": b"\v"}


def fit(wire: str, target: str) -> str | None:
    """The type the source must cast to so that its COPY text means the same in a column of type `target`; the same
    type if nothing is to be done, None if it cannot be made exact (the columnar lane takes it)."""
    native = Native.parse(target)
    found = re.match(r"([a-z\" ]+?)\s*(?:\((\d+)(?:,-?\d+)?\))?( with(?:out)? time zone)?$", wire)
    if found is None:
        return None
    base, digits = found[1] + (found[3] or ""), int(found[2]) if found[2] else 6
    name = native.name
    if base == "boolean":
        return "integer" if name in INTEGERS else None
    if base in ("smallint", "integer", "bigint"):
        wide = name == "double" and base != "bigint"
        return wire if name in INTEGERS or name == "decimal" or wide else None
    if base == "numeric":
        return wire if name == "decimal" else None
    if base == "real":
        return wire if name == "float" else "double precision" if name == "double" else None
    if base == "double precision":
        return wire if name == "double" else None
    if base in _TEXT:
        return wire if name in _LONG or (name == "json" and "json" in base) or (base == "uuid" == name) \
            or (name == "char" and base == "uuid") else None  # fmt: skip
    if base == "bytea":
        return wire if is_bytes(native) and name != "binary" else None
    if base == "date":
        return wire if name == "date" else None
    if base == "time without time zone":
        return wire if name == "time" and native.digits >= digits else None
    if base.startswith("timestamp with"):
        fits = name in ("datetime", "timestamp") and native.digits >= digits
        return "timestamp without time zone" if fits else None
    return None


def columns(names: Iterable[str], types: dict[str, str]) -> tuple[list[str], list[str]]:
    """LOAD DATA's column list and SET clauses for COPY text: bytea comes as `\\x…`."""
    listed, sets = [], []
    for number, name in enumerate(names):
        quoted = "`" + name.replace("`", "``") + "`"
        if is_bytes(Native.parse(types[name])):
            listed.append(f"@v{number}")
            sets.append(f"{quoted} = UNHEX(SUBSTR(@v{number}, 3))")
        else:
            listed.append(quoted)
    return listed, sets


def unescape(chunks: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The same lines with `\\f` and `\\v` as raw bytes; an escape cut by the end of a block is put together."""
    held = b""
    for chunk in chunks:
        block = held + bytes(chunk) if held else bytes(chunk)
        loose = len(block) - len(block.rstrip(b"\\"))
        held = b""
        if loose % 2:
            block, held = block[:-1], b"\\"
        if b"\\f" in block or b"\\v" in block:
            block = _replaced(block)
        yield block
    if held:
        yield held


def _replaced(block: bytes) -> bytes:
    if b"\0" in block:
        return _PAIR.sub(lambda found: _RAW[found[0]], block)
    pairs = block.replace(b"\\\\", b"\0")
    return pairs.replace(b"\\f", b"\f").replace(b"\\v", b"\v").replace(b"\0", b"\\\\")
