"""What the gateway's made-up rows are made with: a database of its own, and what is remembered of real tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.core import registry
from tongqu.core.errors import TongquError
from tongqu.gateway.mock.worlds import Mocks

if TYPE_CHECKING:
    from tongqu.app.project.load import Project
    from tongqu.app.wire import Wire
    from tongqu.core.server import Server
    from tongqu.gateway.mock.tables import Profile
    from tongqu.gateway.publication import Api


def mocks_of(profile: Profile = lambda api: None, *, always: bool = False) -> Mocks:
    """Made-up rows; `always`: for everybody."""
    return Mocks(_file, profile, always=always)


def _file(path: Path) -> Server:
    found = registry.connector("duckdb")
    assert found.server is not None  # noqa: S101  # it serves
    return found.server(found.settings.parse({"path": str(path), "memory": "256MB", "threads": 1}))


def profiles_of(wire: Wire, project: Callable[[], Project]) -> Profile:
    """What `tongqu profile` remembers of an API's table: its columns by name. Nothing where it was never profiled."""

    def found(api: Api) -> Mapping[str, Mapping[str, Any]] | None:
        if not api.table or not wire.home.profiles.exists():
            return None
        from tongqu.store.profiles import Profiles

        kept = None
        with suppress(TongquError):
            identity = wire.ends_of(project).end(api.connection).identity
            store = Profiles.open(wire.home)
            try:
                kept = store.find("last", identity, api.table)
            finally:
                store.close()
        return {one["name"]: {**one, "rows": kept["rows"]} for one in kept["columns"]} if kept else None

    return found
