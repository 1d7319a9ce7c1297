"""The home's sealed secrets: set, listed, rotated and forgotten; never read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tongqu.app.http.operation import Asked, Given, Operation
from tongqu.core.settings import Secret


class OfSecret(Given):
    """Names a secret."""

    name: str
    """Its name."""


class SetSecret(OfSecret):
    """A secret."""

    value: Secret
    """Its value, which never comes back."""


class Rotate(Given):
    """New keys."""

    only: Literal["key", "data", "both"] = "both"
    """Which."""
    profile: Literal["", "standard", "gm"] = ""
    """The algorithms from now on."""


def _list(asked: Asked, given: Given) -> Mapping[str, Any]:
    """The secrets' names and versions; no values."""
    return asked.wire.secrets.list()


def _set(asked: Asked, given: SetSecret) -> Mapping[str, Any]:
    """Keep a secret."""
    return asked.wire.secrets.set(given.name, given.value.get_secret_value)


def _remove(asked: Asked, given: OfSecret) -> Mapping[str, Any]:
    """Forget a secret."""
    return asked.wire.secrets.remove(given.name)


def _rotate(asked: Asked, given: Rotate) -> Mapping[str, Any]:
    """Change the keys while they are in use."""
    return asked.wire.secrets.rotate(given.only, given.profile)


OPERATIONS = (
    Operation("secret.list", "GET", "/secrets", "security", _list),
    Operation("secret.set", "PUT", "/secrets/{name}", "security", _set, SetSecret, "secret.list"),
    Operation("secret.remove", "DELETE", "/secrets/{name}", "security", _remove, OfSecret, "secret.list"),
    Operation("secret.rotate", "POST", "/secrets/keys", "security", _rotate, Rotate, "secret.list"),
)
