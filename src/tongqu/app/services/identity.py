"""Clients, their keys and tokens, as the command line and the management API handle them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import InvalidPlanError
from tongqu.store.home import Home
from tongqu.store.runs import instant, now
from tongqu.store.scrub import Scrubber

if TYPE_CHECKING:
    from tongqu.gateway.auth.settings import IdentitySettings
    from tongqu.store.identity.clients import Client, Issued, Kind
    from tongqu.store.identity.identities import Identities

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_KINDS: Mapping[str, Kind] = {"secret": "secret", "api-key": "api_key", "signature": "signature"}


@dataclass(frozen=True)
class NewClient:
    """A client that is to be made. Times are as people write them: `30d`, `2027-01-31`."""

    name: str
    roles: Sequence[str] = ()
    attributes: Sequence[str] = ()
    scopes: Sequence[str] = ()
    purposes: Sequence[str] = ()
    grants: Sequence[str] = ()
    redirects: Sequence[str] = ()
    jwks: Sequence[Mapping[str, Any]] = ()
    certificate: bytes = b""
    sandbox: bool = False
    public: bool = False
    expires: str = ""
    key: str = "secret"
    key_expires: str = ""


@dataclass(frozen=True)
class Callers:
    """The clients of one home. Every method gives the document that a command prints; a key stands only in the one that
    made it."""

    home: Home
    scrubber: Scrubber
    settings: Callable[[], IdentitySettings]
    clock: Callable[[], datetime] = field(default=now)

    @contextmanager
    def opened(self) -> Iterator[Identities]:
        """The identities of the home."""
        from tongqu.store.identity.identities import Identities

        identities = Identities.open(self.home, self.scrubber, clock=self.clock)
        try:
            yield identities
        finally:
            identities.close()

    def add(self, new: NewClient) -> dict[str, Any]:
        """Make a client and its first key, which is shown here and never again."""
        from tongqu.store.identity.clients import Client

        roles = tuple(dict.fromkeys(new.roles))
        apart(roles, self.settings().apart)
        kind = None if new.public or new.jwks or new.certificate else kind_of(new.key)
        grants = new.grants or (
            ("authorization_code", "refresh_token") if new.redirects or new.public else ("client_credentials",)
        )
        client = Client(
            new.name,
            roles,
            attributes(new.attributes),
            tuple(new.scopes),
            tuple(new.purposes),
            tuple(grants),
            tuple(redirects(new.redirects)),
            tuple(new.jwks),
            sandbox=new.sandbox,
            public=new.public,
            expires=moment(new.expires, self.clock()),
        )
        certificate = _certificate(new.certificate) if new.certificate else None
        with self.opened() as identities:
            identities.clients.add(client)
            if certificate:
                identities.clients.register_certificate(client.id, *certificate)
            if kind is None:
                return {"client_id": client.id}
            issued = identities.clients.issue(client.id, kind, expires=moment(new.key_expires, self.clock()))
        return self._shown(client.id, kind, issued)

    def rotate(self, name: str, key: str, overlap: str, expires: str) -> dict[str, Any]:
        """A new key; the one before is good for `overlap` longer."""
        kind = kind_of(key)
        with self.opened() as identities:
            ends = moment(expires, self.clock())
            issued = identities.clients.issue(name, kind, expires=ends, overlap=seconds(overlap))
        return self._shown(name, kind, issued)

    def certificate(self, name: str, raw: bytes) -> dict[str, Any]:
        """Let a certificate (PEM or DER) stand for the client."""
        thumbprint, expires = _certificate(raw)
        with self.opened() as identities:
            id = identities.clients.register_certificate(name, thumbprint, expires)
        return {"client_id": name, "key_id": id, "thumbprint": thumbprint, "expires": _told(expires)}

    def change(self, name: str, roles: Sequence[str], told: Sequence[str], purposes: Sequence[str]) -> dict[str, Any]:
        """Replace the roles, attributes or purposes of a client, those that are given."""
        apart(tuple(roles), self.settings().apart)
        values: dict[str, Any] = {}
        if roles:
            values["roles"] = tuple(dict.fromkeys(roles))
        if told:
            values["attributes"] = attributes(told)
        if purposes:
            values["purposes"] = tuple(purposes)
        with self.opened() as identities:
            identities.clients.change(name, **values)
            return self._document(identities, identities.clients.known(name))

    def enable(self, name: str, *, enabled: bool) -> dict[str, Any]:
        """Let a client call, or refuse it from now on."""
        with self.opened() as identities:
            identities.clients.change(name, disabled=not enabled)
            if not enabled:
                identities.clients.revoke(name)
            return self._document(identities, identities.clients.known(name))

    def revoke(self, name: str, key: str) -> dict[str, Any]:
        """Make all tokens of a client void, or one of its keys; within a second in every process."""
        with self.opened() as identities:
            identities.clients.revoke(name)
            if key:
                if key not in {one.id for one in identities.clients.credentials(name)}:
                    raise InvalidPlanError(f"the client {name!r} has no key {key!r}", hint="tongqu client list")
                identities.clients.end(key)
        return {"client_id": name, "revoked": key or "tokens"}

    def remove(self, name: str) -> dict[str, Any]:
        """Forget a client."""
        with self.opened() as identities:
            identities.clients.revoke(name)
            identities.clients.remove(name)
        return {"removed": name}

    def list(self) -> dict[str, Any]:
        """All clients and their keys, without a secret."""
        with self.opened() as identities:
            return {"clients": [self._document(identities, client) for client in identities.clients.list()]}

    def token(self, name: str, ttl: str, scopes: Sequence[str]) -> dict[str, Any]:
        """An access token for a client, without its key: for who may read the home anyway."""
        from tongqu.gateway.auth.access import Access, Grant
        from tongqu.gateway.auth.compact import BadTokenError
        from tongqu.gateway.auth.keyring import Keyring

        settings = self.settings()
        life = seconds(ttl) if ttl else None
        if life is not None and not 1 <= life <= 3600:
            raise InvalidPlanError("a token lives for an hour at most", hint="for example 10m", path="--ttl")
        with self.opened() as identities:
            client = identities.clients.known(name)
            if client.scopes and not set(scopes) <= set(client.scopes):
                raise InvalidPlanError("more than the client may have", hint=f"valid: {', '.join(client.scopes)}")
            access = Access(identities, settings, Keyring(identities, days=settings.key_days))
            scope = tuple(scopes) or client.scopes
            try:
                made, life = access.token(Grant(f"client:{name}", name, scope, seconds=life))
            except BadTokenError:
                raise InvalidPlanError(
                    f"the client {name!r} is disabled or has expired", hint="tongqu client list"
                ) from None
        self.scrubber.add(made)
        return {"access_token": made, "expires_in": life}

    def keys(self, *, rotate: bool, at_once: bool) -> dict[str, Any]:
        """The keys that sign tokens; with `rotate` after making the next one."""
        from tongqu.gateway.auth.keyring import Keyring

        with self.opened() as identities:
            keyring = Keyring(identities, days=self.settings().key_days)
            if rotate or at_once:
                keyring.rotate(at_once=at_once)
            keyring.jwks()
            found = [
                {"kid": key.kid, "alg": key.alg, "signs_from": _told(key.signs), "ends": _told(key.ends)}
                for key in identities.signing.published()
            ]
        return {"keys": found}

    def _shown(self, name: str, kind: Kind, issued: Issued) -> dict[str, Any]:
        self.scrubber.add(issued.secret)
        names = {"secret": "client_secret", "api_key": "api_key", "signature": "secret_key"}
        id = {"access_key_id": issued.id} if kind == "signature" else {"key_id": issued.id}
        return {"client_id": name, names[kind]: issued.secret, **id, "expires": _told(issued.expires)}

    def _document(self, identities: Identities, client: Client) -> dict[str, Any]:
        keys = [
            {"id": key.id, "kind": key.kind, "created": _told(key.created), "expires": _told(key.expires),
             "used": _told(key.used), "alive": key.alive(self.clock().timestamp())}
            for key in identities.clients.credentials(client.id)
        ]  # fmt: skip
        at = self.clock().timestamp()
        return {
            "client_id": client.id, "roles": list(client.roles), "attributes": dict(client.attributes),
            "scopes": list(client.scopes), "purposes": list(client.purposes), "grants": list(client.grants),
            "redirects": list(client.redirects), "sandbox": client.sandbox, "public": client.public,
            "state": "disabled" if client.disabled else "active" if client.alive(at) else "expired",
            "created": _told(client.created), "expires": _told(client.expires), "used": _told(client.used),
            "keys": keys,
        }  # fmt: skip


def apart(roles: Sequence[str], wanted: bool) -> None:
    """Raises InvalidPlanError where one would have two duties of administrators that are kept apart."""
    from tongqu.store.identity.users import ADMIN_ROLES

    if wanted and len(had := sorted(ADMIN_ROLES & set(roles))) > 1:
        raise InvalidPlanError(
            f"{had[0]} and {had[1]} are kept apart: nobody may be both",
            hint="give each duty to another person (identity.separate_duties)",
        )


def kind_of(key: str) -> Kind:
    """The kind of key of a word of the command line."""
    if key not in _KINDS:
        raise InvalidPlanError(f"there is no kind of key {key!r}", hint=f"valid: {', '.join(_KINDS)}")
    return _KINDS[key]


def attributes(told: Sequence[str]) -> dict[str, Any]:
    """Attributes as `NAME=VALUE`; whole numbers and `true`/`false` are taken as such, `"3"` is a text, a name that
    comes twice is a list of texts. Raises InvalidPlanError."""
    made: dict[str, Any] = {}
    for one in told:
        name, equals, value = one.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise InvalidPlanError(f"{one!r} is no attribute", hint="NAME=VALUE", path="--attribute")
        if name in made:
            before = made[name] if isinstance(made[name], list) else [str(made[name])]
            made[name] = [*before, value]
        elif re.fullmatch(r"-?(?:0|[1-9]\d{0,17})", value):
            made[name] = int(value)
        elif re.fullmatch(r'".*"', value):
            made[name] = value[1:-1]
        else:
            made[name] = {"true": True, "false": False}.get(value, value)
    return made


def redirects(told: Sequence[str]) -> Sequence[str]:
    """Redirect addresses that are safe to register: https, a scheme of an app, or http on this machine only."""
    for one in told:
        loopback = re.match(r"http://(?:127\.0\.0\.1|\[::1\]|localhost)(?:[:/]|$)", one)
        app = re.match(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+:/", one)
        if not (one.startswith("https://") or loopback or app) or "#" in one or "*" in one:
            raise InvalidPlanError(f"{one!r} cannot be a redirect address", hint="https://…, without `#` and `*`")
    return told


def public_keys(file: Path) -> tuple[Mapping[str, Any], ...]:
    """The public keys of a JWK or JWKS file; raises InvalidPlanError where it is none."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidPlanError(f"the keys cannot be read from {file}", hint="a JWK or JWKS as JSON") from error
    return checked_keys(told.get("keys", [told]) if isinstance(told, dict) else [], str(file))


