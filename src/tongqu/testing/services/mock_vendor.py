"""The mock of a profile's API as tests use it: a server on a random loopback port."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from tongqu.kit.profiles.mock import MockApi
from tongqu.kit.profiles.profile import profile
from tongqu.kit.profiles.server import MockServer


class MockVendor:
    """A vendor's API after its profile; a context manager. `api` is the mock itself: what it was asked, and its faults.

    It is made of the same file as the connection, so it is no evidence about the vendor's own servers.
    """

    kind: ClassVar[Literal["mock"]] = "mock"

    def __init__(self, name: str) -> None:
        self._server = MockServer(profile(name))
        self.api: MockApi = self._server.api
        self.url = self._server.url

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a connection to it, with credentials that it takes."""
        return dict(self.api.values)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
