"""ClickHouse's words and types."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pyarrow as pa

from tongqu.kit.tables.dialect import Dialect
from tongqu.kit.tables.native import Native, decimal, field_of
from tongqu.kit.tables.queried import Words

_INTS = {"Int8": pa.int8(), "Int16": pa.int16(), "Int32": pa.int32(), "Int64": pa.int64(), "UInt8": pa.uint8(),
         "UInt16": pa.uint16(), "UInt32": pa.uint32(), "UInt64": pa.uint64()}  # fmt: skip
_WIDE = ("Int128", "Int256", "UInt128", "UInt256")
_OTHERS = ("Decimal", "DateTime64", "Enum8", "Enum16", "Enum", "Bool", "Float32", "Float64", "Date", "Date32",
           "DateTime", "String", "FixedString", "UUID", "IPv4", "IPv6")  # fmt: skip
_PROPER = {name.lower(): name for name in (*_INTS, *_WIDE, *_OTHERS)}
_WORD = re.compile(r"\w+")
_WRAPPED = re.compile(r"^(?:Nullable|LowCardinality)\((.*)\)$", re.DOTALL)
_NESTED = ("Array", "Map", "Tuple", "Nested", "JSON", "Object", "Variant", "Dynamic")
WORDS = Words(
    schema="SELECT currentDatabase()",
    names=(
        "SELECT name, if(engine LIKE '%View', 1, 0) FROM system.tables WHERE database = ? "
        "AND name NOT LIKE '.inner%'{one} ORDER BY name"
    ),
    one=" AND name = ?",
    columns=(
        "SELECT name, type, if(type LIKE 'Nullable%' OR type LIKE 'LowCardinality(Nullable%', 1, 0), "
        "if(default_kind = 'DEFAULT', default_expression, NULL), "
        "multiIf(default_kind = 'MATERIALIZED', 'stored', default_kind = 'ALIAS', 'virtual', NULL), 0, '' "
        "FROM system.columns WHERE database = ? AND table = ? AND default_kind <> 'EPHEMERAL'"
    ),
    primary="SELECT '' FROM system.one WHERE ? = '' AND ? = '' AND 1 = 0",
    indexes="SELECT '', 0, '' FROM system.one WHERE ? = '' AND ? = '' AND 1 = 0",
    foreign="SELECT '', '', '', '', '' FROM system.one WHERE ? = '' AND ? = '' AND 1 = 0",
    about="",
)
"""Its primary key may hold one value many times, so it is no key of a dataset."""


def bare(native: str) -> str:
    """A type without Nullable and LowCardinality."""
    found = _WRAPPED.match(native)
    return bare(found[1]) if found else native


class Clickhouse(Dialect):
    """ClickHouse of one version: before 20.1 moments are kept as texts, since DateTime has whole seconds only."""

    name = "clickhouse"
    system = "clickhouse"
    sqlglot = "clickhouse"
    columns_fold: ClassVar[bool] = False
    words: ClassVar[Words | None] = WORDS

    def __init__(self, version: tuple[int, int] = (26, 0)):
        self.version = version
        self.instant = "DateTime64(6, 'UTC')" if version >= (20, 1) else "String"  # type: ignore[misc]  # by version

    def quote(self, name: str) -> str:
        """See Dialect.quote."""
        return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"

    def literal(self, text: str) -> str:
        """See Dialect.literal."""
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"

    # ---- types

    def kind(self, native: Native) -> tuple[pa.DataType, str] | None:
        """See Dialect.kind. `native` has lost the letter case, and its parentheses if they were nested."""
        word = _WORD.search(native.name.replace("nullable(", "").replace("lowcardinality(", ""))
        name = _PROPER.get(word[0] if word else "", "")
        arguments = ", ".join(map(str, native.arguments)) or "6, 0"
        return self.typed(f"{name}({arguments})")

    def field(self, name: str, native: str) -> pa.Field[Any]:
        """See Dialect.field."""
        return field_of(name, self.system, native, self.typed(native))

    def typed(self, native: str) -> tuple[pa.DataType, str] | None:
        """Arrow's type and the logical type of a type as `system.columns` writes it."""
        plain = bare(native)
        name, _, rest = plain.partition("(")
        arguments = [part.strip() for part in rest.rstrip(")").split(",")]
        if name in _INTS:
            return _INTS[name], ""
        if name in _WIDE:
            return pa.string(), "decimal"
        if name == "Decimal":
            return decimal(int(arguments[0]), int(arguments[1]))
        if name == "DateTime64":
            return pa.timestamp("us", "UTC"), ""  # the driver gives microseconds: further digits are cut
        if name in ("Enum8", "Enum16", "Enum"):
            return pa.string(), "enum"
        if name in _NESTED:
            return pa.string(), "json"
        simple: dict[str, pa.DataType] = {
            "Bool": pa.bool_(), "Float32": pa.float32(), "Float64": pa.float64(), "Date": pa.date32(),
            "Date32": pa.date32(), "DateTime": pa.timestamp("s", "UTC"),
        }  # fmt: skip
        if name in simple:
            return simple[name], ""
        texts = {"String": "", "FixedString": "", "UUID": "uuid", "IPv4": "text", "IPv6": "text"}
        return (pa.string(), texts[name]) if name in texts else None

    def made(self, kind: str) -> str:
        """See Dialect.made."""
        modern = self.version >= (20, 1)
        names = {"bool": "Bool" if self.version >= (21, 12) else "UInt8", "float32": "Float32", "float64": "Float64",
                 "timestamp": self.instant, "date": "Date32" if self.version >= (21, 9) else "String",
                 "time": "String", "binary": "String", "key binary": "String", "uuid": "UUID" if modern else "String",
                 "json": "String"}  # fmt: skip
        return names.get(kind) or kind.replace("uint", "UInt").replace("int", "Int")

    def number(self, precision: int, scale: int) -> str:
        """See Dialect.number."""
        fits = precision <= (76 if self.version >= (20, 11) else 38)
        return f"Decimal({precision}, {scale})" if fits else ""

    def text(self, length: int | None, *, key: bool) -> str:
        """See Dialect.text."""
        del length, key
        return "String"

    def same_type(self, one: str, other: str) -> bool:
        """See Dialect.same_type."""
        return bare(one).replace(" ", "") == bare(other).replace(" ", "")

    # ---- reading

    def readable(self, expression: str, native: Native) -> str:
        """See Dialect.readable. Native types are taken apart without regard to letter case here."""
        name = native.name
        if name.startswith(("array", "map", "tuple", "nested", "json", "object", "variant", "dynamic")):
            return f"toJSONString({expression})" if self.version >= (21, 5) else f"toString({expression})"
        if any(wide.lower() in name for wide in (*_WIDE, "enum", "uuid", "ipv4", "ipv6")):
            return f"toString({expression})"
        return expression

    def orders(self, native: Native) -> bool:
        """See Dialect.orders."""
        kind = self.kind(native)
        return kind is not None and kind[1] == "" and not pa.types.is_floating(kind[0])

    def bound(self, expression: str, native: Native) -> str:
        """See Dialect.bound."""
        return f"toString({expression})"

    def bound_literal(self, text: str, native: Native) -> str:
        """See Dialect.bound_literal."""
        plain = native.name
        if "datetime64" in plain:
            return f"toDateTime64({self.literal(text)}, 6, 'UTC')"
        if "datetime" in plain:
            return f"toDateTime({self.literal(text)}, 'UTC')"
        if "date" in plain:
            return f"toDate({self.literal(text)})"
        return text if "int" in plain or "decimal" in plain else self.literal(text)

    def page(self, sql: str, rows: int, skip: int = 0) -> str:
        """See Dialect.page."""
        return f"{sql} LIMIT {rows} OFFSET {skip}"

    def ago(self, seconds: int, native: Native, zone: str) -> str:
        """See Dialect.ago."""
        del zone
        moment = f"(now('UTC') - {seconds})" if self.version >= (20, 1) else f"(now() - {seconds})"
        return f"toDate({moment})" if native.name == "date" else moment
