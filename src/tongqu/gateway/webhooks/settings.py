"""What may stand under `webhooks:` of an API, and of a project."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from tongqu.core.settings import REFERENCE, Names, Settings
from tongqu.kit.tls import Tls

Kind = Literal["insert", "update", "delete", "touched"]


class WebhookEntry(Settings):
    """Where changes of an API's rows are sent to."""

    url: str
    """Address that is called by POST: `https://erp.example/hooks/tongqu`."""
    as_: str = Field(alias="as", min_length=1)
    """The client whose rights decide which rows and fields are sent: a name of `tongqu client list`."""
    secret: str = Field(pattern=REFERENCE)
    """What deliveries are signed with, as a reference: `${secret:erp_hook}`; `whsec_…` signs by HMAC (v1), `whsk_…` by
    Ed25519 (v1a). `tongqu webhook rotate` makes one."""
    filter: str = ""
    """Which rows, in the words of a query: `plant=eq.A&weight=gt.5`."""
    select: str = ""
    """Which fields are sent (default: all that the client may see)."""
    events: tuple[Kind, ...] = ("insert", "update", "delete")
    """Which changes are sent; `touched` tells that rows changed of which nobody knows the keys."""
    body: Literal["full", "thin"] = "full"
    """Whether the row is sent, or only its key."""
    envelope: Literal["standard", "cloudevents", "cloudevents-binary"] = "standard"
    """How a change is wrapped: as Standard Webhooks has it, or as CloudEvents 1.0, whole in the body or with its
    context in headers (`ce-…`; the signature covers the body alone, where all that counts stands)."""
    seconds: float = Field(default=20.0, ge=1, le=30)
    """How long the other side may take."""
    allow: Names = ()
    """Private networks that the address may resolve to besides the host itself."""
    tls: Tls = Tls()
    """Certificates, if the other side's is not one that everybody trusts."""

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        from urllib.parse import urlsplit

        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.fragment:
            raise ValueError("an address begins with https:// or http://, has a host, and no user or #")
        return value


class SubscriptionEntry(WebhookEntry):
    """A webhook that stands beside the APIs, for one or several of them."""

    apis: Names = Field(min_length=1)
    """Entries of `apis` whose changes are sent: `orders`, or a list."""

    @property
    def webhook(self) -> WebhookEntry:
        """As it would stand under an API."""
        return WebhookEntry.model_validate({name: getattr(self, name) for name in WebhookEntry.model_fields})
