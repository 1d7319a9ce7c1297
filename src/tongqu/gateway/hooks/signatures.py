"""Schemes that sign the body as it is: Standard Webhooks, GitHub, DingTalk's outgoing robot, any HMAC, a token."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tongqu.core.errors import InvalidSettingsError
from tongqu.gateway.hooks.delivery import Delivery, Event, Keys, fresh, invalid, missing, same
from tongqu.gateway.hooks.settings import HmacEntry, TokenEntry

_SYMMETRIC, _PUBLIC = "whsec_", "whpk_"
_MOST_SIGNATURES = 8
_KEY_BYTES = 32


class Standard:
    """Standard Webhooks 1.0: `v1` by HMAC-SHA256 with `whsec_…`, `v1a` by Ed25519 with the sender's public key
    `whpk_…`. Raises InvalidSettingsError for a secret that is neither."""

    def __init__(self, keys: Keys, tolerance: int):
        self._shared = [_key(one, _SYMMETRIC) for one in keys.secrets if not one.startswith(_PUBLIC)]
        self._public = [
            Ed25519PublicKey.from_public_bytes(_key(one, _PUBLIC)) for one in keys.secrets if one.startswith(_PUBLIC)
        ]
        self._tolerance = tolerance

    def opened(self, delivery: Delivery) -> Event:
        """See Verifier."""
        headers = delivery.headers
        id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not id or not at or "webhook-signature" not in headers:
            raise missing("webhook-id, webhook-timestamp or webhook-signature")
        signed = f"{id}.{at}.".encode() + delivery.body
        wanted = [base64.b64encode(hmac.digest(key, signed, "sha256")) for key in self._shared]
        proven = False
        for one in headers["webhook-signature"].split()[:_MOST_SIGNATURES]:
            version, _, text = one.partition(",")
            proven |= version == "v1" and same(text.encode(), wanted)
            proven |= version == "v1a" and self._by_public(text, signed)
        if not proven:
            raise invalid()
        fresh(at, delivery.now, self._tolerance)
        return Event(delivery.body, id)

    def _by_public(self, text: str, signed: bytes) -> bool:
        try:
            given = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return False
        for key in self._public:
            try:
                key.verify(given, signed)
            except InvalidSignature:
                continue
            return True
        return False


@dataclass(frozen=True)
class GitHub:
    """GitHub's `X-Hub-Signature-256`. The delivery's id is not signed, so a delivery is known again by its body."""

    keys: Keys

    def opened(self, delivery: Delivery) -> Event:
        """See Verifier."""
        given = delivery.headers.get("x-hub-signature-256", "")
        if not given:
            raise missing("X-Hub-Signature-256")
        wanted = [
            b"sha256=" + hmac.digest(key.encode(), delivery.body, "sha256").hex().encode() for key in self.keys.secrets
        ]
        if not same(given.lower().encode(), wanted):
            raise invalid()
        return Event(delivery.body, kind=delivery.headers.get("x-github-event", ""))


@dataclass(frozen=True)
class DingTalkRobot:
    """DingTalk's outgoing robot: headers `timestamp` (milliseconds) and `sign`, HMAC-SHA256 of the time and the app's
    secret. The body is not signed: whoever sees one delivery can send another body within the time."""

    keys: Keys
    tolerance: int

    def opened(self, delivery: Delivery) -> Event:
        """See Verifier."""
        at, given = delivery.headers.get("timestamp", ""), delivery.headers.get("sign", "")
        if not at or not given:
            raise missing("timestamp or sign")
        wanted = [
            base64.b64encode(hmac.digest(key.encode(), f"{at}\n{key}".encode(), "sha256")) for key in self.keys.secrets
        ]
        if not same(given.encode(), wanted):
            raise invalid()
        fresh(at, delivery.now, self.tolerance)
        return Event(delivery.body)


@dataclass(frozen=True)
class AnyHmac:
    """A signature in a header, of a text that the settings describe."""

    keys: Keys
    entry: HmacEntry
    tolerance: int

    def opened(self, delivery: Delivery) -> Event:
        """See Verifier."""
        entry, headers = self.entry, delivery.headers
        given = headers.get(entry.header.lower(), "")
        at = headers.get(entry.timestamp.lower(), "") if entry.timestamp else ""
        id = headers.get(entry.id.lower(), "") if entry.id else ""
        if not given or (entry.timestamp and not at) or (entry.id and not id):
            raise missing(" or ".join(name for name in (entry.header, entry.timestamp, entry.id) if name))
        before, _, behind = entry.template.partition("{body}")
        signed = self._told(before, at, id) + delivery.body + self._told(behind, at, id)
        made = [hmac.digest(key.encode(), signed, entry.algorithm) for key in self.keys.secrets]
        prefix = entry.prefix.encode()
        if entry.encoding == "hex":
            given, wanted = given.lower(), [prefix.lower() + one.hex().encode() for one in made]
        else:
            wanted = [prefix + base64.b64encode(one) for one in made]
        if not same(given.encode(), wanted):
            raise invalid()
        if at:
            fresh(at, delivery.now, self.tolerance)
        return Event(delivery.body, id if "{id}" in entry.template else "")

    @staticmethod
    def _told(text: str, at: str, id: str) -> bytes:
        """The text with time and id put in at once, so that neither can hold the other's place."""
        parts = text.split("{timestamp}")
        return at.join(part.replace("{id}", id) for part in parts).encode()


@dataclass(frozen=True)
class Token:
    """A fixed token: proves that the sender knows it, and nothing about the body."""

    keys: Keys
    entry: TokenEntry

    def opened(self, delivery: Delivery) -> Event:
        """See Verifier."""
        entry = self.entry
        given = delivery.headers.get(entry.header.lower(), "") if entry.header else delivery.query.get(entry.query, "")
        if not given:
            raise missing(entry.header or entry.query)
        if not same(given.encode(), [(entry.prefix + key).encode() for key in self.keys.secrets]):
            raise invalid()
        return Event(delivery.body)


def _key(secret: str, prefix: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key or (prefix == _PUBLIC and len(key) != _KEY_BYTES):
        raise InvalidSettingsError(
            "the secret of a hook with `verify: standard` is `whsec_` and base64, or `whpk_` and an Ed25519 public key",
            path="secret",
        )
    return key
