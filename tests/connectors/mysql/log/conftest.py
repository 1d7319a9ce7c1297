"""The log of some tables of the test's database, and what it tells up to the end of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.mysql.log.following import MysqlLog
from tongqu.connectors.mysql.settings import from_url
from tongqu.connectors.mysql.source import MysqlSource
from tongqu.core.data import Batch, Position
from tongqu.core.log import CONTROL, Follow
from tongqu.testing.services import MariaDB, start_mariadb


@dataclass
class Followed:
    """A log that was begun, and how far it was read."""

    log: MysqlLog
    position: Position

    def batches(self, **more: Any) -> list[Batch]:
        """What came since the last time, up to the end of the log."""
        found = list(self.log.read(Follow(after=self.position, until=self.log.head(), **more)))
        places = [batch.position for batch in found if batch.position is not None]
        assert places[-1] == found[-1].position
        self.position = places[-1]
        return found

    def changes(self, **more: Any) -> list[dict[str, Any]]:
        """The changed rows since the last time: their columns, `_op`, and what else was told."""
        rows: list[dict[str, Any]] = []
        for batch in self.batches(**more):
            rows += [{n: v for n, v in row.items() if n != "_at" and not (n in CONTROL and v is None)}
                     for row in batch.rows.to_pylist()]  # fmt: skip
        return rows


Following = Callable[..., Followed]


@pytest.fixture
def lodge(tmp_path: Path) -> Path:
    """Where the connector may keep what the server does not."""
    return tmp_path / "lodge"


@pytest.fixture
def following(mysql_url: str, lodge: Path) -> Iterator[Following]:
    """`following("t")`: the begun log of these tables."""
    source = MysqlSource(from_url(mysql_url))
    source.lodge(lodge)

    def begin(*tables: str) -> Followed:
        log = source.log("test", source.datasets(tables))
        assert isinstance(log, MysqlLog)
        return Followed(log, log.begin())

    yield begin
    source.close()


@pytest.fixture
def full(mysql_url: str) -> Iterator[Callable[[str], pa.Table]]:
    """`full("t")`: all rows of a table as a full read gives them."""
    from tongqu.testing.pour import table

    source = MysqlSource(from_url(mysql_url))
    yield lambda name: table(source, name)
    source.close()


@pytest.fixture(scope="session")
def mariadb_of_our_own() -> Iterator[MariaDB]:
    """A server whose log these tests may throw away."""
    server = start_mariadb({"innodb_buffer_pool_size": "32M", "innodb_log_file_size": "8M"})
    yield server
    server.stop()
