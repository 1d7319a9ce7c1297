"""What the tests of SOAP share. spyne, the service that is not ours, knows no Python beyond 3.11."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tongqu.testing.services.soap_orders import SoapOrders

collect_ignore = ["test_source.py", "test_writer.py"] if sys.version_info >= (3, 12) else []


@pytest.fixture
def api() -> Iterator[SoapOrders]:
    """A SOAP 1.1 service with 24 orders."""
    from tongqu.testing.services.soap_orders import SoapOrders

    with SoapOrders() as made:
        for number in range(1, 25):
            made.put(number)
        yield made
