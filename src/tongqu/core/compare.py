"""The seam for comparing: what both sides agree to write about a row, and what a side must be able to count and sum.

Each value becomes one canonical text (see Form), a row the texts of its columns with what keeps them apart, and a row's
digest the first 60 bits of the MD5 of that. Digests are summed, so neither order nor collation matters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

DIGEST_BITS = 60
DIGEST = "digest"
"""Name of the digest column in the tables that `Comparable.digests` returns."""


class Form(StrEnum):
    """How values are written. Null is not the empty text; nothing is rounded but floats with a tolerance."""

    INTEGER = "integer"
    """Decimal digits; booleans are 0 and 1."""
    DECIMAL = "decimal"
    """A fixed number of places."""
    NUMBER = "number"
    """As many places as are needed, no trailing zeros."""
    FLOAT = "float"
    """The shortest text that reads back as the same double: `0.1`, `1.5e-7`, `1e20`; or, with a tolerance, the whole
    number of tolerances. Where two texts are as good the systems choose differently, so rows whose texts differ are
    compared as values."""
    BOOLEAN = "boolean"
    """`1` or `0`."""
    TEXT = "text"
    """As it is, in UTF-8, compared byte by byte; without trailing blanks where one side pads them."""
    UUID = "uuid"
    """Lower case, with hyphens."""
    DATE = "date"
    """ISO 8601."""
    TIME = "time"
    """`13:05:00`, with the fraction's digits up to the last that is not zero."""
    TIMESTAMP = "timestamp"
    """`2026-01-31 13:05:00.25` in UTC, the fraction as in `time`; times without a zone are taken as they stand."""
    BINARY = "binary"
    """Lower-case hexadecimal digits."""
    JSON = "json"
    """The system's own text; rows whose texts differ are read and compared as values."""


ORDERED = frozenset(Form) - {Form.FLOAT, Form.JSON}
"""Forms whose order is the same in every system, so that a key may have them."""
TEXTUAL = frozenset({Form.TEXT, Form.JSON})
"""Forms whose texts may hold any character, so that their length is written before them."""


@dataclass(frozen=True)
class Canon:
    """One column of one side and the form both sides write it in."""

    name: str
    form: Form
    scale: int = 0
    """Places of a decimal."""
    padded: bool = False
    """Trailing blanks do not count."""
    tolerance: float = 0.0
    """Of a float: values in the same multiple of it have the same text."""

    @property
    def soft(self) -> bool:
        """Whether rows with different texts may still be equal."""
        return self.form in (Form.JSON, Form.FLOAT)


@dataclass(frozen=True)
class Comparison:
    """What one side compares: its columns in the agreed order, and those of the key among them.

    Without a key rows are compared as a bag: the digest itself is the key. `where` is an expression of the documented
    dialect over this side's columns.
    """

    columns: tuple[Canon, ...]
    key: tuple[Canon, ...] = ()
    where: str = ""


Key = tuple[str, ...]
"""A key's canonical texts; of a bag the digest's digits."""


@dataclass(frozen=True)
class Span:
    """Keys above `lower`, up to and with `upper`; None is without end."""

    lower: Key | None = None
    upper: Key | None = None


@dataclass(frozen=True)
class Sum:
    """Number of rows and sum of their digests."""

    rows: int = 0
    digests: int = 0


class Comparable(ABC):
    """One side of a comparison. Its methods are called by one thread at a time and see the present, not a snapshot."""

    live: bool = True
    """Whether each answer is of the moment of its question, and not of one reading."""

    @abstractmethod
    def nulls(self) -> int:
        """Rows with a null in the key; 0 where the key cannot hold one."""

    @abstractmethod
    def spread(self, parts: int) -> list[Key]:
        """Up to `parts - 1` ascending keys that cut the rows into about equal parts, if that costs next to nothing;
        else none."""

    @abstractmethod
    def cuts(self, span: Span, rows: int) -> list[Key]:
        """Every `rows`-th key of the span, ascending."""

    @abstractmethod
    def sums(self, spans: Sequence[Span]) -> list[Sum]:
        """One Sum for each of the ascending spans, none of which overlaps another, in one pass over their rows."""

    @abstractmethod
    def digests(self, spans: Sequence[Span]) -> pa.Table:
        """The rows of the spans as key texts (`k0`, `k1`, …) and `digest`, in any order."""

    @abstractmethod
    def digests_of(self, keys: pa.Table) -> pa.Table:
        """As `digests`, for these keys (columns `k0`, `k1`, …); keys that are not there are left out."""

    @abstractmethod
    def some(self, rows: int) -> pa.Table:
        """Any keys, up to `rows`, as `digests` returns them."""

    @abstractmethod
    def texts_of(self, keys: pa.Table) -> pa.Table:
        """What the rows of these keys are written as: `k0`, `k1`, …, then `c0`, `c1`, … for the compared columns;
        floats without their tolerance."""

    @abstractmethod
    def rows(self, keys: pa.Table, columns: Sequence[str]) -> pa.Table:
        """The rows of these keys in the source's own Arrow types, in any order: first `k0`, `k1`, …, then the columns.
        Rows that Arrow cannot hold are left out."""

    def close(self) -> None:
        """Release what is held; may be called twice."""


def exact(column: Canon) -> Canon:
    """The column without a tolerance."""
    return replace(column, tolerance=0.0)


def key_columns(count: int) -> tuple[str, ...]:
    """`k0`, `k1`, …: the key's columns in the tables of a Comparable."""
    return tuple(f"k{number}" for number in range(count))
