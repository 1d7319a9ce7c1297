"""The servers that the gateway is compared with: a plain FastAPI application over asyncpg, and constant bytes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

QUERY = (
    "SELECT id, order_no, customer, amount, discount, created_at, ship_date, is_paid, status, remark, attrs, qty "
    "FROM orders WHERE id > $1 ORDER BY id LIMIT $2"
)
_JSON = [("content-type", "application/json")]


def fastapi_app() -> Any:
    """`uvicorn --factory bench.peers:fastapi_app`: the query with a response model and a pool of ten, and nothing else:
    no token, policy, mask, limit, audit or metrics. The database is that of PGHOST, PGPORT, PGUSER and PGPASSWORD."""
    import asyncpg
    import orjson
    from fastapi import FastAPI, Request
    from pydantic import BaseModel

    class Order(BaseModel):
        id: int
        order_no: str
        customer: str
        amount: Decimal
        discount: Decimal | None
        created_at: datetime
        ship_date: date | None
        is_paid: bool
        status: str
        remark: str | None
        attrs: Any
        qty: int

    async def prepared(connection: Any) -> None:
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads
        )

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(database="src", min_size=10, max_size=10, init=prepared) as pool:
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=living)

    async def orders(request: Request, limit: int = 20, after: int = 0) -> Any:
        return [dict(row) for row in await request.app.state.pool.fetch(QUERY, after, limit)]

    orders.__annotations__["request"] = Request  # annotations are texts here, and these names are local
    app.get("/orders", response_model=list[Order])(orders)
    return app


class Constant:
    """`granian --interface rsgi bench.peers:constant`: the bytes of the file CONSTANT."""

    def __init__(self) -> None:
        self._body = b""

    def __rsgi_init__(self, loop: Any) -> None:
        """Called by granian."""
        self._body = Path(os.environ["CONSTANT"]).read_bytes()

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Called by granian."""
        if scope.proto == "http":
            protocol.response_bytes(200, _JSON, self._body)


constant = Constant()
