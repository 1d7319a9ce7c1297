"""Served files: rows as a run would read them, read again when the files change, and nothing else on the disk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlglot import exp

from tongqu.connectors.file.serving import FileServer
from tongqu.connectors.file.settings import FileSettings
from tongqu.core.errors import InvalidPlanError, NotFoundError, TongquError
from tongqu.core.server import Query
from tongqu.testing.conformance.asked import LIMITS, column, hole, query

T = TypeVar("T")


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def serve(path: Path, work: Callable[[FileServer, Clock], Awaitable[T]]) -> T:
    async def whole() -> T:
        clock = Clock()
        server = FileServer(FileSettings(path=str(path)), clock=clock)
        await server.open()
        try:
            return await work(server, clock)
        finally:
            await server.close()

    return asyncio.run(whole())


async def found(server: FileServer, name: str, names: list[str], **asked: Any) -> list[Any]:
    dataset = await server.describe(name)
    made: list[Any] = json.loads((await server.query(query(dataset, names, **asked), "json", LIMITS)).body)
    return made


def test_csv_is_read_by_the_connectors_rules(tmp_path: Path) -> None:
    (tmp_path / "lots.csv").write_bytes('id;名称;重量\n1;张三;1,50\n2;"";\n'.encode("gb18030"))

    async def work(server: FileServer, _: Clock) -> None:
        assert await found(server, "lots", ["id", "名称", "重量"]) == [
            {"id": 1, "名称": "张三", "重量": "1,50"}, {"id": 2, "名称": "", "重量": None},
        ]  # fmt: skip

    serve(tmp_path / "lots.csv", work)


def test_files_that_change_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "lots.jsonl"
    path.write_text('{"id": 1}\n')

    async def work(server: FileServer, clock: Clock) -> None:
        dataset = await server.describe("lots")
        asking = query(dataset, ["id"])
        assert (await server.query(asking, "json", LIMITS)).body == b'[{"id":1}]'
        path.write_text('{"id": 1}\n{"id": 2}\n')
        assert (await server.query(asking, "json", LIMITS)).rows == 1
        clock.now += 1
        assert (await server.query(asking, "json", LIMITS)).rows == 2
        path.unlink()
        clock.now += 1
        with pytest.raises(NotFoundError):
            await server.query(asking, "json", LIMITS)

    serve(path, work)


def test_parquet_is_asked_in_place(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    for part in range(3):
        rows = pa.table({"id": pa.array(range(part * 10, part * 10 + 10), pa.int64())})
        pq.write_table(rows, tmp_path / "lake" / f"{part}.parquet")

    async def work(server: FileServer, clock: Clock) -> None:
        where = exp.GTE(this=column("id"), expression=hole("p"))
        asked: dict[str, Any] = {"where": where, "params": {"p": 28}}
        assert await found(server, "lake", ["id"], **asked) == [{"id": 28}, {"id": 29}]
        pq.write_table(pa.table({"id": pa.array([30], pa.int64())}), tmp_path / "lake" / "3.parquet")
        clock.now += 1
        assert await found(server, "lake", ["id"], **asked) == [{"id": 28}, {"id": 29}, {"id": 30}]
        assert (await server.explain(query(await server.describe("lake"), ["id"]))).rows >= 1

    serve(tmp_path / "lake/*.parquet", work)


def test_no_other_file_can_be_read_by_a_statement(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "lots.csv").write_text("id\n1\n")
    (tmp_path / "secret.csv").write_text("password\nhunter2\n")

    async def work(server: FileServer, _: Clock) -> None:
        for sql in (
            f"SELECT * FROM read_csv('{tmp_path}/secret.csv')", f"SELECT * FROM '{tmp_path}/lake/../secret.csv'",
            f"SELECT * FROM read_text('{tmp_path}/secret.csv')",
        ):  # fmt: skip
            with pytest.raises(TongquError):
                tree: exp.Query = exp.maybe_parse(sql, dialect="duckdb")
                await server.query(Query(tree, {}, (pa.field("password", pa.string()),)), "json", LIMITS)

    serve(tmp_path / "lake" / "lots.csv", work)


def test_files_are_not_changed_by_calls(tmp_path: Path) -> None:
    (tmp_path / "lots.csv").write_text("id\n1\n")

    async def work(server: FileServer, _: Clock) -> None:
        assert not server.transactions
        with pytest.raises(InvalidPlanError):
            await server.transact([], LIMITS)

    serve(tmp_path / "lots.csv", work)
