"""Clients, their keys and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from tongqu.app.http.operation import Asked, Given, Operation
from tongqu.core.errors import AccessError, UnknownNameError
from tongqu.core.settings import Names


class OfClient(Given):
    """Names a client."""

    name: str
    """The client's id."""


class AddClient(OfClient):
    """A new client. Times are as people write them: `30d`, `2027-01-31`."""

    roles: Names = ()
    """Roles."""
    attributes: Names = ()
    """`NAME=VALUE`: what rules call `actor.NAME`."""
    scopes: Names = ()
    """Scopes its tokens may have."""
    purposes: Names = ()
    """What it may need data for."""
    grants: Names = ()
    """OAuth2 grants."""
    redirects: Names = ()
    """Redirect addresses."""
    jwks: tuple[dict[str, Any], ...] = ()
    """Its public keys, instead of a secret."""
    certificate: str = ""
    """Its certificate (PEM), instead of a secret."""
    sandbox: bool = False
    """Gets made-up rows only."""
    public: bool = False
    """Runs where no secret can be kept."""
    expires: str = ""
    """When it ends."""
    key: Literal["secret", "api-key", "signature"] = "secret"
    """Kind of its first key."""
    key_expires: str = ""
    """When that key ends."""


class RotateClient(OfClient):
    """A new key for a client."""

    key: Literal["secret", "api-key", "signature"] = "secret"
    """Kind of key."""
    overlap: str = "7d"
    """How long the key before stays good."""
    key_expires: str = ""
    """When the new key ends."""


class CertifyClient(OfClient):
    """A certificate for a client."""

    certificate: str
    """The certificate (PEM)."""


class ChangeClient(OfClient):
    """What is given replaces what was."""

    roles: Names = ()
    """Roles."""
    attributes: Names = ()
    """`NAME=VALUE`."""
    purposes: Names = ()
    """What it may need data for."""


class RevokeClient(OfClient):
    """Void the tokens of a client, or one key too."""

    key: str = ""
    """Id of the key."""


class IssueToken(OfClient):
    """An access token for a client."""

    ttl: str = ""
    """How long it is good: `10m`."""
    scopes: Names = ()
    """Its scopes."""


class RotateKeys(Given):
    """The next key that signs tokens."""

    at_once: bool = Field(default=False)
    """It signs from now on; the ones before are believed no more."""


def _list(asked: Asked, given: Given) -> Mapping[str, Any]:
    """The clients and their keys, without a secret."""
    return asked.wire.callers().list()


def _show(asked: Asked, given: OfClient) -> Mapping[str, Any]:
    """One client."""
    for client in asked.wire.callers().list()["clients"]:
        if client["client_id"] == given.name:
            return {"clients": [client]}
    raise UnknownNameError(f"there is no client {given.name!r}", hint="tongqu client list", params={"name": given.name})


def _add(asked: Asked, given: AddClient) -> Mapping[str, Any]:
    """Make a client; its key is shown here and never again."""
    from tongqu.app.services.identity import NewClient, checked_keys

    new = NewClient(
        given.name, given.roles, given.attributes, given.scopes, given.purposes, given.grants, given.redirects,
        checked_keys(given.jwks, "jwks") if given.jwks else (), given.certificate.encode(),
        sandbox=given.sandbox, public=given.public, expires=given.expires, key=given.key,
        key_expires=given.key_expires,
    )  # fmt: skip
    return asked.wire.callers().add(new)


def _rotate(asked: Asked, given: RotateClient) -> Mapping[str, Any]:
    """Give a client a new key beside the old one."""
    return asked.wire.callers().rotate(given.name, given.key, given.overlap, given.key_expires)


def _certificate(asked: Asked, given: CertifyClient) -> Mapping[str, Any]:
    """Let a certificate stand for a client."""
    return asked.wire.callers().certificate(given.name, given.certificate.encode())


def _change(asked: Asked, given: ChangeClient) -> Mapping[str, Any]:
    """Replace what a client may be."""
    not_oneself(asked, f"client:{given.name}")
    return {"clients": [asked.wire.callers().change(given.name, given.roles, given.attributes, given.purposes)]}


def _disable(asked: Asked, given: OfClient) -> Mapping[str, Any]:
    """Refuse a client from now on."""
    return {"clients": [asked.wire.callers().enable(given.name, enabled=False)]}


def _enable(asked: Asked, given: OfClient) -> Mapping[str, Any]:
    """Let a client call again."""
    not_oneself(asked, f"client:{given.name}")
    return {"clients": [asked.wire.callers().enable(given.name, enabled=True)]}


def _revoke(asked: Asked, given: RevokeClient) -> Mapping[str, Any]:
    """Make a client's tokens, or one of its keys, void."""
    return asked.wire.callers().revoke(given.name, given.key)


def _remove(asked: Asked, given: OfClient) -> Mapping[str, Any]:
    """Forget a client."""
    return asked.wire.callers().remove(given.name)


def _token(asked: Asked, given: IssueToken) -> Mapping[str, Any]:
    """Give a client an access token."""
    return asked.wire.callers().token(given.name, given.ttl, given.scopes)


def _keys(asked: Asked, given: Given) -> Mapping[str, Any]:
    """The keys that sign tokens."""
    return asked.wire.callers().keys(rotate=False, at_once=False)


def _rotate_keys(asked: Asked, given: RotateKeys) -> Mapping[str, Any]:
    """Make the next key that signs tokens."""
    return asked.wire.callers().keys(rotate=True, at_once=given.at_once)


def not_oneself(asked: Asked, subject: str) -> None:
    """Raises AccessError where somebody would decide about their own rights."""
    if asked.who == subject:
        raise AccessError("nobody changes their own rights", hint="let another administrator do it")


_CERTIFICATE = "/clients/{name}/certificate"
OPERATIONS = (
    Operation("client.list", "GET", "/clients", "security", _list),
    Operation("client.show", "GET", "/clients/{name}", "security", _show, OfClient),
    Operation("client.add", "POST", "/clients", "security", _add, AddClient, status=201, about=("name",)),
    Operation("client.change", "PATCH", "/clients/{name}", "security", _change, ChangeClient, "client.show"),
    Operation("client.remove", "DELETE", "/clients/{name}", "security", _remove, OfClient, "client.show"),
    Operation("client.rotate", "POST", "/clients/{name}/keys", "security", _rotate, RotateClient, "client.show"),
    Operation("client.certificate", "PUT", _CERTIFICATE, "security", _certificate, CertifyClient, "client.show"),
    Operation("client.disable", "POST", "/clients/{name}/disable", "security", _disable, OfClient, "client.show"),
    Operation("client.enable", "POST", "/clients/{name}/enable", "security", _enable, OfClient, "client.show"),
    Operation("client.revoke", "POST", "/clients/{name}/revoke", "security", _revoke, RevokeClient, "client.show"),
    Operation("token.issue", "POST", "/clients/{name}/tokens", "security", _token, IssueToken, status=201),
    Operation("token.keys", "GET", "/keys", "security", _keys),
    Operation("token.rotate", "POST", "/keys", "security", _rotate_keys, RotateKeys, "token.keys"),
)
