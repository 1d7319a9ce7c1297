"""All identities of a home behind one door."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from tongqu.store.home import Home
from tongqu.store.identity.clients import Clients
from tongqu.store.identity.database import Database
from tongqu.store.identity.reviews import Reviews
from tongqu.store.identity.seal import Seal
from tongqu.store.identity.signing import SigningKeys
from tongqu.store.identity.tokens import Tokens
from tongqu.store.identity.users import Users
from tongqu.store.runs import now
from tongqu.store.scrub import Scrubber


class Identities:
    """Clients, people, tokens, signing keys and reviews of one home; safe for several threads and processes."""

    def __init__(self, database: Database, seal: Seal):
        self.database = database
        self.seal = seal
        self.clients = Clients(database, seal)
        self.users = Users(database, seal)
        self.tokens = Tokens(database, seal)
        self.signing = SigningKeys(database, seal)
        self.reviews = Reviews(database)

    @classmethod
    def open(
        cls,
        home: Home,
        scrubber: Scrubber,
        *,
        clock: Callable[[], datetime] = now,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> Identities:
        """The identities of a home, made with their root key if they are not there; raises SecretError,
        CheckpointError, sqlite3.Error and OSError."""
        seal = Seal.of(home, scrubber)
        return cls(Database(home.identity, clock=clock, elapsed=elapsed), seal)

    def close(self) -> None:
        """Close the file."""
        self.database.close()
