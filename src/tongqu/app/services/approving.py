"""Changes under good manufacturing practice that wait for a second person, and that person's signature."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import AccessError
from tongqu.store.pending import Pending, Waiting
from tongqu.store.runs import instant

if TYPE_CHECKING:
    from tongqu.app.wire import Wire
    from tongqu.store.identity.users import User


@dataclass(frozen=True)
class Approving:
    """The changes that wait in one home. Every method gives the document that the command prints."""

    wire: Wire

    def list(self) -> dict[str, Any]:
        """Those that wait, and those that were approved and not made yet, with their rows."""
        if not self.wire.home.pending.exists():
            return {"pending": []}
        with closing(Pending(self.wire.home.pending)) as store:
            return {"pending": [_shown(one) for one in store.all(time.time())]}

    def approve(self, id: str, name: str, password: str, code: str = "", address: str = "") -> dict[str, Any]:
        """Sign a change as the second person, with name and password given anew. Raises UnknownNameError,
        InvalidPlanError for who signed first, AccessError for credentials that are not good."""
        with closing(Pending.open(self.wire.home)) as store:
            store.get(id, time.time())
            person = signing(self.wire, name, password, code, address)
            return {"pending": [_shown(store.approve(id, f"user:{person.name}", time.time()))]}


def signing(wire: Wire, name: str, password: str, code: str = "", address: str = "") -> User:
    """The person who signs with name and password given anew; raises AccessError for credentials that are not good."""
    from tongqu.gateway.auth.login import Doorkeeper, Login, RefusedLoginError
    from tongqu.store.identity.identities import Identities

    identities = Identities.open(wire.home, wire.scrubber)
    try:
        doorkeeper = Doorkeeper(identities, wire.identity_settings)
        return doorkeeper.let_in(Login(name, password, code, address=address))
    except RefusedLoginError as refused:
        raise AccessError(
            f"{name} cannot sign ({refused.why})", hint="name, password and, where there is one, second factor"
        ) from None
    finally:
        identities.close()


def _shown(one: Waiting) -> dict[str, Any]:
    told = one.to_json()
    for name in ("at", "until", "approved"):
        told[name] = instant(datetime.fromtimestamp(told[name], UTC)) if told[name] is not None else None
    return told
