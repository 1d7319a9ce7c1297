"""What the tests of OData share: somebody else's SAP."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest


@pytest.fixture
def own_sap() -> Iterator[str]:
    """The address of a mock-sap that one test alone changes; it refuses changes without an ETag."""
    from mocksap.server import Config, make_server

    server = make_server(Config(host="127.0.0.1", port=0, quiet=True, require_if_match=True))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/sap/opu"
    server.shutdown()
    server.server_close()
    thread.join(10)
