"""WS-Security: who sent a message, by the user name token or the signature that stands in its header."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from tongqu.core.policy import Actor
from tongqu.gateway.exchange import Request
from tongqu.gateway.problems import Problem
from tongqu.gateway.settings import SizesEntry
from tongqu.gateway.shield.bodies import unpacked, xml_body
from tongqu.gateway.soap.envelope import Message, local, media_of, message_of
from tongqu.gateway.soap.signature import BadSignatureError, verified
from tongqu.gateway.soap.words import ADDRESSING, BASE64, DSIG, PASSWORD_TEXT, WSSE, WSU

if TYPE_CHECKING:
    from lxml.etree import _Element

WINDOW = 300.0
"""Seconds that a message is good for after it was made, whatever it says itself; what must come once is remembered for
as long."""
SKEW = 60.0
"""Seconds that clocks may differ."""
INSIDE_BYTES = 1 << 20
"""Largest message of callers who are only known by what stands in it."""
CHECKED = "wsse"
"""Under this word a request's notes say that its Security header was judged."""

logger = logging.getLogger("tongqu.gateway")


class Callers(Protocol):
    """Who knows the clients: `gateway.auth.identify.Identify`."""

    async def actor(self, request: Request) -> Actor:
        """The caller by what the request itself shows."""
        ...

    def by_password(self, request: Request, name: str, password: str) -> Actor:
        """The client whose secret or API key this is; raises Problem `auth.invalid`."""
        ...

    def by_certificate(self, request: Request, certificate: bytes) -> Actor:
        """The client that registered this certificate (DER); raises Problem `auth.invalid`."""
        ...

    def first_sight(self, kind: str, what: str, seconds: float) -> bool:
        """Whether nobody showed this before; remembered for that many seconds."""
        ...

    def seconds(self) -> float:
        """The time, since 1970."""
        ...


@dataclass(frozen=True)
class MessageIdentify:
    """The `Identify` of a gateway with SOAP: callers without other credentials may show them in the message."""

    callers: Callers
    sizes: SizesEntry

    async def actor(self, request: Request) -> Actor:
        """The caller. A message that holds WS-Security credentials is read before its caller's limits are known, at
        most `INSIDE_BYTES` of it; everything else about it is looked at only after."""
        found = await self.callers.actor(request)
        if found.known or request.method != "POST" or not request.path.startswith("/soap/"):
            return found
        media = media_of(request.headers.get("content-type", ""))
        limit = min(self.sizes.body_bytes, INSIDE_BYTES)
        body = await request.body(limit)
        request.body = _held(body)
        plain = unpacked(body, request.headers.get("content-encoding", ""), limit, self.sizes)
        if WSSE.encode() not in plain.replace(b"\0", b""):
            return found
        message = message_of(xml_body(plain, self.sizes), media)
        return secured(self.callers, request, message) or found


def secured(callers: Callers, request: Request, message: Message) -> Actor | None:
    """The caller that the Security header proves, None where it holds no credentials (a Timestamp alone is checked all
    the same). Raises Problem `auth.invalid` or `auth.expired`, whose `more` has the fault of WS-Security."""
    request.notes.more[CHECKED] = True
    security = message.security
    if security is None:
        return None
    now = callers.seconds()
    stamp = _timestamp(security, now)
    signed = [child for child in security if child.tag == f"{{{DSIG}}}Signature"]
    token = [child for child in security if child.tag == f"{{{WSSE}}}UsernameToken"]
    if len(token) > 1 or (token and signed):
        raise _wrong("InvalidSecurity", "a message has one user name token, or one signature")
    if signed:
        return _by_signature(callers, request, message, security, stamp)
    return _by_name(callers, request, token[0], now) if token else None


