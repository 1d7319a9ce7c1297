"""Schemes that encrypt: WeCom and DingTalk share one envelope, Feishu has its own."""

from __future__ import annotations

import base64
import hashlib
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tongqu.core.errors import InvalidSettingsError
from tongqu.gateway.exchange import Reply
from tongqu.gateway.hooks.delivery import Delivery, Event, Keys, Probe, document, fresh, invalid, missing, same, unbased
from tongqu.gateway.problems import Problem
from tongqu.gateway.settings import SizesEntry
from tongqu.gateway.shield.bodies import xml_body

_BLOCK = 16
_PADDING = 32
"""WeCom and DingTalk pad to 32 bytes, the length of the key, and not to AES's 16."""
_HEAD = 20
_KEY_TEXT = 43
_TRIES = ("check_url", "check_create_suite_url", "check_update_suite_url")
_JSON = [("content-type", "application/json")]


class Envelope:
    """AES-256-CBC as WeCom and DingTalk have it: 16 random bytes, the length of the message (4 bytes, big-endian), the
    message, whom it is meant for; the vector is the first half of the key. `signature` is SHA-1 over the sorted texts.

    Raises InvalidSettingsError for a key that is not 43 letters and digits.
    """

    def __init__(self, keys: Keys, owner: str):
        self._keys = [_aes_key(one) for one in keys.secrets]
        self._tokens, self._owner = keys.tokens, owner.encode()

    def check(self, given: str, at: str, nonce: str, encrypted: str) -> None:
        """Raises Problem `auth.invalid` unless one of the tokens signs it."""
        if not same(given.encode(), [signature(token, at, nonce, encrypted).encode() for token in self._tokens]):
            raise invalid()

    def open(self, encrypted: str) -> bytes:
        """The message; raises Problem `auth.invalid` for what none of the keys opens, or is meant for somebody else."""
        sealed = unbased(encrypted)
        for key in self._keys:
            plain = decrypted(key, key[:_BLOCK], sealed, _PADDING)
            if plain is None or len(plain) < _HEAD:
                continue
            (length,) = struct.unpack(">I", plain[_BLOCK:_HEAD])
            message, owner = plain[_HEAD : _HEAD + length], plain[_HEAD + length :]
            if len(message) == length and same(owner, [self._owner]):
                return message
        raise invalid()

    def seal(self, message: bytes) -> str:
        """A message to the other side, with the present key."""
        key = self._keys[0]
        plain = secrets.token_bytes(_BLOCK) + struct.pack(">I", len(message)) + message + self._owner
        count = _PADDING - len(plain) % _PADDING
        cipher = Cipher(algorithms.AES(key), modes.CBC(key[:_BLOCK])).encryptor()
        return base64.b64encode(cipher.update(plain + bytes([count]) * count) + cipher.finalize()).decode()

    def signed(self, at: str, nonce: str, encrypted: str) -> str:
        """The signature of a message to the other side."""
        return signature(self._tokens[0], at, nonce, encrypted)


def signature(*texts: str) -> str:
    """SHA-1 over the texts, sorted and put together: what WeCom and DingTalk call `msg_signature`."""
    return hashlib.sha1("".join(sorted(texts)).encode(), usedforsecurity=False).hexdigest()


class WeCom:
    """WeCom's callbacks: GET with `echostr` tries the address, POST brings encrypted XML."""

    def __init__(self, keys: Keys, owner: str, tolerance: int):
        self._envelope, self._tolerance = Envelope(keys, owner), tolerance

    def opened(self, delivery: Delivery) -> Event | Probe:
        """See Verifier."""
        query = delivery.query
        given, at, nonce = query.get("msg_signature", ""), query.get("timestamp", ""), query.get("nonce", "")
        if not given or not at:
            raise missing("msg_signature or timestamp")
        encrypted = query.get("echostr", "") if delivery.method == "GET" else _encrypted_xml(delivery.body)
        self._envelope.check(given, at, nonce, encrypted)
        fresh(at, delivery.now, self._tolerance)
        message = self._envelope.open(encrypted)
        if delivery.method == "GET":
            return Probe(Reply(200, [("content-type", "text/plain; charset=utf-8")], message))
        return Event(message, reply=Reply(200, [("content-type", "text/plain; charset=utf-8")], b"success"))


