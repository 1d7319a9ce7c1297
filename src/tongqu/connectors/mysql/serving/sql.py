"""The rewriter's trees as MariaDB's and MySQL's text: bound parameters, text by code point, nulls in their place."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa
from sqlglot import exp
from sqlglot.dialects.mysql import MySQL
from sqlglot.generators.mysql import MySQLGenerator

from tongqu.connectors.mysql.types import Native, arrow_type
from tongqu.core.data import Meta
from tongqu.core.errors import InvalidPlanError
from tongqu.kit.serving.trees import COMPARISONS, Columns, Known, gives_text, holes, operands, put, tables, text_of

Resolve = Callable[[str], Awaitable[tuple[str, str]]]
"""The database and table of a dataset's name."""

_MARK = f"tq{secrets.token_hex(8)}_"
"""Stands for a parameter until the text is made; nobody else can write it."""
_MARKED = re.compile(rf"@{_MARK}(\d+)_")
_IMPOSSIBLE = (exp.ArrayContainsAll, exp.ArrayContainedBy, exp.ArrayOverlaps, exp.Any, exp.All, exp.Filter)
LACKS = frozenset(kind.__name__ for kind in _IMPOSSIBLE)
"""What neither MariaDB nor MySQL can say."""
_COMPARED = (*COMPARISONS, exp.Between, exp.In, exp.Like, exp.ILike, exp.RegexpLike, exp.RegexpILike)
_SINGLE = (exp.Min, exp.Max, exp.Ordered)
_BINARY = 63
"""The character set of what is no text."""
_TYPES = {1: "tinyint", 2: "smallint", 3: "int", 4: "float", 5: "double", 7: "timestamp", 8: "bigint", 9: "mediumint",
          10: "date", 11: "time", 12: "datetime", 13: "year", 245: "json", 247: "enum", 248: "set"}  # fmt: skip
_TEXT_CODES = frozenset((15, 247, 248, 249, 250, 251, 252, 253, 254))


@dataclass(frozen=True)
class Statement:
    """SQL with `?`, and the name of the parameter of each."""

    sql: str
    names: tuple[str, ...]
    formatted: str = ""
    """The same with `%s`, for values that the driver writes as literals."""


def _json(generator: Any, node: exp.Expr) -> str:
    return f"JSON_EXTRACT({generator.sql(node, 'this')}, {generator.sql(node, 'expression')})"


def _json_text(generator: Any, node: exp.Expr) -> str:
    found = _json(generator, node)
    return f"CASE WHEN JSON_TYPE({found}) <> 'NULL' THEN JSON_UNQUOTE({found}) END"


class _Generator(MySQLGenerator):
    """MariaDB has no REGEXP_LIKE and no `->`; what both know is written."""

    TRANSFORMS = {  # noqa: RUF012  # as sqlglot declares it
        **MySQLGenerator.TRANSFORMS,
        exp.RegexpLike: lambda self, node: self.binary(node, "REGEXP"),
        exp.RegexpILike: lambda self, node: (
            f"{self.sql(node, 'this')} REGEXP CONCAT('(?i)', {self.sql(node, 'expression')})"
        ),
        exp.CharacterSet: lambda self, node: f"CHAR CHARACTER SET {self.sql(node, 'this')}",
        exp.NullSafeNEQ: lambda self, node: f"NOT ({self.sql(node, 'this')} <=> {self.sql(node, 'expression')})",
        exp.JSONExtract: _json,
        exp.JSONExtractScalar: _json_text,
    }

    def cast_sql(self, expression: exp.Cast, safe_prefix: str | None = None) -> str:
        """A cast. A sum is a decimal already, and wider than DECIMAL(38, …), which would cut it off without a word."""
        if isinstance(expression.this, exp.Sum) and expression.to.this == exp.DType.DECIMAL:
            return self.sql(expression, "this")
        return super().cast_sql(expression, safe_prefix)


class Served(MySQL):
    """The dialect that is written."""

    Generator = _Generator


async def placed(tree: exp.Expr, resolve: Resolve) -> exp.Expr:
    """The tree with its datasets named by database and table where the name holds both; changed in place."""
    for node in tables(tree):
        if "." in node.name:
            schema, name = await resolve(node.name)
            node.set("this", exp.to_identifier(name, quoted=True))
            node.set("db", exp.to_identifier(schema, quoted=True))
    return tree


