"""A vendor's API with a few tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tongqu.testing.services.vendor_api import VendorApi


@pytest.fixture
def vendor() -> Iterator[VendorApi]:
    """A mock API with 35 items."""
    with VendorApi() as made:
        made.table("items", [{"id": n, "v": f"v{n}"} for n in range(1, 36)])
        yield made
