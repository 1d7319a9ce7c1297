"""Which columns a table had at which place of the log: learnt from the log itself or the catalog, kept in a file.

A row event names no columns and a table map has only their storage types, unless `binlog_row_metadata` is FULL. So
every version of a followed table's columns is written down beside its place before a row is read by it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from tongqu.connectors.mysql import catalog
from tongqu.connectors.mysql.catalog import ColumnInfo, TableInfo
from tongqu.connectors.mysql.log.charsets import text
from tongqu.connectors.mysql.log.events import TableMap, Wire
from tongqu.connectors.mysql.log.places import Place
from tongqu.kit import lasting

_INTS = {"tinyint": 1, "smallint": 2, "mediumint": 9, "int": 3, "bigint": 8}
_OF_CODE = {code: name for name, code in _INTS.items()}
_PLAIN = {"float": 4, "double": 5, "year": 13, "date": 10, "json": 245}
_MOMENTS = {"time": 19, "timestamp": 17, "datetime": 18}
_OLD_MOMENTS = {"time": 11, "timestamp": 7, "datetime": 12}
_BLOBS = {"tiny": 1, "": 2, "medium": 3, "long": 4}


@dataclass(frozen=True)
class Shape:
    """A version of a followed table's columns."""

    name: str
    """The dataset's."""
    schema: str
    table: str
    columns: tuple[ColumnInfo, ...]
    key: tuple[str, ...]

    @classmethod
    def of(cls, info: TableInfo, key: tuple[str, ...]) -> Shape:
        """As the catalog has it now."""
        return cls(info.name, info.schema, info.table, tuple(info.columns), key)

    @cached_property
    def arrow(self) -> pa.Schema:
        """The schema that a full read of the table gives."""
        info = TableInfo(self.schema, self.table, self.name, None, False, "", None, list(self.columns))
        return catalog.dataset(info).schema

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Where each column stands in the table."""
        return {column.name: number for number, column in enumerate(self.columns)}

    def fits(self, found: TableMap) -> bool:
        """Whether rows behind this map can be of these columns."""
        return (
            len(self.columns) == len(found.wires)
            and all(_alike(c, w) for c, w in zip(self.columns, found.wires, strict=True))
            and (not found.names or found.names == tuple(c.name for c in self.columns))
            and (not found.unsigned or all(
                u == c.native.unsigned for u, c in zip(found.unsigned, self.columns, strict=True)
                if c.native.name in _INTS
            ))
            and all(choices(c.type) == tuple(text(v, c.charset) for v in found.values[n])
                    for n, c in enumerate(self.columns) if n in found.values)
        )  # fmt: skip


def _alike(column: ColumnInfo, wire: Wire) -> bool:
    """Whether a column of this type is stored as the log says."""
    native, code, meta = column.native, wire.code, wire.meta
    name = native.name
    if name in _INTS or name in _PLAIN:
        return code == {**_INTS, **_PLAIN}[name] or (name == "date" and code == 14)
    if name == "decimal":
        precision, scale = (*native.arguments, 0, 0)[:2] if native.arguments else (10, 0)
        return (code, meta) == (246, precision << 8 | scale)
    if name in _MOMENTS:
        return (code, meta) == (_MOMENTS[name], native.digits) or (code == _OLD_MOMENTS[name] and not native.digits)
    if name == "bit":
        return code == 16 and (meta >> 8) * 8 + (meta & 255) == (native.arguments or (1,))[0]
    if name in ("enum", "set"):
        return code == (247 if name == "enum" else 248)
    if name in ("varchar", "varbinary"):
        return code in (15, 253)
    for ending in ("text", "blob"):
        if name.endswith(ending):
            return (code, meta) == (252, _BLOBS[name.removesuffix(ending)])
    return code == 254 if name in ("char", "binary", "uuid", "inet4", "inet6") else code not in _OF_CODE


def choices(text: str) -> tuple[str, ...]:
    """The values of `enum('a','b')` or `set(…)`."""
    inside = text[text.find("(") + 1 : text.rfind(")")]
    found: list[str] = []
    at = 0
    while (start := inside.find("'", at)) >= 0:
        value = ""
        at = start + 1
        while True:
            end = inside.find("'", at)
            value += inside[at:end]
            at = end + 1
            if inside[at : at + 1] != "'":
                break
            value += "'"
            at += 1
        found.append(value)
    return tuple(found)


def described(known: Shape, found: TableMap, now: TableInfo | None, charsets: dict[int, tuple[str, str, int]]) -> Shape:
    """The columns that a map with full metadata tells; where the catalog has or the last version had the same column,
    in its words. `charsets` has name, collation and bytes per character by collation number."""
    columns = []
    others = [c for source in (now.columns if now else (), known.columns) for c in source]
    for number, name in enumerate(found.names):
        told = _told(number, found, charsets)
        same = next((c for c in others if c.name == name and _same(c, told, found.wires[number])), told)
        columns.append(replace(same, nullable=found.nullable[number]))
    names = set(found.names)
    return replace(known, columns=tuple(columns), key=known.key if set(known.key) <= names else ())


def _same(column: ColumnInfo, told: ColumnInfo, wire: Wire) -> bool:
    if column.native.name in _INTS and column.native.unsigned != told.native.unsigned:
        return False
    if told.native.name in ("enum", "set") and choices(column.type) != choices(told.type):
        return False
    if column.native.name in ("uuid", "inet4", "inet6") and wire.code == 254:
        return True
    binary = column.native.name.endswith(("binary", "blob")) != told.native.name.endswith(("binary", "blob"))
    if binary or (told.charset and column.charset and told.charset != column.charset):
        return False
    bounded = (
        column.native.name in ("varchar", "char", "varbinary") and column.native.arguments != told.native.arguments
    )
    return _alike(column, wire) and not bounded


def _told(number: int, found: TableMap, charsets: dict[int, tuple[str, str, int]]) -> ColumnInfo:
    wire = found.wires[number]
    unsigned = " unsigned" if found.unsigned and found.unsigned[number] else ""
    charset, collation, width = charsets.get(
        found.collations[number] if found.collations else 0, ("binary", "binary", 1)
    )
    kind = _type(wire, unsigned, binary=charset == "binary", width=width)
    if wire.code in (247, 248):
        values = ",".join("'" + text(v, charset).replace("'", "''") + "'" for v in found.values[number])
        kind = f"{'enum' if wire.code == 247 else 'set'}({values})"
    own = charset != "binary" and (wire.code in (15, 247, 248, 252, 253, 254))
    return ColumnInfo(
        found.names[number], kind, found.nullable[number], None, "", "",
        charset if own else None, collation if own else None,
    )  # fmt: skip


def _type(wire: Wire, unsigned: str, *, binary: bool, width: int) -> str:
    code, meta = wire.code, wire.meta
    if code in _OF_CODE:
        return _OF_CODE[code] + unsigned
    if code == 246:
        return f"decimal({meta >> 8},{meta & 255}){unsigned}"
    if code == 16:
        return f"bit({(meta >> 8) * 8 + (meta & 255)})"
    if code == 252:
        size = {1: "tiny", 2: "", 3: "medium", 4: "long"}[meta]
        return size + ("blob" if binary else "text")
    if code in (15, 253):
        return f"varbinary({meta})" if binary else f"varchar({meta // width})"
    if code == 254:
        return f"binary({meta})" if binary else f"char({meta // width})"
    for codes in (_MOMENTS, _OLD_MOMENTS):
        for name, own in codes.items():
            if own == code:
                return f"{name}({meta})" if meta else name
    plain = {own: name for name, own in _PLAIN.items()} | {14: "date", 255: "geometry"}
    return plain.get(code, f"type{code}")


class Shapes:
    """The versions of the followed tables, append-only, in `path` (None: only in memory)."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept: list[tuple[Place, Shape]] = []
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):  # a line that a crash cut off
                    self._kept.append(_from_json(json.loads(line)))

    def at(self, name: str, place: Place) -> Shape | None:
        """The version of a table at a place; None if none is known that was there before it."""
        found = [shape for own, shape in self._kept if shape.name == name and place.behind(own)]
        return found[-1] if found else None

    def keep(self, place: Place, shape: Shape) -> None:
        """Note that the table has these columns from this place on, durably."""
        if self.at(shape.name, place) == shape:
            return
        self._kept.append((place, shape))
        if self._path is not None:
            lasting.make_folder(self._path.parent)
            text = json.dumps(_to_json(place, shape), ensure_ascii=False)
            lasting.append(self._path, f"\n{text}\n".encode())  # not behind what a crash cut off

    def forget(self) -> None:
        """Throw all versions away."""
        self._kept.clear()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _to_json(place: Place, shape: Shape) -> dict[str, Any]:
    values = {"name": shape.name, "schema": shape.schema, "table": shape.table, "key": list(shape.key)}
    return {"place": place.position, **values, "columns": [asdict(column) for column in shape.columns]}


def _from_json(values: dict[str, Any]) -> tuple[Place, Shape]:
    columns: Sequence[dict[str, Any]] = values["columns"]
    shape = Shape(
        values["name"], values["schema"], values["table"], tuple(ColumnInfo(**c) for c in columns), tuple(values["key"])
    )
    return Place.of(values["place"]), shape
