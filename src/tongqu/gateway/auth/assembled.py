"""Everything about identity that a gateway needs, put together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from tongqu.gateway.auth.access import Access
from tongqu.gateway.auth.identify import Identify
from tongqu.gateway.auth.issuers import Fetch, Issuers, fetched
from tongqu.gateway.auth.keyring import Keyring
from tongqu.gateway.auth.oauth.handler import OAuthHandler
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.store.home import Home
from tongqu.store.identity.identities import Identities
from tongqu.store.runs import now
from tongqu.store.scrub import Scrubber


@dataclass(frozen=True)
class Identity:
    """The identities of a home, who turns requests into actors, and the handler of `/oauth` and `/.well-known`."""

    identities: Identities
    access: Access
    identify: Identify
    oauth: OAuthHandler
    issuers: Callable[[IdentitySettings, Issuers | None], Issuers | None]
    """Makes those that settings name, with the keys that those before know."""

    @classmethod
    def open(
        cls,
        home: Home,
        scrubber: Scrubber,
        settings: IdentitySettings,
        *,
        clock: Callable[[], datetime] = now,
        elapsed: Callable[[], float] = time.monotonic,
        fetch: Fetch = fetched,
    ) -> Identity:
        """The parts for one home, which is made if it is not there; raises SecretError, CheckpointError, sqlite3.Error
        and OSError."""
        identities = Identities.open(home, scrubber, clock=clock, elapsed=elapsed)
        keyring = Keyring(identities, days=settings.key_days)
        access = Access(identities, settings, keyring)
        seconds = identities.database.seconds

        def issuers(told: IdentitySettings, before: Issuers | None) -> Issuers | None:
            if not told.issuers:
                return None
            return Issuers(told.issuers, fetch, seconds=seconds, elapsed=elapsed, before=before)

        identify = Identify(access, issuers(settings, None))
        return cls(identities, access, identify, OAuthHandler(access), issuers)

    def adopt(self, settings: IdentitySettings) -> None:
        """Know callers by these settings from the next request on; called in the serving loop."""
        if settings != self.access.settings:
            made = self.issuers(settings, self.identify.issuers)
            self.access.adopt(settings)
            self.identify.adopt(made)

    def close(self) -> None:
        """Close the file of identities."""
        self.identities.close()