def checked_keys(keys: Any, what: str) -> tuple[Mapping[str, Any], ...]:
    """Public keys; raises InvalidPlanError where there is a private or symmetric one."""
    keys = keys if isinstance(keys, list | tuple) else []
    good = [key for key in keys if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP") and "d" not in key]
    if not keys or len(good) != len(keys):
        raise InvalidPlanError(f"{what} must hold public keys only: RSA, EC or OKP", hint="leave the private part out")
    return tuple(good)


def seconds(text: str) -> float:
    """A span as people write it: `90s`, `10m`, `12h`, `7d`, or seconds; nothing is 0. Raises InvalidPlanError."""
    found = re.fullmatch(r"(\d{1,9})([smhd]?)", text) if text else None
    if text and found is None:
        raise InvalidPlanError(f"{text!r} is no span of time", hint="for example 90s, 10m, 12h, 7d")
    return float(found[1]) * _UNITS.get(found[2] or "s", 1) if found else 0.0


def moment(text: str, at: datetime) -> float | None:
    """A moment as Unix seconds: a date, an RFC 3339 instant, or a span from now; nothing is None."""
    if not text:
        return None
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        told = at + timedelta(seconds=seconds(text))
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    if told <= at:
        raise InvalidPlanError(f"{text} is over already", hint="a date in the future, or a span such as 90d")
    return told.timestamp()


def _told(at: float | None) -> str:
    return instant(datetime.fromtimestamp(at, UTC)) if at else ""


def content(file: Path) -> bytes:
    """What a certificate's file holds; raises InvalidPlanError if it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidPlanError(f"{file} holds no certificate", hint="a certificate as PEM or DER") from error


def _certificate(raw: bytes) -> tuple[str, float]:
    """Thumbprint and end of a certificate in PEM or DER."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from tongqu.gateway.auth.identify import thumbprint

    try:
        read = x509.load_pem_x509_certificate if raw.lstrip().startswith(b"-----") else x509.load_der_x509_certificate
        found = read(raw)
    except ValueError as error:
        raise InvalidPlanError("this is no certificate", hint="a certificate as PEM or DER") from error
    return thumbprint(found.public_bytes(Encoding.DER)), found.not_valid_after_utc.timestamp()
