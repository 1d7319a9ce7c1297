"""The one root key of a home's identities: it makes digests of what is compared and seals what is needed again."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from contextlib import closing

from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber
from tongqu.store.secrets.envelope import AES, Key, Sealed, opened, sealed

ROOT = "identity-key"
"""Name of the root key among the home's sealed secrets; whoever removes it makes every key, TOTP and token invalid."""

_LENGTHS = {AES: 32}


class Seal:
    """Keys derived from the root key (HMAC-SHA256 with a label each)."""

    def __init__(self, root: bytes, algorithm: str = AES):
        self._root = root
        self._pepper = self.derived("digest")
        self._algorithm = algorithm

    @classmethod
    def of(cls, home: Home, scrubber: Scrubber) -> Seal:
        """The root key of a home, made with its store of secrets if it is not there; raises SecretError."""
        from tongqu.store.secrets.keys import Keys
        from tongqu.store.secrets.sealed import Secrets

        home.ensure()
        lock = os.open(home.path / "identity.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two first starts must not make two roots
            keys = Keys(home, scrubber)
            store = Secrets.existing(home, keys) if keys.there() else None
            with closing(store or Secrets.made(home, keys)) as held:
                text = held.get(ROOT)
                if text is None:
                    text = secrets.token_hex(32)
                    held.set(ROOT, text)
                scrubber.add(text)
                return cls(bytes.fromhex(text), keys.load().current.algorithm)
        finally:
            os.close(lock)

    def derived(self, label: str) -> bytes:
        """32 bytes for one use."""
        return hmac.new(self._root, f"tongqu identity {label}".encode(), hashlib.sha256).digest()

    def digest(self, secret: str) -> bytes:
        """What is stored of a secret that is only ever compared: useless without the root key."""
        return hmac.new(self._pepper, secret.encode(), hashlib.sha256).digest()

    def sealed(self, value: bytes, *place: str) -> Sealed:
        """The value sealed, bound to its place."""
        return sealed(self._key(self._algorithm), value, ("identity", *place))

    def opened(self, row: Sequence[object], *place: str) -> bytes:
        """The value of the five columns of a record; raises SecretError."""
        record = Sealed.of(row)
        return opened(self._key(record.algorithm), record, ("identity", *place))

    def _key(self, algorithm: str) -> Key:
        """The sealing key of an algorithm: records made before a change of profile still open."""
        return Key("identity", algorithm, self.derived(f"seal {algorithm}")[: _LENGTHS.get(algorithm, 16)])
