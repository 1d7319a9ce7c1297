"""Two databases on one server, and a line to them that can be hurt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tongqu.testing.services import FaultProxy, Postgres


@pytest.fixture
def sink_url(postgres: Postgres) -> Iterator[str]:
    """A second fresh database, to write to."""
    url = postgres.database()
    yield url
    postgres.drop(url.rpartition("/")[2])


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[FaultProxy]:
    """A healthy proxy before the server."""
    with FaultProxy(postgres.host, postgres.port) as between:
        yield between
