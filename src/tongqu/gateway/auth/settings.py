"""What may stand under `identity:` in a project file."""

from __future__ import annotations

from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from tongqu.core.settings import Names, Settings


class IssuerEntry(Settings):
    """Another server whose tokens are believed (OpenID Connect: Keycloak, Entra ID, 飞书, 钉钉 …)."""

    issuer: str
    """Its name, exactly as it stands in the tokens' `iss`: an https address."""
    audience: str
    """Who its tokens must be for (`aud`)."""
    jwks_url: str | None = None
    """Where its public keys are (default: as its discovery document says)."""
    kind: Literal["user", "client"] = "user"
    """Whether its tokens stand for people or programs."""
    roles_claim: str = "roles"
    """The claim that lists a caller's groups; points lead into objects: `realm_access.roles`."""
    roles: dict[str, Names] = Field(default_factory=dict)
    """Group there to roles here. A group that is not listed gives nothing."""
    scopes: dict[str, Names] = Field(default_factory=dict)
    """Scope there (`scope` or `scp`) to scopes here; nothing for one that limits nothing. A scope that is not listed
    keeps its name: like every scope it limits what the token may do."""
    attributes: dict[str, str] = Field(default_factory=dict)
    """Attribute here to claim there: `{plant: plant_code}`."""
    purposes: Names = ()
    """What its callers may need data for; the first is the one they have when they say nothing."""
    algorithms: tuple[Literal["RS256", "PS256", "ES256", "ES384", "EdDSA"], ...] = ("RS256", "PS256", "ES256")
    """How its tokens may be signed."""
    typ: Names = ("JWT", "at+jwt")
    """What the tokens' header may call itself; ID tokens of other clients are kept out by `audience`."""
    ca_file: str | None = None
    """The authority of its certificate (default: this machine's)."""

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _safe(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
            if not (parts.scheme == "https" or local) or not parts.hostname:
                raise ValueError("an https address (http only on this machine)")
        return value


class IdentitySettings(Settings):
    """How callers are known. Everything has a default: the section may be left out."""

    issuer: str | None = None
    """The address callers reach this gateway by: it stands in tokens as `iss` (default: a name of
    this home's own, and metadata name the address of the call)."""
    audience: str = "tongqu"
    """Who the tokens are for (`aud`): give each environment its own, and a test token opens nothing in production."""
    profile: Literal["asvs", "mlps"] = "asvs"
    """Rules for passwords and sessions: OWASP ASVS 5.0, or 等保2.0 三级 (composition, 90 days, no reuse)."""
    separate_duties: bool | None = None
    """Whether no administrator may have two of the duties system, security and audit (default: with `mlps`)."""
    accounts: dict[str, str] = Field(default_factory=dict)
    """Whose the accounts of this machine's operating system are: account to name of a person. Where duties are kept
    apart they count at the command line (default: the person of the same name)."""
    token_seconds: int = Field(default=600, ge=60, le=3600)
    """How long an access token is good."""
    refresh_days: float = Field(default=30, gt=0, le=366)
    """How long a person's client may refresh without a new login."""
    session_idle_minutes: float | None = Field(default=None, gt=0, le=24 * 60)
    """After how long without a call a session ends (default: 30, with `mlps` 15)."""
    session_hours: float | None = Field(default=None, gt=0, le=24 * 7)
    """After how long a session ends in any case (default: 12, with `mlps` 8)."""
    failures: int = Field(default=10, ge=3, le=100)
    """Wrong passwords until an account is locked; from the fourth on each makes the next wait longer."""
    lock_minutes: float = Field(default=15, gt=0, le=24 * 60)
    """How long a locked account stays locked."""
    key_days: float = Field(default=30, gt=1, le=366)
    """How long a key signs tokens before the next one does; that one is published a day before."""
    old_signatures: bool = False
    """Whether requests signed by the first scheme (`TONGQU-HMAC-SHA256`), whose signature covers no headers, are taken;
    the log names each client that still does so."""
    issuers: dict[str, IssuerEntry] = Field(default_factory=dict)
    """Other servers whose tokens are believed, by name."""

    @model_validator(mode="after")
    def _one_entry_an_issuer(self) -> Self:
        names = [entry.issuer for entry in self.issuers.values()]
        if len(set(names)) != len(names):
            raise ValueError("two entries of `issuers` have the same issuer")
        return self

    @field_validator("issuers", mode="before", json_schema_input_type=dict[str, IssuerEntry] | None)
    @classmethod
    def _named(cls, value: Any) -> Any:
        return value or {}

    @property
    def apart(self) -> bool:
        """Whether the duties of administrators are kept apart."""
        return self.profile == "mlps" if self.separate_duties is None else self.separate_duties

    @property
    def idle(self) -> float:
        """Seconds without a call after which a session ends."""
        return 60 * (self.session_idle_minutes or (15 if self.profile == "mlps" else 30))

    @property
    def absolute(self) -> float:
        """Seconds after which a session ends."""
        return 3600 * (self.session_hours or (8 if self.profile == "mlps" else 12))
