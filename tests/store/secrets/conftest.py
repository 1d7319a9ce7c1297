"""A real vault."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tongqu.testing.services.openbao import OpenBao, start_openbao


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    """OpenBao, shared by the tests of this process; each test writes below a path of its own."""
    with start_openbao() as running:
        yield running
