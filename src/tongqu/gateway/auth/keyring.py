"""The gateway's own signing keys: made when needed, changed by the calendar, published ahead and kept behind."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongqu.gateway.auth.compact import BadTokenError, Compact, verified
from tongqu.store.identity.identities import Identities
from tongqu.store.identity.signing import SigningKey

ALG = "ES256"
AHEAD = 86_400.0
"""Seconds that a key is published before it signs, so that those who keep our JWKS have it in time."""
_BEHIND = 3600.0 + 60
"""Seconds that a key is kept after it signed for the last time: no token lives longer."""


@dataclass
class _Loaded:
    revision: int
    until: float
    keys: Sequence[SigningKey]
    objects: dict[str, Any] = field(default_factory=dict)


class Keyring:
    """Signs and verifies with the home's keys, in every process alike."""

    def __init__(self, identities: Identities, *, days: float = 30):
        self._identities = identities
        self._period = days * 86_400
        self._loaded: _Loaded | None = None

    def adopt(self, days: float) -> None:
        """Change keys after so many days from now on."""
        self._period = days * 86_400
        self._loaded = None

    def sign(self, claims: Mapping[str, Any], typ: str = "at+jwt") -> str:
        """The claims as a signed token."""
        from joserfc.jws import serialize_compact

        now = self._identities.database.seconds()
        held = self._current(now)
        key = next(key for key in held.keys if key.signs <= now)
        header = {"alg": ALG, "typ": typ, "kid": key.kid}
        payload = json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()
        return serialize_compact(header, payload, held.objects[key.kid], algorithms=[ALG])

    def verify(self, token: Compact) -> Mapping[str, Any]:
        """The claims of a token that one of the published keys signed; raises BadTokenError."""
        held = self._current(self._identities.database.seconds())
        key = held.objects.get(token.kid)
        if key is None:
            raise BadTokenError("no key of that name")
        return verified(token, key, ALG)

    def jwks(self) -> dict[str, Any]:
        """The public keys (RFC 7517)."""
        held = self._current(self._identities.database.seconds())
        return {"keys": [{**key.public, "use": "sig", "alg": key.alg, "kid": key.kid} for key in held.keys]}

    def rotate(self, *, at_once: bool = False) -> SigningKey:
        """Make the next key. It signs from tomorrow on; `at_once` takes the old ones away this moment, for when one
        has leaked: every token they signed is void."""
        now = self._identities.database.seconds()
        old = self._identities.signing.published()
        made = self._made(now if at_once or not old else now + AHEAD)
        self._identities.signing.add(made, newest=old[0].kid if old else "", overlap=_BEHIND)
        if at_once:
            for key in old:
                self._identities.signing.end(key.kid)
        self._loaded = None
        return made

    def _current(self, now: float) -> _Loaded:
        revision = self._identities.database.revision()
        held = self._loaded
        if held is None or held.revision != revision or now >= held.until:
            held = self._loaded = self._read(now)
        return held

    def _read(self, now: float) -> _Loaded:
        from joserfc.jwk import ECKey

        signing = self._identities.signing
        keys = signing.published()
        newest = keys[0] if keys else None
        if newest is None or now >= newest.signs + self._period - AHEAD:
            signs = now if newest is None else max(now, newest.signs + self._period - AHEAD) + AHEAD
            signing.add(self._made(signs), newest=newest.kid if newest else "", overlap=_BEHIND)
            keys = signing.published()
        due = [moment for key in keys for moment in (key.ends, key.signs) if moment is not None and moment > now]
        due.append(max(now + 1, keys[0].signs + self._period - AHEAD))
        return _Loaded(
            self._identities.database.revision(),
            min(due),
            keys,
            {key.kid: ECKey.import_key(key.private) for key in keys},
        )

    def _made(self, signs: float) -> SigningKey:
        from joserfc.jwk import ECKey

        key = ECKey.generate_key("P-256")
        return SigningKey(
            kid=key.thumbprint(),
            alg=ALG,
            public=key.as_dict(private=False),
            created=self._identities.database.seconds(),
            signs=signs,
            ends=None,
            private=key.as_pem(private=True).decode(),
        )
