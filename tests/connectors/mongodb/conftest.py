"""A fresh database with the driver beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tongqu.connectors.mongodb.settings import from_url
from tongqu.core import registry
from tongqu.testing.conformance.place import Place
from tongqu.testing.services import Mongodb


@pytest.fixture
def place(mongodb_url: str) -> Place:
    """The database for both ends of the connector."""
    return Place(registry.connector("mongodb"), mongodb_url)


@pytest.fixture
def database(mongodb: Mongodb, mongodb_url: str) -> Iterator[Any]:
    """The database as the driver shows it."""
    with mongodb.client() as client:
        yield client[from_url(mongodb_url).database]
