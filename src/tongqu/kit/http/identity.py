"""Tells connections with the same address but other credentials apart, without holding a secret."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from tongqu.kit.http.settings import HttpSettings


def whose(settings: HttpSettings) -> bytes:
    """A digest of the address and all that proves who calls: what one may see is not for another."""
    proofs = (
        settings.identity(),
        _plain(settings.auth),
        sorted(settings.headers.items()),
        sorted(settings.query.items()),
    )
    return hashlib.sha256(repr((*proofs, settings.tls.cert_file)).encode()).digest()


def _plain(value: object) -> object:
    if hasattr(value, "get_secret_value"):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    fields = getattr(type(value), "model_fields", None)
    return {name: _plain(getattr(value, name)) for name in fields} if fields else value
