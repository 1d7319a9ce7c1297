"""Who took many rows of published APIs, who waits for more, and the second person who allows them."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import InvalidPlanError, InvalidSettingsError, UnknownNameError
from tongqu.store.exports import Budget, Exports
from tongqu.store.runs import instant

if TYPE_CHECKING:
    from tongqu.app.wire import Wire


@dataclass(frozen=True)
class Exporting:
    """The exports of one project. Every method gives the document that the command prints; looking creates nothing."""

    wire: Wire

    def list(self) -> dict[str, Any]:
        """Who waits, and what was allowed."""
        if not self.wire.home.exports.exists():
            return {"waiting": [], "allowed": []}
        with closing(Exports(self.wire.home.exports)) as store:
            waiting, allowed = store.asked(), store.allowed(time.time())
        return {"waiting": [_dated(one) for one in waiting], "allowed": [_dated(one) for one in allowed]}

    def allow(self, client: str, api: str, reason: str, person: str) -> dict[str, Any]:
        """Let a caller that waits take as many rows again. Raises InvalidPlanError where it does not wait, or is the
        person; InvalidSettingsError without a reason."""
        from tongqu.app.project.apis import address
        from tongqu.gateway.settings import SECONDS

        if not reason.strip():
            raise InvalidSettingsError("say why more rows may be taken", path="--reason", hint="--reason TEXT")
        found = {f"/api/{'/'.join(address(name, entry))}": entry for name, entry in self.wire.project.apis.items()}
        matching = [path for path in found if api in (path, path.rpartition("/")[2])]
        waiting = [one["api"] for one in self.list()["waiting"] if one["client"] == _who(client)]
        path = next((one for one in matching if one in waiting), matching[0] if matching else "")
        if not path:
            raise UnknownNameError(f"there is no API {api!r}", hint=", ".join(found), params={"name": api})
        entry = found[path].export
        if entry is None:
            raise InvalidPlanError(f"rows of {path} are not counted", hint="apis.NAME.export.rows")
        with closing(Exports.open(self.wire.home)) as store:
            budget = Budget(entry.rows, SECONDS[entry.per])
            store.allow(_who(client), path, budget, time.time(), person=person, reason=reason.strip())
        return self.list()


def _who(client: str) -> str:
    return client if ":" in client or "@" in client else f"client:{client}"


def _dated(one: dict[str, Any]) -> dict[str, Any]:
    told = dict(one)
    for name in ("at", "until"):
        if name in told:
            told[name] = instant(datetime.fromtimestamp(told[name], UTC))
    return told
