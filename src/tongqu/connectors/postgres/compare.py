"""How PostgreSQL counts, sums and lists the rows of a table that is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tongqu.connectors.postgres.db import PgDb, literal, quoted
from tongqu.connectors.postgres.settings import PostgresSettings
from tongqu.connectors.postgres.types import PgType
from tongqu.core.compare import Canon, Comparison, Form
from tongqu.core.data import Dataset
from tongqu.kit.comparing.sql import COUNTABLE, SqlComparable

if TYPE_CHECKING:
    import pyarrow as pa

_TRIMS = 130000
"""The first version with trim_scale()."""


class PostgresComparable(SqlComparable):
    """A table in the present. Texts are ordered by their bytes (`COLLATE "C"`), which an index of another collation
    does not serve: then each level of the search reads the table once."""

    def __init__(
        self,
        settings: PostgresSettings,
        dataset: Dataset,
        comparison: Comparison,
        *,
        table: str,
        types: Mapping[str, str],
        condition: str = "",
    ):
        required = frozenset(name for name in dataset.columns if not dataset.nullable(name))
        super().__init__(comparison, table, condition=condition, required=required)
        self._settings = settings
        self._dataset = dataset
        self._kinds = {name: PgType(text) for name, text in types.items()}
        self._db = PgDb(settings, "diff")
        # the planner expects as many groups as rows, and would sort them all; there are few, a hash table holds them
        self._db.run("SET enable_sort = off")
        self._utf8 = self._db.rows("SHOW server_encoding")[0][0] == "UTF8"

    def query(self, sql: str) -> list[Sequence[Any]]:
        """See SqlComparable.query."""
        return list(self._db.rows(sql))

    def fetch(self, condition: str, columns: Sequence[str]) -> pa.Table:
        """See SqlComparable.fetch."""
        import pyarrow as pa

        from tongqu.connectors.postgres.arrow_read import select_list

        listed = ", ".join([*self.key_selected(), select_list(self._dataset, tuple(columns))])
        schema = pa.schema([*self.key_fields(), *(self._dataset.schema.field(name) for name in columns)])
        return self.table(f"SELECT {listed} FROM {self.from_} WHERE {condition}", schema)

    def table(self, sql: str, schema: pa.Schema) -> pa.Table:
        """See SqlComparable.table."""
        import pyarrow as pa

        from tongqu.connectors.postgres.arrow_read import ArrowReader, take_bad

        reader = ArrowReader(self._settings, None)
        try:
            return pa.Table.from_batches([take_bad(batch)[0] for batch in reader.batches(sql, schema)], schema)
        finally:
            reader.close()

    def text(self, column: Canon) -> str:
        """See SqlComparable.text."""
        sql, kind = quoted(column.name), self._kinds[column.name]
        if column.form in (Form.INTEGER, Form.BOOLEAN):
            return f"{sql}::int::text" if kind.name == "boolean" else f"{sql}::text"
        if column.form is Form.DECIMAL:
            own = kind.name == "numeric" and kind.mods[1:] == (column.scale,)
            return f"{sql}::text" if own else f"round({sql}::numeric, {column.scale})::text"
        if column.form is Form.NUMBER:
            return self._number(f"{sql}::numeric")
        if column.form is Form.FLOAT:
            return _float(sql, column.tolerance)
        if column.form is Form.BINARY:
            return f"encode({sql}, 'hex')"
        if column.form is Form.UUID:
            return f"{sql}::text" if kind.name == "uuid" else f"lower({sql}::text)"
        if column.form is Form.TIMESTAMP:
            return f"{self._moment(sql, kind)}::text"
        return f"rtrim({sql}::text, ' ')" if column.padded else f"{sql}::text"

    def _number(self, sql: str) -> str:
        if self._db.version >= _TRIMS:
            return f"trim_scale({sql})::text"
        return f"regexp_replace({sql}::text, '(\\.[0-9]*[1-9])0+$|\\.0*$', '\\1')"

    @staticmethod
    def _moment(sql: str, kind: PgType) -> str:
        if kind.name == "timestamp with time zone":
            return f"({sql} AT TIME ZONE 'UTC')"
        return f"{sql}::timestamp" if kind.name == "date" else sql

    def ordered(self, column: Canon) -> str:
        """See SqlComparable.ordered."""
        if column.form in (Form.TEXT, Form.UUID) and self._kinds[column.name].name != "uuid":
            return f'({self.text(column)} COLLATE "C")'
        if column.form is Form.INTEGER and self._kinds[column.name].name == "boolean":
            return f"{quoted(column.name)}::int"
        return quoted(column.name)

    def literal(self, column: Canon, text: str) -> str:
        """See SqlComparable.literal."""
        kind = self._kinds[column.name]
        if column.form in (Form.TEXT, Form.UUID) and kind.name != "uuid":
            return literal(text)
        if column.form is Form.BINARY:
            return literal(f"\\x{text}") + "::bytea"
        if column.form is Form.BOOLEAN:
            return "true" if text == "1" else "false"
        if column.form in (Form.INTEGER, Form.DECIMAL, Form.NUMBER):
            whole = column.form is Form.INTEGER and -(2**63) <= int(text) < 2**63
            return f"{literal(text)}::{'bigint' if whole else 'numeric'}"
        if column.form is Form.TIMESTAMP and kind.name == "timestamp with time zone":
            return literal(f"{text}+00") + "::timestamptz"
        return f"{literal(text)}::{'timestamp' if column.form is Form.TIMESTAMP else kind.name}"

    def matched(self, column: Canon) -> str:
        """See SqlComparable.matched."""
        plain = self._kinds[column.name].name in ("text", "character varying", "character") and not column.padded
        if column.form is Form.TEXT and plain:
            return quoted(column.name)
        return self.ordered(column)

    def octets(self, sql: str) -> str:
        """See SqlComparable.octets."""
        return f"octet_length({self._bytes(sql)})::text"

    def concat(self, parts: Sequence[str]) -> str:
        """See SqlComparable.concat."""
        return " || ".join(parts)

    def digest(self, sql: str) -> str:
        """See SqlComparable.digest."""
        return f"('x' || substr(md5({self._bytes(sql)}), 1, 15))::bit(60)::bigint"

    def _bytes(self, sql: str) -> str:
        return sql if self._utf8 else f"convert_to({sql}, 'UTF8')"

    def close(self) -> None:
        """See Comparable.close."""
        self._db.close()


def _float(sql: str, tolerance: float) -> str:
    """PostgreSQL's shortest text is ours but for the exponent, `1e+20` and `1e-05`, and the sign of zero."""
    if tolerance:
        times = f"({sql}::float8 / {tolerance!r}::float8)"
        whole = f"round({times}::numeric)::text"
        return f"CASE WHEN abs({times}) < {COUNTABLE} THEN {whole} ELSE {_float(sql, 0.0)} END"
    return f"replace(replace(({sql}::float8 + 0.0::float8)::text, 'e+', 'e'), 'e-0', 'e-')"
