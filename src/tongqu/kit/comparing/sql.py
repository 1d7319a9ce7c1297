"""Counts and sums of a table by key ranges in SQL; each database says how it writes values, orders and hashes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tongqu.core.compare import DIGEST, DIGEST_BITS, TEXTUAL, Canon, Comparable, Comparison, Form, Key, Span, Sum, exact

if TYPE_CHECKING:
    import pyarrow as pa

Row = Sequence[Any]
_SPANS_AT_ONCE = 512
_KEYS_AT_ONCE = 500
_SEPARATOR, _NULL = "|", "~"
COUNTABLE = "1e15"
"""From so many tolerances on a double is written as it is: systems give that many digits differently, if at all."""


class SqlComparable(Comparable):
    """A table or view of one database.

    `table` is what stands after FROM; `condition` an extra condition in the database's own SQL. `required` names the
    columns that cannot be null.
    """

    def __init__(self, comparison: Comparison, table: str, *, condition: str = "", required: frozenset[str]):
        self.comparison = comparison
        self.from_ = table
        self.required = required
        self._condition = condition

    # ---- what a database fills in

    @abstractmethod
    def query(self, sql: str) -> list[Row]:
        """A small result."""

    @abstractmethod
    def table(self, sql: str, schema: pa.Schema) -> pa.Table:
        """A result as Arrow, in these types."""

    @abstractmethod
    def fetch(self, condition: str, columns: Sequence[str]) -> pa.Table:
        """Rows that meet the condition: the key's texts as `k0`, `k1`, …, then the columns in their Arrow types."""

    @abstractmethod
    def text(self, column: Canon) -> str:
        """The canonical text; null for null."""

    @abstractmethod
    def ordered(self, column: Canon) -> str:
        """The expression that key ranges compare: numbers, moments, or text byte by byte."""

    @abstractmethod
    def literal(self, column: Canon, text: str) -> str:
        """A canonical text as a value that `ordered` can be compared with."""

    def matched(self, column: Canon) -> str:
        """The expression that finds single keys, best the bare column, so that its index serves. It may find others
        too: who asks looks at the keys that come."""
        return self.ordered(column)

    def match(self, column: Canon, text: str) -> str:
        """A canonical text as a value that `matched` can be compared with."""
        return self.literal(column, text)

    @abstractmethod
    def octets(self, sql: str) -> str:
        """The length of a text in bytes of UTF-8."""

    @abstractmethod
    def concat(self, parts: Sequence[str]) -> str:
        """Texts (none of them null) put together."""

    @abstractmethod
    def digest(self, sql: str) -> str:
        """The first 60 bits of the MD5 of a text's UTF-8, as an integer."""

    def string(self, value: str) -> str:
        """A text literal without anything that would need escaping."""
        return f"'{value}'"

    # ---- Comparable

    def nulls(self) -> int:
        """See Comparable.nulls."""
        tests = [f"{self.quoted(c.name)} IS NULL" for c in self.comparison.key if c.name not in self.required]
        if not tests:
            return 0
        return int(self.query(f"SELECT COUNT(*) FROM {self.from_} WHERE {self._where(' OR '.join(tests))}")[0][0])

    def spread(self, parts: int) -> list[Key]:
        """See Comparable.spread: even steps of a whole number, or of the digest's range."""
        key = self.comparison.key
        if not key:
            low, high = 0, 1 << DIGEST_BITS
        elif len(key) == 1 and key[0].form is Form.INTEGER and not self._condition:
            name = self.quoted(key[0].name)
            found = self.query(f"SELECT MIN({name}), MAX({name}) FROM {self.from_}")[0]
            if found[0] is None:
                return []
            low, high = int(found[0]), int(found[1])
        else:
            return []
        cuts = sorted({low + (high - low) * part // parts for part in range(1, parts)} - {high})
        return [(str(cut),) for cut in cuts]

    def cuts(self, span: Span, rows: int) -> list[Key]:
        """See Comparable.cuts."""
        if not self.comparison.key:
            return self._digest_cuts(span, rows)
        order = ", ".join(self._ordered())
        names = [f"c{number}" for number in range(len(self.comparison.key))]
        texts = ", ".join(f"{text} AS {name}" for text, name in zip(self._key_texts(), names, strict=True))
        found = self.query(
            f"SELECT {', '.join(names)} FROM (SELECT {texts}, ROW_NUMBER() OVER (ORDER BY {order}) AS rn "
            f"FROM {self.from_} WHERE {self._where(self._span(span))}) q WHERE rn % {rows} = 0 ORDER BY rn"
        )
        cuts = list(dict.fromkeys(tuple(_plain(value) for value in row) for row in found))
        return [cut for cut in cuts if cut != span.upper]

    def _digest_cuts(self, span: Span, rows: int) -> list[Key]:
        count = self.sums([span])[0].rows
        low, high = (int(end[0]) if end else limit for end, limit in ((span.lower, -1), (span.upper, 1 << DIGEST_BITS)))
        parts = max(1, count // rows)
        return [(str(cut),) for cut in sorted({low + (high - low) * n // parts for n in range(1, parts)} - {low, high})]

    def sums(self, spans: Sequence[Span]) -> list[Sum]:
        """See Comparable.sums."""
        done: list[Sum] = []
        for start in range(0, len(spans), _SPANS_AT_ONCE):
            part = spans[start : start + _SPANS_AT_ONCE]
            which = self._tree(part, 0, len(part) - 1)
            found = self.query(
                f"SELECT {which} AS part, COUNT(*), SUM({self._digest()}) FROM {self.from_} "
                f"WHERE {self._where(self._spans(part))} GROUP BY 1"
            )
            by_part = {int(number): Sum(int(rows), int(digests or 0)) for number, rows, digests in found}
            done += [by_part.get(number, Sum()) for number in range(len(part))]
        return done

    def digests(self, spans: Sequence[Span]) -> pa.Table:
        """See Comparable.digests."""
        return self._listed(self._spans(spans))

    def digests_of(self, keys: pa.Table) -> pa.Table:
        """See Comparable.digests_of."""
        import pyarrow as pa

        found = [self._listed(condition) for condition in self._chosen(keys)]
        return pa.concat_tables(found) if found else self._listed("1 = 0")

    def texts_of(self, keys: pa.Table) -> pa.Table:
        """See Comparable.texts_of."""
        import pyarrow as pa

        columns = [f"{self.text(exact(c))} AS c{number}" for number, c in enumerate(self.comparison.columns)]
        names = [*self._key_names(), *(f"c{number}" for number in range(len(columns)))]
        schema = pa.schema([(name, pa.string()) for name in names])
        select = f"SELECT {', '.join([*self.key_selected(), *columns])} FROM {self.from_} WHERE "
        found = [self.table(select + self._where(condition), schema) for condition in self._chosen(keys)]
        return pa.concat_tables(found) if found else schema.empty_table()

    def some(self, rows: int) -> pa.Table:
        """See Comparable.some."""
        return self._listed("1 = 1", f" LIMIT {rows}")

    def rows(self, keys: pa.Table, columns: Sequence[str]) -> pa.Table:
        """See Comparable.rows."""
        import pyarrow as pa

        found = [self.fetch(self._where(condition), columns) for condition in self._chosen(keys)]
        return pa.concat_tables(found) if found else self.fetch("1 = 0", columns)

    # ---- statements

    def quoted(self, name: str) -> str:
        """An identifier."""
        return '"' + name.replace('"', '""') + '"'

    def key_selected(self) -> list[str]:
        """The key's texts as `k0`, `k1`, … for a SELECT."""
        return [f"{text} AS k{number}" for number, text in enumerate(self._key_texts())]

    def _key_names(self) -> list[str]:
        return [f"k{number}" for number in range(max(len(self.comparison.key), 1))]

    def key_fields(self) -> list[pa.Field[Any]]:
        """The key's texts in a table that is returned."""
        import pyarrow as pa

        return [pa.field(name, pa.string()) for name in self._key_names()]

    def _listed(self, condition: str, tail: str = "") -> pa.Table:
        import pyarrow as pa

        listed = ", ".join([*self.key_selected(), f"{self._digest()} AS {DIGEST}"])
        schema = pa.schema([*self.key_fields(), pa.field(DIGEST, pa.int64())])
        return self.table(f"SELECT {listed} FROM {self.from_} WHERE {self._where(condition)}{tail}", schema)

    def _key_texts(self) -> list[str]:
        key = self.comparison.key
        return [self.text(column) for column in key] if key else [self.digest_text()]

    def digest_text(self) -> str:
        """The digest's digits, which are a bag's key."""
        return f"CAST({self._digest()} AS VARCHAR)"

    def _digest(self) -> str:
        return self.digest(self.row_text())

    def row_text(self) -> str:
        """The text of a whole row: a null is `~`, a value is followed by `|` and, where it may hold one, led by its
        length."""
        parts = []
        for column in self.comparison.columns:
            text = self.text(column)
            words = [text, self.string(_SEPARATOR)]
            if column.form in TEXTUAL:
                words = [self.octets(text), self.string(":"), *words]
            whole = self.concat(words)
            parts.append(whole if column.name in self.required else f"COALESCE({whole}, {self.string(_NULL)})")
        return self.concat(parts)

    def _where(self, condition: str) -> str:
        return f"({condition}) AND ({self._condition})" if self._condition else condition

    def _ordered(self) -> list[str]:
        key = self.comparison.key
        return [self.ordered(column) for column in key] if key else [self._digest()]

    def _literals(self, key: Key) -> list[str]:
        columns = self.comparison.key
        return [self.literal(c, text) for c, text in zip(columns, key, strict=True)] if columns else [key[0]]

    def _compare(self, key: Key, sign: str, last: str) -> str:
        """`(a, b) sign key` written out, led by a plain comparison that an index of the first column can use."""
        names, values = self._ordered(), self._literals(key)
        if len(names) == 1:
            return f"{names[0]} {last} {values[0]}"
        terms = []
        for at, name in enumerate(names):
            same = [f"{n} = {v}" for n, v in zip(names[:at], values[:at], strict=True)]
            terms.append(" AND ".join([*same, f"{name} {last if at == len(names) - 1 else sign} {values[at]}"]))
        return f"{names[0]} {sign}= {values[0]} AND ({' OR '.join(f'({term})' for term in terms)})"

    def _span(self, span: Span) -> str:
        parts = []
        if span.lower is not None:
            parts.append(self._compare(span.lower, ">", ">"))
        if span.upper is not None:
            parts.append(self._compare(span.upper, "<", "<="))
        return " AND ".join(parts) or "1 = 1"

    def _spans(self, spans: Sequence[Span]) -> str:
        return " OR ".join(f"({self._span(span)})" for span in joined(spans))

    def _tree(self, spans: Sequence[Span], low: int, high: int) -> str:
        """The number of a row's span, found by halving."""
        if low == high:
            return str(low)
        middle = (low + high) // 2
        upper = spans[middle].upper
        assert upper is not None  # noqa: S101  # only the last of ascending spans has no end
        left, right = self._tree(spans, low, middle), self._tree(spans, middle + 1, high)
        return f"CASE WHEN {self._compare(upper, '<', '<=')} THEN {left} ELSE {right} END"

    def _chosen(self, keys: pa.Table) -> Iterator[str]:
        """Conditions that together choose these keys."""
        columns = self.comparison.key
        names = [self.matched(column) for column in columns]
        for start in range(0, keys.num_rows, _KEYS_AT_ONCE):
            part = keys.slice(start, _KEYS_AT_ONCE)
            texts = [part.column(f"k{number}").to_pylist() for number in range(len(columns))]
            values = [[self.match(c, str(v)) for v in column] for c, column in zip(columns, texts, strict=True)]
            if len(names) == 1:
                yield f"{names[0]} IN ({', '.join(values[0])})"
                continue
            rows = zip(*values, strict=True)
            each = (" AND ".join(f"{n} = {v}" for n, v in zip(names, row, strict=True)) for row in rows)
            yield " OR ".join(f"({one})" for one in each)


def joined(spans: Sequence[Span]) -> list[Span]:
    """Ascending spans with neighbours that touch made one."""
    done = list(spans[:1])
    for before, span in pairwise(spans):
        if span.lower is not None and span.lower == before.upper:
            done[-1] = Span(done[-1].lower, span.upper)
        else:
            done.append(span)
    return done


def _plain(value: Any) -> str:
    return value.decode() if isinstance(value, bytes | bytearray) else str(value)