class DingTalk:
    """DingTalk's event subscription by HTTP: encrypted JSON, answered with an encrypted `success`."""

    def __init__(self, keys: Keys, owner: str, tolerance: int, clock: Callable[[], float] = time.time):
        self._envelope, self._tolerance, self._clock = Envelope(keys, owner), tolerance, clock

    def opened(self, delivery: Delivery) -> Event | Probe:
        """See Verifier."""
        query = delivery.query
        given = query.get("msg_signature", "") or query.get("signature", "")
        at, nonce = query.get("timestamp", ""), query.get("nonce", "")
        if not given or not at:
            raise missing("msg_signature or timestamp")
        encrypted = document(delivery.body).get("encrypt")
        if not isinstance(encrypted, str):
            raise Problem("body.malformed", "the body has no text `encrypt`")
        self._envelope.check(given, at, nonce, encrypted)
        fresh(at, delivery.now, self._tolerance)
        message = self._envelope.open(encrypted)
        kind = document(message).get("EventType", "")
        reply = self._success()
        return Probe(reply) if kind in _TRIES else Event(message, kind=str(kind or ""), reply=reply)

    def _success(self) -> Reply:
        at, nonce, sealed = str(int(self._clock() * 1000)), secrets.token_hex(8), self._envelope.seal(b"success")
        answer = {"msg_signature": self._envelope.signed(at, nonce, sealed), "timeStamp": at, "nonce": nonce,
                  "encrypt": sealed}  # fmt: skip
        return Reply(200, list(_JSON), orjson.dumps(answer))


@dataclass(frozen=True)
class Feishu:
    """Feishu's (Lark's) event subscription. With an encrypt key bodies are AES-256-CBC, the key its SHA-256, the vector
    in front, and `X-Lark-Signature` is SHA-256 over time, nonce, key and body; the verification token is in the body.
    The call that tries the address (`url_verification`) has no signature: its token is looked at where one is set, and
    it must be encrypted where a key is."""

    keys: Keys
    tolerance: int

    def opened(self, delivery: Delivery) -> Event | Probe:
        """See Verifier."""
        told, plain = document(delivery.body), delivery.body
        if self.keys.secrets:
            encrypted = told.get("encrypt")
            if not isinstance(encrypted, str):
                raise missing("the encryption of the body")
            plain = self._decrypted(encrypted)
            told = document(plain)
        head: Any = told.get("header")
        own = head if isinstance(head, dict) else {}
        self._check_token(own.get("token", told.get("token", "")))
        if told.get("type") == "url_verification":
            challenge = told.get("challenge")
            return Probe(Reply(200, list(_JSON), orjson.dumps({"challenge": challenge})))
        if self.keys.secrets:
            self._check(delivery)
        event: Any = told.get("event")
        kind = own.get("event_type") or (event.get("type") if isinstance(event, dict) else "") or ""
        return Event(plain, str(own.get("event_id") or told.get("uuid") or ""), str(kind))

    def _check_token(self, given: object) -> None:
        if self.keys.tokens and not same(str(given).encode(), [token.encode() for token in self.keys.tokens]):
            raise invalid()

    def _check(self, delivery: Delivery) -> None:
        headers = delivery.headers
        at, nonce = headers.get("x-lark-request-timestamp", ""), headers.get("x-lark-request-nonce", "")
        given = headers.get("x-lark-signature", "")
        if not at or not given:
            raise missing("X-Lark-Signature or X-Lark-Request-Timestamp")
        wanted = [
            hashlib.sha256(f"{at}{nonce}{key}".encode() + delivery.body).hexdigest().encode()
            for key in self.keys.secrets
        ]
        if not same(given.encode(), wanted):
            raise invalid()
        fresh(at, delivery.now, self.tolerance)

    def _decrypted(self, encrypted: str) -> bytes:
        sealed = unbased(encrypted)
        for key in self.keys.secrets:
            plain = decrypted(hashlib.sha256(key.encode()).digest(), sealed[:_BLOCK], sealed[_BLOCK:], _BLOCK)
            if plain is not None and plain[:1] == b"{":
                return plain
        raise invalid()


def _encrypted_xml(body: bytes) -> str:
    found = xml_body(body, SizesEntry()).findtext("Encrypt")
    if not found:
        raise Problem("body.malformed", "the body has no element Encrypt")
    return found.strip()


def _aes_key(text: str) -> bytes:
    try:
        key = base64.b64decode(text + "=", validate=True) if len(text) == _KEY_TEXT else b""
    except ValueError:
        key = b""
    if len(key) != 32:
        raise InvalidSettingsError(
            f"the key that messages are encrypted with has {_KEY_TEXT} letters and digits", path="secret",
            hint="copy EncodingAESKey (WeCom) or aes_key (DingTalk) as the console shows it",
        )  # fmt: skip
    return key


def decrypted(key: bytes, vector: bytes, sealed: bytes, padding: int) -> bytes | None:
    """What was encrypted with AES-CBC and padded as PKCS#7 to blocks of `padding`; None where the key does not fit."""
    if not sealed or len(sealed) % _BLOCK or len(vector) != _BLOCK:
        return None
    cipher = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
    plain = cipher.update(sealed) + cipher.finalize()
    count = plain[-1]
    if not 1 <= count <= padding or plain[-count:] != bytes([count]) * count:
        return None
    return plain[:-count]
