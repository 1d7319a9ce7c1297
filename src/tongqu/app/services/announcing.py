"""Makes news of the contracts of applied versions: what is new, what changed, what ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongqu.gateway.contract.diff import compare
from tongqu.store.contracts import Address, Contracts
from tongqu.store.news import Item, News
from tongqu.store.versions import Version, Versions

if TYPE_CHECKING:
    from tongqu.store.home import Home

Consumers = Callable[[str, str], Mapping[str, list[str]]]
"""By API and version: clients by the field that they used lately."""
_ENDS = ("deprecated", "sunset", "successor")
_ALL = 100_000


@dataclass(frozen=True)
class Announcing:
    """The news of one environment."""

    home: Home
    env: str
    consumers: Consumers

    def look(self) -> None:
        """Tell of every applied version that was not told of; one that is told of stays told. Looking makes nothing
        where nothing was applied."""
        if not (self.home.versions.exists() and self.home.contracts.exists()):
            return
        with closing(News.open(self.home)) as news, closing(Versions(self.home.versions)) as versions:
            last = news.looked(self.env)
            head = versions.head(self.env)
            if head is None or head.version <= last:
                return
            applied = [one for one in reversed(versions.list(self.env, _ALL)) if one.state == "applied"]
            with closing(Contracts(self.home.contracts)) as contracts:
                kept = set(contracts.configs(self.env))
                before: Mapping[Address, Any] = {}
                for version in applied:
                    now = contracts.of(self.env, version.version) if version.version in kept else {}
                    if version.version > last:
                        news.add(self.env, self._items(version, before, now), version.version)
                    before = now

    def _items(self, version: Version, before: Mapping[Address, Any], now: Mapping[Address, Any]) -> list[Item]:
        """What one version changed for callers."""
        found: list[tuple[Address, str, dict[str, Any]]] = []
        for where, contract in now.items():
            old = before.get(where)
            ends = {name: contract.get(name) for name in _ENDS}
            if old is None:
                found.append((where, "version.published", ends))
                continue
            told = [one.to_json() for one in compare(old, contract)]
            changes = [one for one in told if one["at"] not in _ENDS]
            if changes:
                used = self.consumers(where[1], where[0])
                changes = [{**one, "consumers": used.get(one["field"], [])} for one in changes]
                kind = "version.broken" if any(one["breaking"] for one in changes) else "version.changed"
                found.append((where, kind, {"changes": changes}))
            if contract.get("sunset") and contract["sunset"] != old.get("sunset"):
                found.append((where, "version.sunset", ends))
            elif contract.get("deprecated") and contract["deprecated"] != old.get("deprecated"):
                found.append((where, "version.deprecated", ends))
        found += [
            (where, "version.removed", {"sunset": old.get("sunset"), "successor": old.get("successor")})
            for where, old in before.items()
            if where not in now
        ]
        at, env = version.approved_at or version.at, self.env or "default"
        return [
            Item(0, f"{env}-{version.version}-{where[0]}-{where[1]}-{kind.partition('.')[2]}", at, *where, kind, told)
            for where, kind, told in found
        ]
