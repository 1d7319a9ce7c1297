"""How DuckDB writes, orders and hashes values, over a table of its own or over rows read from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tongqu.core.compare import Canon, Comparison, Form
from tongqu.kit.comparing.sql import COUNTABLE, Row, SqlComparable

Ask = Callable[[str, Callable[[Any], Any]], Any]
"""Runs a statement and returns what the function makes of DuckDB's relation."""


class DuckComparable(SqlComparable):
    """A DuckDB table in a session whose time zone is UTC. `types` are DuckDB's own names of the columns' types."""

    def __init__(
        self,
        comparison: Comparison,
        table: str,
        *,
        ask: Ask,
        types: Mapping[str, str],
        selected: Mapping[str, tuple[str, pa.Field[Any]]],
        condition: str = "",
        required: frozenset[str] = frozenset(),
    ):
        super().__init__(comparison, table, condition=condition, required=required)
        self._ask = ask
        self._types = types
        self._selected = selected
        """How `fetch` reads each column, and as what."""

    def query(self, sql: str) -> list[Row]:
        """See SqlComparable.query."""
        found: list[Row] = self._ask(sql, lambda found: found.fetchall())
        return found

    def fetch(self, condition: str, columns: Sequence[str]) -> pa.Table:
        """See SqlComparable.fetch."""
        chosen = [self._selected[name] for name in columns]
        listed = ", ".join([*self.key_selected(), *(sql for sql, _ in chosen)])
        schema = pa.schema([*self.key_fields(), *(field for _, field in chosen)])
        return self.table(f"SELECT {listed} FROM {self.from_} WHERE {condition}", schema)

    def table(self, sql: str, schema: pa.Schema) -> pa.Table:
        """See SqlComparable.table."""
        found: pa.Table = self._ask(sql, lambda found: found.to_arrow_table())
        return found.cast(schema)

    def text(self, column: Canon) -> str:
        """See SqlComparable.text."""
        return canonical(column, self.quoted(column.name), self._types[column.name])

    def ordered(self, column: Canon) -> str:
        """See SqlComparable.ordered."""
        if column.form in (Form.TEXT, Form.UUID):
            return self.text(column)
        sql, kind = self.quoted(column.name), self._types[column.name]
        if column.form is Form.INTEGER and kind == "BOOLEAN":
            return f"CAST({sql} AS TINYINT)"
        return f"CAST({sql} AS DECIMAL(38,9))" if column.form is Form.NUMBER and kind == "VARCHAR" else sql

    def literal(self, column: Canon, text: str) -> str:
        """See SqlComparable.literal."""
        if column.form in (Form.INTEGER, Form.DECIMAL, Form.NUMBER):
            return text
        quoted = "'" + text.replace("'", "''") + "'"
        if column.form in (Form.TEXT, Form.UUID):
            return quoted
        if column.form is Form.BINARY:
            return f"unhex({quoted})"
        if column.form is Form.BOOLEAN:
            return "true" if text == "1" else "false"
        return f"CAST({quoted} AS {self._types[column.name]})"

    def octets(self, sql: str) -> str:
        """See SqlComparable.octets."""
        return f"CAST(strlen({sql}) AS VARCHAR)"

    def concat(self, parts: Sequence[str]) -> str:
        """See SqlComparable.concat."""
        return " || ".join(parts)

    def digest(self, sql: str) -> str:
        """See SqlComparable.digest."""
        return f"CAST('0x' || left(md5({sql}), 15) AS BIGINT)"


def canonical(column: Canon, sql: str, kind: str) -> str:
    """The canonical text of a DuckDB expression of the type `kind`."""
    text = f"CAST({sql} AS VARCHAR)"
    if column.form in (Form.INTEGER, Form.BOOLEAN):
        return f"CAST(CAST({sql} AS TINYINT) AS VARCHAR)" if kind == "BOOLEAN" else text
    if column.form is Form.DECIMAL:
        own = kind.startswith("DECIMAL(") and kind.endswith(f",{column.scale})")
        return text if own else f"CAST(CAST({sql} AS DECIMAL(38,{column.scale})) AS VARCHAR)"
    if column.form is Form.NUMBER:
        return f"CASE WHEN contains({text}, '.') THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END"
    if column.form is Form.FLOAT:
        return _float(f"CAST({sql} AS DOUBLE)", column.tolerance)
    if column.form is Form.BINARY:
        return f"lower(hex({sql}))"
    if column.form is Form.UUID:
        return f"lower({text})"
    if column.form is Form.TIMESTAMP and kind == "DATE":
        return f"CAST(CAST({sql} AS TIMESTAMP) AS VARCHAR)"
    if column.form is Form.TIMESTAMP and kind == "TIMESTAMP WITH TIME ZONE":
        return f"CAST(CAST({sql} AS TIMESTAMP) AS VARCHAR)"
    return f"rtrim({text}, ' ')" if column.padded else text


_ODD = (("nan", "NaN"), ("inf", "Infinity"), ("-inf", "-Infinity"))


def _float(sql: str, tolerance: float) -> str:
    """DuckDB writes `1.0`, `1e+20`, `1e-05`, and 10^15 to 10^16 without an exponent. What has too many tolerances to
    be counted in whole ones, or is none, is written as it is."""
    if tolerance:
        times = f"{sql} / {tolerance!r}"
        whole = f"CAST(CAST(round({times}) AS DECIMAL(38,0)) AS VARCHAR)"
        return f"CASE WHEN abs({times}) < {COUNTABLE} THEN {whole} ELSE {_float(sql, 0.0)} END"
    text = f"CAST({sql} + 0.0 AS VARCHAR)"
    plain = f"regexp_replace({text}, '\\.0$', '')"
    digits = f"regexp_replace(regexp_replace({text}, '^-|\\.0$', '', 'g'), '0+$', '')"
    rest = f"CASE WHEN strlen({digits}) > 1 THEN '.' || substr({digits}, 2) ELSE '' END"
    large = f"CASE WHEN {sql} < 0 THEN '-' ELSE '' END || left({digits}, 1) || {rest} || 'e15'"
    power = f"replace(replace({plain}, 'e+', 'e'), 'e-0', 'e-')"
    words = (
        f"CASE {text} WHEN 'nan' THEN 'NaN' WHEN 'inf' THEN 'Infinity' WHEN '-inf' THEN '-Infinity' ELSE {power} END"
    )
    return f"CASE WHEN abs({sql}) >= 1e15 AND abs({sql}) < 1e16 THEN {large} ELSE {words} END"
