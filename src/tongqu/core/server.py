"""The third seam of a connector, beside source and sink: a server answers the gateway's questions, a page at a time.

A `Query` is made only by the gateway's rewriter: a sqlglot tree whose values are all bound, over the tables or the one
approved SQL text of a published API. The server writes it in its own dialect, runs it within the limits, gives bytes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

    from tongqu.core.data import Dataset

Format = Literal["json", "rows", "csv", "arrow"]


@dataclass(frozen=True)
class Query:
    """One SELECT. Placeholders are `exp.Placeholder(this=NAME)`, each NAME in `params`. A table is named by one quoted
    identifier that holds the dataset's whole name. Trees are never changed once they are asked with.

    `columns` are what rows consist of, in order. The select has `keys` more columns behind them, which are not part of
    rows: the values that the next page starts after. `after` are columns whose values are replaced by a function once
    they left the database and before anything is encoded (masks that the dialect cannot express).
    """

    tree: exp.Query
    params: Mapping[str, Any]
    columns: tuple[pa.Field[Any], ...]
    keys: int = 0
    after: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """Bounds of one query; beyond them `TimedOutError`, or `AnswerError` for too many rows or bytes."""

    seconds: float = 10.0
    rows: int = 10_000
    bytes: int = 64 << 20


@dataclass(frozen=True)
class Page:
    """The answer to a query.

    `body` for `json`: an array of objects, UTF-8; for `csv`: a header and lines as RFC 4180; for `arrow`: an IPC
    stream; for `rows` it is empty and `values` holds one list per row, of plain JSON values, decimals as `Decimal`.
    `last` are the key columns of the last row as plain JSON values, empty without rows or keys.
    JSON values: integers and decimals as exact numbers, NaN and infinities as strings, dates and instants in ISO 8601
    (`+00:00` where there is a zone), binary as `\\x` and hex digits, UUID and other logical types as text, JSON and
    arrays as such.
    """

    body: bytes
    rows: int
    last: tuple[Any, ...] = ()
    values: Sequence[Sequence[Any]] = ()


@dataclass(frozen=True)
class Cost:
    """What the database expects a query to cost: rows it will touch, its own cost figure, and its plan as text."""

    rows: float
    total: float
    plan: str = ""


Verb = Literal["insert", "upsert", "ignore", "update", "delete"]


@dataclass(frozen=True)
class Change:
    """One change of the rows of one table. `rows` hold values as `Page` gives them or of the fields' Python types; of a
    JSON column a text is a JSON text.

    `insert`: `rows` are new, a row of an existing key is a DuplicateError. `upsert` and `ignore`: rows whose `conflict`
    columns exist are merged, or left as they are. `update`: the rows that `where` finds get `rows[0]`. `delete`: they
    go. `where` is a condition over the table's columns with placeholders in `params`, and always holds the caller's row
    rule; for insert and upsert `check` is the same rule over each row as it is after the change, and a row that breaks
    it is an AccessError, none is written. An upsert never changes a row that `where` does not find. `returning` is
    a query for what is given back, in which the table's name stands for the rows that were touched, as they are after
    the change, or were before a delete. `expected`, if not None, is how many rows must be touched, otherwise
    NotFoundError and nothing is changed. `limit` bounds how many rows may be touched, beyond it RefusedRowsError.
    """

    verb: Verb
    table: str
    columns: tuple[pa.Field[Any], ...]
    rows: Sequence[Sequence[Any]] = ()
    where: exp.Expr | None = None
    check: exp.Expr | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    conflict: tuple[str, ...] = ()
    returning: Query | None = None
    expected: int | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Idempotency:
    """An Idempotency-Key with what it is valid for. `scope` names caller, method and route; `fingerprint` is the digest
    of the request. `keep_seconds` is how long the answer is replayed."""

    scope: str
    key: str
    fingerprint: str
    keep_seconds: int = 86_400


@dataclass(frozen=True)
class Outcome:
    """What became of changes. `pages` has one per change with `returning`, in order. `replayed` is the stored answer of
    an earlier request of the same key, as `transact`'s `answer` gave it; nothing was changed then."""

    touched: tuple[int, ...] = ()
    inserted: tuple[int, ...] = ()
    pages: tuple[Page | None, ...] = ()
    replayed: bytes | None = None


class Server(ABC):
    """Answers queries over one connection's datasets. Async and safe to call from many tasks of one event loop; every
    method raises only TongquError classes, none of whose texts holds a value or SQL.

    Text compares by code point whatever the column's collation, nulls follow three-valued logic.
    """

    dialect: str = ""
    """sqlglot's name of the SQL it writes."""
    lacks: frozenset[str] = frozenset()
    """Names of sqlglot's expressions that it cannot write; a query with one of them is an InvalidPlanError."""
    transactions: bool = True
    """Whether `transact` is all or nothing and keeps idempotency keys in the same transaction."""

    @property
    def connections(self) -> tuple[int, int] | None:
        """How many connections (or threads, where a system has none) are in use, and how many there may be; None where
        it cannot be told."""
        return None

    @abstractmethod
    async def open(self) -> None:
        """Connect; raises ConnectError or AuthError. Called once, in the loop that will be used."""

    @abstractmethod
    async def describe(self, name: str) -> Dataset:
        """A table or view: its columns with metadata, its key. Raises NotFoundError."""

    @abstractmethod
    async def columns(self, sql: str, params: Mapping[str, Any]) -> pa.Schema:
        """What an approved SELECT with `:name` parameters gives, without running it; raises ExpressionError."""

    @abstractmethod
    async def query(self, query: Query, format: Format, limits: Limits) -> Page:
        """One page. Raises TimedOutError, AnswerError (too large), ConnectError, BusyError."""

    @abstractmethod
    def stream(self, query: Query, format: Format, limits: Limits) -> AsyncIterator[bytes]:
        """The same rows as `query`, in pieces, with bounded memory; for exports larger than a page."""

    @abstractmethod
    async def explain(self, query: Query) -> Cost:
        """What the query would cost, without running it."""

    @abstractmethod
    async def transact(
        self,
        changes: Sequence[Change],
        limits: Limits,
        idempotency: Idempotency | None = None,
        answer: Callable[[Outcome], bytes] | None = None,
    ) -> Outcome:
        """All changes in one transaction, with the idempotency key and the bytes that `answer` makes of the outcome in
        `_tongqu_idempotency`. Raises DuplicateError, RefusedRowsError (a constraint; message without values),
        AccessError, NotFoundError, BusyError (the key is being worked on), SupersededError (the key was used for
        another fingerprint), UnknownOutcomeError (the commit's reply was lost)."""

    async def keeps_keys(self) -> bool | None:
        """Whether Idempotency-Keys can be kept: `_tongqu_idempotency` is there or may be created; None where nobody can
        tell. Changes nothing."""
        return self.transactions

    def mask(self, mask: Any, column: pa.Field[Any]) -> exp.Expr | None:
        """The column hidden as a `meaning.masks.Mask` says, in this dialect; None where it can only be done after."""
        del mask, column
        return None

    @abstractmethod
    async def close(self) -> None:
        """Release connections; may be called twice."""
