"""Who makes a request: bearer tokens, API keys, signed requests, client certificates and sessions become an Actor."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
from collections import OrderedDict
from dataclasses import replace
from urllib.parse import urlsplit

from tongqu.core.errors import TongquError
from tongqu.core.policy import Actor
from tongqu.gateway.auth.access import Access, Known
from tongqu.gateway.auth.compact import BadTokenError, ExpiredError, read
from tongqu.gateway.auth.issuers import Issuers
from tongqu.gateway.auth.refusals import expired, invalid
from tongqu.gateway.auth.signatures import CONTENT, EMPTY, OLD, WINDOW, Signed, fields, scheme_of
from tongqu.gateway.exchange import Proof, Request
from tongqu.gateway.problems import Problem

logger = logging.getLogger("tongqu.gateway")
COOKIE = "tongqu_session"
PURPOSE = "tongqu-purpose"
"""The header in which a client says what it needs the data for, among the purposes it was granted."""
REMEMBERED = 20_000
"""Callers that are kept verified at the same time."""
_NOTE_SECONDS = 60.0
_ISSUER_HEADERS = ("x5t", "x5t#S256")
_OWN = ("/oauth/", "/.well-known/", "/hooks/")
"""Where credentials are judged by the endpoint itself."""
_BASIC = "/soap/"
"""Where HTTP Basic is taken: what generated clients of SOAP speak."""


class Identify:
    """Turns credentials into an Actor. What was verified is remembered until it expires or any right changes, in this
    or another process (seen within `store.identity.database.POLL_SECONDS`)."""

    def __init__(self, access: Access, issuers: Issuers | None = None):
        self._access = access
        self._identities = access.identities
        self.issuers = issuers
        self._remembered: OrderedDict[bytes, Known] = OrderedDict()
        self._placed: OrderedDict[tuple[int, str, str], tuple[Known, Actor]] = OrderedDict()
        self._revision = -1
        self._noted: dict[str, float] = {}
        self._warned: set[str] = set()
        self._edition = 0

    async def actor(self, request: Request) -> Actor:
        """The caller, `Actor.nobody` without credentials; raises Problem `auth.…` for credentials that are not good."""
        if request.path.startswith(_OWN):
            return Actor.nobody(request.address)
        headers = request.headers
        authorization, key, cookie = headers.get("authorization", ""), headers.get("x-api-key", ""), _cookie(request)
        if authorization and key:
            raise Problem("auth.ambiguous")
        if scheme_of(authorization):
            known = self._signed(request, authorization)
        elif authorization[:6].lower() == "basic " and request.path.startswith(_BASIC):
            known = self._password(*_name_and_secret(authorization))
        elif authorization:
            known = self._proved(await self._bearer(authorization), request)
        elif key:
            known = self._proved(self._api_key(key), request)
        elif request.certificate is not None and (found := self._certificate(request.certificate)):
            known = found
        elif cookie:
            known = self._session(request, cookie)
        else:
            return Actor.nobody(request.address)
        if known.certificate and (
            request.certificate is None or not hmac.compare_digest(known.certificate, thumbprint(request.certificate))
        ):
            raise invalid()
        return self._called(known, request)

    def adopt(self, issuers: Issuers | None) -> None:
        """Believe these issuers from now on; whoever was found good by other settings is looked at again."""
        self.issuers = issuers
        self._edition += 1
        self._remembered.clear()
        self._placed.clear()

    def revision(self) -> int:
        """A number that changes with anybody's rights, wherever they were changed, at most a second later."""
        return self._identities.database.revision()

    def by_password(self, request: Request, name: str, password: str) -> Actor:
        """The client of that name, proved by its secret or API key as a message shows it; raises Problem
        `auth.invalid`."""
        return self._called(self._password(name, password), request)

    def by_certificate(self, request: Request, certificate: bytes) -> Actor:
        """The client that registered this certificate (DER), with whose key a message was signed; raises Problem
        `auth.invalid`."""
        known = self._certificate(certificate)
        if known is None:
            raise invalid()
        return self._called(known, request)

    def first_sight(self, kind: str, what: str, seconds: float) -> bool:
        """Whether nobody showed this before, in any process of this home; it is remembered for that long."""
        return self._identities.tokens.first_sight(kind, what, self.seconds() + seconds)

    def seconds(self) -> float:
        """The time that credentials are judged by, since 1970."""
        return self._identities.database.seconds()

    def _called(self, known: Known, request: Request) -> Actor:
        if known.client:
            request.notes.more["client"] = known.client
            self._note(known)
        return self._here(known, request)

    async def again(self, request: Request) -> Actor:
        """Who a request that goes on comes from now; a signature is not looked at twice, its key is."""
        authorization = request.headers.get("authorization", "")
        if not scheme_of(authorization):
            return await self.actor(request)
        told = fields(authorization)
        found = self._identities.clients.signer(told[0]) if told else None
        if found is None:
            raise invalid()
        return self._here(self._for_client(found[0].id, found[1].id, found[1].expires), request)

    async def _bearer(self, authorization: str) -> Known:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise invalid()
        if token.startswith("tqk_"):
            return self._api_key(token)
        place = hashlib.sha256(token.encode()).digest()
        if found := self._recalled(place):
            return found
        edition = self._edition
        try:
            known = await self._verified(token)
        except ExpiredError:
            raise expired() from None
        except BadTokenError:
            raise invalid() from None
        except TongquError:
            raise Problem("source.unavailable", "the token's issuer cannot be asked at the moment") from None
        return self._keep(place, known) if edition == self._edition else await self._bearer(authorization)

    async def _verified(self, text: str) -> Known:
        token = read(text, more=_ISSUER_HEADERS if self.issuers else ())
        if self.issuers is not None and self.issuers.knows(token):
            return await asyncio.to_thread(self.issuers.check, token)
        return self._access.known(self._access.checked(read(text)))

    def _api_key(self, key: str) -> Known:
        place = hashlib.sha256(key.encode()).digest()
        if found := self._recalled(place):
            return found
        found_key = self._identities.clients.proved("api_key", key)
        if found_key is None:
            raise invalid()
        client, credential = found_key
        return self._keep(place, self._for_client(client.id, credential.id, credential.expires))

    def _password(self, name: str, password: str) -> Known:
        place = hashlib.sha256(f"password\0{name}\0{password}".encode("utf-8", "surrogatepass")).digest()
        if found := self._recalled(place):
            return found
        clients = self._identities.clients
        proved = clients.proved("secret", password) or clients.proved("api_key", password)
        if proved is None or proved[0].id != name:
            raise invalid()
        client, credential = proved
        return self._keep(place, self._for_client(client.id, credential.id, credential.expires))

    def _certificate(self, certificate: bytes) -> Known | None:
        place = b"certificate" + hashlib.sha256(certificate).digest()
        if found := self._recalled(place):
            return found
        proved = self._identities.clients.proved("certificate", thumbprint(certificate))
        if proved is None:
            return None
        client, credential = proved
        return self._keep(place, self._for_client(client.id, credential.id, credential.expires))

    def _signed(self, request: Request, authorization: str) -> Known:
        told, scheme = fields(authorization), scheme_of(authorization)
        now = self._identities.database.seconds()
        if scheme == OLD and not self._access.settings.old_signatures:
            raise Problem("auth.invalid", hint="sign by TONGQU2-HMAC-SHA256, which covers headers too")
        if told is None or abs(now - float(told[1])) > WINDOW:
            raise invalid()
        id, timestamp, nonce, signature = told
        found = self._identities.clients.signer(id)
        digest = request.headers.get(CONTENT, EMPTY).lower()
        signed = Signed(request.method, request.host or request.headers.get("host", ""), request.path, request.pairs(),
                        digest, timestamp, nonce, request.headers, scheme)  # fmt: skip
        right = signed.signature(found[2] if found else b"nobody")
        if not hmac.compare_digest(right.encode(), signature.encode("utf-8", "replace")) or found is None:
            raise invalid()
        if not self._identities.tokens.first_sight(f"nonce {id}", nonce, now + 2 * WINDOW):
            raise invalid()
        _guard_body(request, digest)
        client, credential, _ = found
        if scheme == OLD and client.id not in self._warned:
            self._warned.add(client.id)
            logger.warning("the client %s signs without headers (%s): let it sign by the newer scheme", client.id, OLD)
        return self._for_client(client.id, credential.id, credential.expires)

    def _session(self, request: Request, token: str) -> Known:
        """A browser's session. What changes something must come from our own pages."""
        if request.method not in ("GET", "HEAD", "OPTIONS") and not same_origin(request):
            raise invalid()
        settings = self._access.settings
        user = self._identities.users.session(token, idle=settings.idle, absolute=settings.absolute)
        if user is None:
            raise expired()
        return Known(self._access.actor(user), 0)

    def _for_client(self, id: str, credential: str, expires: float | None) -> Known:
        client = self._identities.clients.known(id)
        ends = min(filter(None, (expires, client.expires)), default=float("inf"))
        return Known(self._access.actor(client), ends, id, purposes=client.purposes, credential=credential)

    def _here(self, known: Known, request: Request) -> Actor:
        told = request.headers.get(PURPOSE, "")
        if told and told not in known.purposes:
            raise Problem("auth.purpose", hint="name one of the purposes that you were granted")
        purpose = told or (known.purposes[0] if known.purposes else "")
        place = (id(known), purpose, request.address)
        found = self._placed.get(place)
        if found is None or found[0] is not known:
            found = self._placed[place] = known, replace(known.actor, purpose=purpose, address=request.address)
            if len(self._placed) > REMEMBERED:
                self._placed.popitem(last=False)
        return found[1]

    def _recalled(self, place: bytes) -> Known | None:
        revision = self._identities.database.revision()
        if revision != self._revision:
            self._remembered.clear()
            self._revision = revision
            return None
        found = self._remembered.get(place)
        if found is None or found.until <= self._identities.database.seconds():
            return None
        return found

    def _proved(self, known: Known, request: Request) -> Known:
        """The caller, which the same credentials prove again as long as nothing changes."""
        request.proof = Proof(self._revision, known.until, lambda: self._note(known))
        return known

    def _keep(self, place: bytes, known: Known) -> Known:
        self._remembered[place] = known
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)
        return known

    def _note(self, known: Known) -> None:
        """Write down once a minute that a client and its key are in use."""
        now = self._identities.database.seconds()
        about = known.credential or known.client
        if now - self._noted.get(about, 0.0) >= _NOTE_SECONDS:
            self._noted[about] = now
            self._identities.clients.was_used(known.client, known.credential)


def thumbprint(certificate: bytes) -> str:
    """`x5t#S256` of a certificate in DER (RFC 8705 §3.1)."""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode()


def same_origin(request: Request) -> bool:
    """Whether a browser says that the request comes from a page of this gateway."""
    if site := request.headers.get("sec-fetch-site", ""):
        return site == "same-origin"
    origin = request.headers.get("origin", "")
    return bool(origin) and urlsplit(origin).netloc == (request.host or request.headers.get("host", ""))


def _name_and_secret(authorization: str) -> tuple[str, str]:
    """Client and secret of HTTP Basic (RFC 7617, UTF-8)."""
    try:
        name, colon, secret = base64.b64decode(authorization[6:].strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise invalid() from None
    if not colon:
        raise invalid()
    return name, secret


def _cookie(request: Request) -> str:
    for part in request.headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""


def _guard_body(request: Request, digest: str) -> None:
    """Let the body be read only if it is the one that was signed."""
    read_body = request.body

    async def body(limit: int) -> bytes:
        content = await read_body(limit)
        if not hmac.compare_digest(hashlib.sha256(content).hexdigest().encode(), digest.encode("utf-8", "replace")):
            raise invalid()
        return content

    request.body = body
