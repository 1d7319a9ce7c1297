"""Clients as the callers that webhooks act for."""

from __future__ import annotations

from dataclasses import replace

from tongqu.core.policy import Actor
from tongqu.gateway.auth.access import Access


class ClientActors:
    """The `Actors` of a home's identities; a client has its first purpose. One that is only
    ever given made-up rows is told nothing."""

    def __init__(self, access: Access):
        self._access = access

    def client(self, name: str) -> Actor | None:
        """See Actors."""
        found = self._access.identities.clients.get(name)
        if found is None or found.sandbox or not found.alive(self._access.identities.database.seconds()):
            return None
        actor = self._access.actor(found)
        return actor if not found.purposes else replace(actor, purpose=found.purposes[0])
