"""How MariaDB and MySQL count, sum and list the rows of a table that is compared."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tongqu.connectors.mysql.catalog import TableInfo
from tongqu.connectors.mysql.db import MysqlDb, literal, quoted
from tongqu.connectors.mysql.settings import MysqlSettings
from tongqu.connectors.mysql.types import is_text
from tongqu.core.compare import Canon, Comparison, Form
from tongqu.core.data import Dataset
from tongqu.kit.comparing.sql import COUNTABLE, SqlComparable

if TYPE_CHECKING:
    import pyarrow as pa

_FETCH = 8_192
_SAFE_CHARSETS = ("utf8mb4", "utf8mb3", "utf8", "ascii")


class MysqlComparable(SqlComparable):
    """A table in the present. Texts are ordered by their bytes, which no index of a collation serves: then each level
    of the search reads the table once."""

    def __init__(
        self,
        settings: MysqlSettings,
        dataset: Dataset,
        comparison: Comparison,
        *,
        table: TableInfo,
        condition: str = "",
    ):
        required = frozenset(name for name in dataset.columns if not dataset.nullable(name))
        super().__init__(comparison, table.place, condition=condition, required=required)
        self._settings = settings
        self._dataset = dataset
        self._columns = {column.name: column for column in table.columns}
        self._db = MysqlDb(settings, reading=True)
        self._db.run("SET autocommit = 1")  # each statement sees the present
        self._encrypted = self._db.encrypted

    def query(self, sql: str) -> list[Sequence[Any]]:
        """See SqlComparable.query."""
        return list(self._db.rows(sql))

    def fetch(self, condition: str, columns: Sequence[str]) -> pa.Table:
        """See SqlComparable.fetch."""
        import pyarrow as pa

        listed = ", ".join([*self.key_selected(), *(self._plain(name) for name in columns)])
        schema = pa.schema([*self.key_fields(), *(self._dataset.schema.field(name) for name in columns)])
        return self.table(f"SELECT {listed} FROM {self.from_} WHERE {condition}", schema)

    def table(self, sql: str, schema: pa.Schema) -> pa.Table:
        """See SqlComparable.table."""
        import pyarrow as pa

        from tongqu.connectors.mysql.decode import decode
        from tongqu.connectors.mysql.stream import Stream

        stream = Stream(self._settings, threading.Event(), encrypted=self._encrypted)
        try:
            blocks = [decode(block, schema)[0] for block in stream.blocks(sql, _FETCH)]
        finally:
            stream.close()
        return pa.Table.from_batches(blocks, schema)

    def _plain(self, name: str) -> str:
        """A column whose text the driver hands over exactly."""
        kind = self._columns[name].native.name
        if kind == "float":
            return f"CAST({quoted(name)} AS DOUBLE)"
        return f"{quoted(name)}+0" if kind == "bit" else quoted(name)

    def quoted(self, name: str) -> str:
        """See SqlComparable.quoted."""
        return quoted(name)

    def digest_text(self) -> str:
        """See SqlComparable.digest_text."""
        return f"CAST({self._digest()} AS CHAR)"

    def text(self, column: Canon) -> str:
        """See SqlComparable.text."""
        sql, info = quoted(column.name), self._columns[column.name]
        kind = info.native
        if column.form in (Form.INTEGER, Form.BOOLEAN):
            plain = kind.name not in ("bit", "year") and "zerofill" not in info.type.lower()
            return f"CAST({sql if plain else f'{sql}+0'} AS CHAR)"
        if column.form is Form.DECIMAL:
            own = kind.name == "decimal" and (*kind.arguments, 0, 0)[1] == column.scale
            bare = own and "zerofill" not in info.type.lower()
            return f"CAST({sql} AS CHAR)" if bare else f"CAST(CAST({sql} AS DECIMAL(65,{column.scale})) AS CHAR)"
        if column.form is Form.NUMBER:
            text = f"CAST({sql} AS CHAR)"
            return f"IF(LOCATE('.', {text}), {_trimmed(text)}, {text})"
        if column.form is Form.FLOAT:
            return _float(f"CAST({sql} AS DOUBLE)", column.tolerance)
        if column.form is Form.TIMESTAMP and kind.name == "date":
            return f"CONCAT({sql}, ' 00:00:00')"
        if column.form in (Form.TIMESTAMP, Form.TIME):
            text = f"CAST({sql} AS CHAR)"
            return _trimmed(text) if kind.digits else text
        if column.form is Form.BINARY:
            return f"LOWER(HEX({sql}))"
        return self._letters(column)

    def _letters(self, column: Canon) -> str:
        """A text as its bytes in UTF-8."""
        sql, info = quoted(column.name), self._columns[column.name]
        if not is_text(info.native) or info.charset not in _SAFE_CHARSETS:
            sql = f"CONVERT({sql} USING utf8mb4)"
        if column.form is Form.UUID:
            sql = f"LOWER({sql})"
        if column.padded:
            sql = f"TRIM(TRAILING ' ' FROM {sql})"
        return f"CAST({sql} AS BINARY)"

    def ordered(self, column: Canon) -> str:
        """See SqlComparable.ordered."""
        kind = self._columns[column.name].native
        if column.form in (Form.TEXT, Form.UUID):
            return self._letters(column)
        return f"{quoted(column.name)}+0" if kind.name == "bit" else quoted(column.name)

    def literal(self, column: Canon, text: str) -> str:
        """See SqlComparable.literal."""
        if column.form in (Form.INTEGER, Form.DECIMAL, Form.NUMBER, Form.BOOLEAN):
            return text
        if column.form in (Form.TEXT, Form.UUID):
            return f"CAST({literal(text)} AS BINARY)"
        return f"X'{text}'" if column.form is Form.BINARY else literal(text)

    def matched(self, column: Canon) -> str:
        """See SqlComparable.matched: equal bytes are equal in every collation."""
        return quoted(column.name) if self._indexed(column) else self.ordered(column)

    def match(self, column: Canon, text: str) -> str:
        """See SqlComparable.match."""
        return literal(text) if self._indexed(column) else self.literal(column, text)

    def _indexed(self, column: Canon) -> bool:
        return column.form is Form.TEXT and is_text(self._columns[column.name].native) and not column.padded

    def octets(self, sql: str) -> str:
        """See SqlComparable.octets."""
        return f"LENGTH({sql})"

    def concat(self, parts: Sequence[str]) -> str:
        """See SqlComparable.concat."""
        return f"CONCAT({', '.join(parts)})"

    def digest(self, sql: str) -> str:
        """See SqlComparable.digest."""
        return f"CAST(CONV(LEFT(MD5({sql}), 15), 16, 10) AS UNSIGNED)"

    def close(self) -> None:
        """See Comparable.close."""
        self._db.close()


def _trimmed(text: str) -> str:
    """Without the zeros at the end of a fraction."""
    return f"TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM {text}))"


def _float(sql: str, tolerance: float) -> str:
    """The server's text is the shortest; it writes small numbers out (`0.000015`), which become `1.5e-5`."""
    if tolerance:
        times = f"{sql} / {tolerance!r}"
        whole = f"CAST(CAST(ROUND({times}) AS DECIMAL(65,0)) AS CHAR)"
        return f"IF(ABS({times}) < {COUNTABLE}, {whole}, {_float(sql, 0.0)})"
    text, size = f"CAST({sql} AS CHAR)", f"CAST(ABS({sql}) AS CHAR)"
    digits = f"TRIM(LEADING '0' FROM SUBSTRING({size}, 3))"
    rest = f"IF(LENGTH({digits}) > 1, CONCAT('.', SUBSTRING({digits}, 2)), '')"
    power = f"LENGTH({size}) - 1 - LENGTH({digits})"
    small = f"CONCAT(IF({sql} < 0, '-', ''), LEFT({digits}, 1), {rest}, 'e-', {power})"
    return f"IF({sql} = 0, '0', IF(ABS({sql}) < 1e-4 AND NOT LOCATE('e', {text}), {small}, {text}))"
