"""Queries and changes as the gateway's rewriter makes them, for the checks of a server.

A table is named by one quoted identifier that holds its dataset's whole name, dots included; the server knows where it
is. In the `returning` of a change the same name stands for the rows that were touched, as they are after the change, or
were before a delete. A page's `rows` hold decimals as `Decimal`, everything else as `json.loads` would give it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
from sqlglot import exp

from tongqu.core.connector import Can
from tongqu.core.server import Limits, Query, Server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tongqu.core.data import Dataset
    from tongqu.testing.conformance.place import Place

T = TypeVar("T")
LIMITS = Limits(seconds=20.0)
TABLE = "items"


def column(name: str, table: str = "") -> exp.Column:
    """A quoted column."""
    return exp.column(name, table=table or None, quoted=True)


def hole(name: str) -> exp.Placeholder:
    """A bound value."""
    return exp.Placeholder(this=name)


def table(name: str = TABLE) -> exp.Table:
    """A dataset as it stands in a tree."""
    return exp.Table(this=exp.to_identifier(name, quoted=True))


def view(
    names: Sequence[str], rule: exp.Expr | None = None, masks: Mapping[str, exp.Expr] | None = None, name: str = TABLE
) -> exp.Subquery:
    """The effective view `v`: visible columns, masked ones as expressions, the row rule in WHERE."""
    made = [exp.alias_((masks or {}).get(one) or column(one), one, quoted=True) for one in names]
    inner = exp.select(*made).from_(table(name))
    return (inner.where(rule) if rule is not None else inner).subquery("v")


def query(  # the parts of a SELECT
    dataset: Dataset,
    names: Sequence[str],
    *,
    where: exp.Expr | None = None,
    order: Sequence[exp.Expr] = (),
    keys: Sequence[str] = (),
    limit: int | None = None,
    params: Mapping[str, Any] | None = None,
    rule: exp.Expr | None = None,
    masks: Mapping[str, exp.Expr] | None = None,
    after: Mapping[str, Callable[[Any], Any]] | None = None,
) -> Query:
    """A SELECT of columns over the view of a dataset, in the order given and then by `id`."""
    fields = dataset.schema.names
    more = [exp.alias_(column(name), f"_key{number}", quoted=True) for number, name in enumerate(keys)]
    tree = exp.select(*(column(name) for name in names), *more).from_(view(fields, rule, masks, dataset.name))
    tree = tree.order_by(*order, exp.Ordered(this=column("id"), desc=False, nulls_first=False))
    given = dict(params or {})
    if where is not None:
        tree = tree.where(where)
    if limit is not None:
        tree = tree.limit(hole("_limit"))
        given["_limit"] = limit
    return Query(tree, given, tuple(dataset.schema.field(name) for name in names), len(keys), after or {})


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Server]:
    """A server of the place, closed at the end."""
    assert place.connector.server is not None, f"{place.connector.name} says that it serves, and has no server"
    server = place.connector.server(place.settings)
    await server.open()
    try:
        yield server
    finally:
        await server.close()
        await server.close()


def serve(place: Place, work: Callable[[Server], Awaitable[T]]) -> T:
    """What the work gives, done with an open server."""

    async def whole() -> T:
        async with opened(place) as server:
            return await work(server)

    return asyncio.run(whole())


def parsed(body: bytes) -> list[dict[str, Any]]:
    """A JSON body with exact numbers."""
    found: list[dict[str, Any]] = json.loads(body, parse_float=Decimal)
    return found


def shown(value: Any, field: pa.Field[Any]) -> Any:
    """What JSON must show of a value of a served column, exact numbers as Decimal."""
    kind = field.type
    if value is None:
        return None
    if pa.types.is_integer(kind):
        return int(value)
    if pa.types.is_floating(kind):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(repr(float(value)), Decimal(repr(value)))
    if pa.types.is_decimal(kind):
        return Decimal(str(value))
    if pa.types.is_timestamp(kind):
        text = value.replace(tzinfo=None).isoformat()
        return text + "+00:00" if kind.tz else text
    if pa.types.is_date(kind) or pa.types.is_time(kind):
        return value.isoformat()
    return "\\x" + value.hex() if isinstance(value, bytes) else value


def same(one: Any, other: Any) -> bool:
    """Whether two shown values are the same; instants with as many digits as there are."""
    if isinstance(one, Decimal | int | float) and isinstance(other, Decimal | int | float):
        return isinstance(one, bool) == isinstance(other, bool) and Decimal(str(one)) == Decimal(str(other))
    if isinstance(one, str) and isinstance(other, str) and "T" in one and "T" in other:
        return _whole(one) == _whole(other)
    return bool(one == other)


def _whole(text: str) -> str:
    """Without zeros at the end of the fraction."""
    plain, zone = (text[:-6], text[-6:]) if text.endswith("+00:00") else (text, "")
    return (plain.rstrip("0").rstrip(".") if "." in plain else plain) + zone


SERVED = (Can.SERVES, Can.WRITE)
"""What the checks of a server need."""
