"""Proves before publishing that nobody learns through an API what its rules hide, once for each state of the rules."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tongqu import __version__
from tongqu.core.errors import AccessError

if TYPE_CHECKING:
    from tongqu.gateway.publication import Api
    from tongqu.store.home import Home

_KEPT = 2_000


@dataclass(frozen=True)
class Proofs:
    """What was proved in a home: an empty file for each digest of rules, fields and relations."""

    folder: Path

    @classmethod
    def of(cls, home: Home) -> Proofs:
        """The proofs of a home; nothing is created."""
        return cls(home.path / "proofs")

    async def check(self, api: Api, path: str) -> None:
        """Run the leak suite unless it has passed before; raises AccessError naming what leaks."""
        place = self.folder / _digest(api)
        if place.exists():
            return
        from tongqu.gateway.leaks.suite import prove

        proof = await asyncio.to_thread(prove, api)
        if proof.leaks:
            first = proof.leaks[0]
            raise AccessError(
                f"{first.actor} could learn what is hidden, through {first.channel}: {first.detail}",
                path=path,
                hint=f"it is not published; `tongqu policy test {api.name}` shows all {len(proof.leaks)}",
            )
        await asyncio.to_thread(self._keep, place)

    def _keep(self, place: Path) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = sorted(self.folder.iterdir(), key=lambda one: one.stat().st_mtime)
        for old in found[: max(0, len(found) - _KEPT)]:
            old.unlink(missing_ok=True)
        place.touch()


def _digest(api: Api) -> str:
    fields = [(field.name, str(field.type), sorted((field.metadata or {}).items())) for field in api.dataset.schema]
    relations = sorted((name, told.api, sorted(told.on.items())) for name, told in api.relations.items())
    entry = api.entry.model_dump(mode="json", by_alias=True, include={"access", "source", "write", "relations"})
    told = json.dumps([__version__, api.policy.version, api.server.dialect, entry], sort_keys=True)
    return hashlib.sha256(f"{told}{fields}{relations}{api.dataset.key}".encode()).hexdigest()[:32]
