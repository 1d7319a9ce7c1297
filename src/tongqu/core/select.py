"""A projection and filter that a source runs in its own SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """One output column of a pushed-down SELECT.

    `sql` is in the source's dialect (None: the plain column `name`), `field` what it yields, `cast` a type of the
    source that the sink asked for, so that the bytes fit.
    """

    name: str
    sql: str | None = None
    field: pa.Field[Any] | None = None
    cast: str | None = None


@dataclass(frozen=True)
class Select:
    """A projection and filter compiled for one source's dialect. Values in it are literals made by the compiler."""

    columns: tuple[Column, ...]
    where: str | None = None
