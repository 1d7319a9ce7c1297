"""Users of the shared Dovecot."""

from __future__ import annotations

import secrets

import pytest

from tongqu.testing.services import Dovecot


@pytest.fixture
def user() -> str:
    """A user nobody else has."""
    return f"u{secrets.token_hex(4)}"


@pytest.fixture
def url(dovecot: Dovecot, user: str) -> str:
    """The user's account."""
    return dovecot.url_of(user) + "/INBOX?security=none"