def _by_name(callers: Callers, request: Request, token: _Element, now: float) -> Actor:
    told = {local(child): child for child in token}
    if len(told) != len(token) or not {"Username", "Password"} <= set(told):
        raise _wrong("InvalidSecurityToken", "a user name token has a Username and a Password")
    password = told["Password"]
    if password.get("Type", PASSWORD_TEXT) != PASSWORD_TEXT:
        raise _wrong("UnsupportedSecurityToken", "secrets are kept hashed, so no digest can be checked: PasswordText")
    created, nonce = told.get("Created"), told.get("Nonce")
    if created is not None:
        _fresh(_instant(created), now)
    try:
        actor = callers.by_password(request, (told["Username"].text or "").strip(), password.text or "")
    except Problem as problem:
        raise _failed(problem) from None
    if nonce is not None:
        if created is None or nonce.get("EncodingType", BASE64) != BASE64:
            raise _wrong("InvalidSecurityToken", "a Nonce comes with Created")
        if not callers.first_sight(f"soap nonce {actor.id}", nonce.text or "", WINDOW + 2 * SKEW):
            raise _wrong("InvalidSecurityToken", "the Nonce was used before")
    return actor


def _by_signature(
    callers: Callers, request: Request, message: Message, security: _Element, stamp: _Element | None
) -> Actor:
    try:
        found = verified(message, security)
    except BadSignatureError as error:
        logger.info("a signature was refused (%s): %s", request.id, error)
        raise _wrong("FailedCheck", "the signature or decryption was invalid") from None
    if not found.covers(message.body) or not found.covers(stamp):
        raise _wrong("InvalidSecurity", "the signature must cover the Body and a Timestamp")
    addressing = [block for block in message.blocks if str(block.tag).startswith(f"{{{ADDRESSING}}}")]
    if not all(found.covers(block) for block in addressing if local(block) in ("To", "Action", "ReplyTo", "FaultTo")):
        raise _wrong("InvalidSecurity", "the signature must cover the addressing headers")
    try:
        actor = callers.by_certificate(request, found.certificate)
    except Problem as problem:
        raise _failed(problem) from None
    digest = hashlib.sha256(found.info).hexdigest()
    if not callers.first_sight(f"soap signature {actor.id}", digest, WINDOW + 2 * SKEW):
        raise _wrong("InvalidSecurity", "the message came before")
    return actor


def _timestamp(security: _Element, now: float) -> _Element | None:
    """The Timestamp, if there is one: made lately, and not over."""
    found = [child for child in security if child.tag == f"{{{WSU}}}Timestamp"]
    if not found:
        return None
    created = [child for child in found[0] if child.tag == f"{{{WSU}}}Created"]
    expires = [child for child in found[0] if child.tag == f"{{{WSU}}}Expires"]
    if len(found) > 1 or len(created) != 1 or len(expires) > 1:
        raise _wrong("InvalidSecurity", "a Timestamp has Created, and Expires at most once")
    _fresh(_instant(created[0]), now)
    if expires and _instant(expires[0]) < now - SKEW:
        raise _expired()
    return found[0]


def _fresh(made: float, now: float) -> None:
    if made > now + SKEW or made < now - WINDOW - SKEW:
        raise _expired()


def _instant(element: _Element) -> float:
    try:
        made = datetime.fromisoformat((element.text or "").strip())
    except ValueError:
        raise _wrong("InvalidSecurity", "a time is written as 2026-01-31T08:00:00Z") from None
    return (made if made.tzinfo else made.replace(tzinfo=UTC)).timestamp()


def _held(body: bytes) -> Callable[[int], Awaitable[bytes]]:
    async def read(limit: int) -> bytes:
        if len(body) > limit:
            raise Problem("body.too_large")
        return body

    return read


def _wrong(word: str, detail: str) -> Problem:
    return Problem("auth.invalid", detail, more={"wsse": word})


def _expired() -> Problem:
    return Problem(
        "auth.expired", "the message was made too long ago, or clocks differ", more={"wsse": "MessageExpired"}
    )


def _failed(problem: Problem) -> Problem:
    return Problem(problem.code, "", more={"wsse": "FailedAuthentication"})