def by_code_point(tree: exp.Expr, of_column: Columns, collation: str) -> exp.Expr:
    """Text is compared, ordered and grouped by a collation of code points without padding, in place. Beside an equality
    with a value the plain one stays, which an index can answer: what is equal by code point is equal in any collation.
    Columns that are never null need no null order."""
    wrong = tree.find(*_IMPOSSIBLE)
    if wrong is not None:
        raise InvalidPlanError(f"this database has no {type(wrong).__name__}")
    for node in list(tree.find_all(*_COMPARED)):
        texts = [part for part in operands(node) if gives_text(part, of_column)]
        kept = isinstance(node, exp.EQ | exp.In) and _by_value(node) and bool(texts)
        plain: exp.Expr | None = node.copy() if kept else None
        for part in texts:
            put(part, _exact(part, collation))
        if plain is not None:
            node.replace(exp.Paren(this=exp.And(this=plain, expression=node.copy())))
    for single in list(tree.find_all(*_SINGLE)):
        if isinstance(single, exp.Ordered):
            _ordered(single, of_column)
        if gives_text(single.this, of_column):
            single.this.replace(_exact(single.this, collation))
    for group in list(tree.find_all(exp.Group, exp.Distinct)):
        for part in group.expressions:
            if gives_text(part, of_column):
                part.replace(_exact(part, collation))
    return tree


def _by_value(node: exp.Expr) -> bool:
    first, *others = operands(node)
    return isinstance(first, exp.Column) and all(isinstance(one, exp.Placeholder | exp.Literal) for one in others)


def _exact(part: exp.Expr, collation: str) -> exp.Expr:
    if isinstance(part, exp.Collate):
        return part.copy()
    return exp.Collate(this=in_utf8(part.copy()), expression=exp.to_identifier(collation))


def in_utf8(part: exp.Expr) -> exp.Expr:
    """Text in the character set that has all of it."""
    return exp.Cast(this=part, to=exp.CharacterSet(this=exp.var("utf8mb4")))


def _ordered(node: exp.Ordered, of_column: Columns) -> None:
    """MySQL puts nulls first ascending and last descending, which costs no sorting; so does what has none."""
    found = of_column(node.this) if isinstance(node.this, exp.Column) else None
    if found is not None and found.required:
        node.set("nulls_first", not node.args.get("desc"))


def marked(tree: exp.Expr) -> Statement:
    """The statement of a tree, which is changed in place."""
    known: dict[str, int] = {}
    for hole in list(holes(tree)):
        made = exp.Parameter(this=exp.to_identifier(f"{_MARK}{known.setdefault(hole.name, len(known))}_"))
        if hole is tree:
            tree = made
        else:
            put(hole, made)
    text = text_of(tree, Served)
    order = tuple(known)
    names = tuple(order[int(number)] for number in _MARKED.findall(text))
    plain = text.replace("%", "%%") if names else text
    return Statement(_MARKED.sub("?", text), names, _MARKED.sub("%s", plain))


@cache
def collation_of(version: str) -> str:
    """The collation by code point that does not pad, where the system has one (MySQL before 8 pads)."""
    if "mariadb" in version.lower():
        return "utf8mb4_nopad_bin"
    return "utf8mb4_0900_bin" if int(version.split(".", maxsplit=1)[0]) >= 8 else "utf8mb4_bin"


def known(fields: Iterable[Any]) -> Mapping[str, Known]:
    """What the columns of a result are, by its field packets."""
    return {
        field.name: Known(field.type_code in _TEXT_CODES and field.charsetnr != _BINARY, bool(field.flags & 1))
        for field in fields
    }


def field_of(packet: Any) -> pa.Field[Any]:
    """The field of a result's column, as far as the protocol tells its type."""
    unsigned = bool(packet.flags & 32)
    if packet.flags & 256:
        native = "enum"
    elif packet.type_code in (0, 246):
        signs = (1 if packet.scale else 0) + (0 if unsigned else 1)
        native = f"decimal({min(max(packet.length - signs, 1), 65)},{packet.scale})"
    elif packet.type_code == 16:
        native = f"bit({packet.length})"
    elif packet.type_code in _TEXT_CODES:
        native = "longblob" if packet.charsetnr == _BINARY else "longtext"
    else:
        native = _TYPES.get(packet.type_code, "longtext") + (" unsigned" if unsigned else "")
    kind, logical = arrow_type(Native.parse(native)) or (pa.string(), None)
    metadata = {str(Meta.NATIVE): f"mysql:{native}"} | ({str(Meta.LOGICAL): logical} if logical else {})
    return pa.field(packet.name, kind, nullable=not packet.flags & 1, metadata=metadata)
