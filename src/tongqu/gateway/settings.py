"""What may stand under `gateway:` in a project file: addresses, limits, sizes, the shield and CORS of all APIs."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tongqu.core.settings import REFERENCE, Names, Settings
from tongqu.gateway.addresses import AddressEntry, checked

Per = Literal["second", "minute", "hour", "day"]
SECONDS: dict[str, int] = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


class RateEntry(Settings):
    """So many requests in so much time."""

    requests: int = Field(ge=1, le=1_000_000_000)
    """Requests."""
    per: Per = "minute"
    """In which time."""
    burst: int | None = Field(default=None, ge=1)
    """How many of them at once (default: all)."""


class LimitsEntry(Settings):
    """How much may be asked of the gateway as a whole; each API adds its own."""

    total: RateEntry | None = None
    """All calls together (default: as much as the machine can do; what is too much is shed)."""
    address: RateEntry | None = RateEntry(requests=6000, per="minute", burst=1000)
    """Calls from one address (IPv6: one /64)."""
    failures: RateEntry | None = RateEntry(requests=60, per="minute", burst=30)
    """Calls with bad credentials from one address; beyond it, credentials from there are not even looked at."""
    client: RateEntry | None = None
    """Calls of one client to all APIs."""
    user: RateEntry | None = None
    """Calls on behalf of one person, through whatever client."""
    concurrent: int = Field(default=512, ge=1)
    """Most requests that one process works on at a time; below it the limit follows the latency."""
    keys: int = Field(default=100_000, ge=1000)
    """Most addresses and clients that are counted at a time; beyond it the longest silent ones are forgotten."""
    redis: str | None = Field(default=None, pattern=REFERENCE)
    """URL of the Redis that several replicas count in: `${secret:limits_redis}`."""
    old_headers: bool = False
    """Whether `RateLimit-Limit`, `-Remaining` and `-Reset` are given beside `RateLimit` and `RateLimit-Policy`."""


class SizesEntry(Settings):
    """Sizes beyond which a request is refused before it is looked at."""

    target_bytes: int = Field(default=8192, ge=256)
    """Path and query."""
    header_bytes: int = Field(default=16_384, ge=1024)
    """All headers."""
    headers: int = Field(default=64, ge=8)
    """Number of headers."""
    parameters: int = Field(default=200, ge=1)
    """Number of query parameters."""
    body_bytes: int = Field(default=16 << 20, ge=1024)
    """Body, before an API's own limit."""
    depth: int = Field(default=32, ge=1, le=500)
    """Nesting of JSON and XML."""
    items: int = Field(default=100_000, ge=1)
    """Members and elements of a JSON or XML body, all together."""
    string_bytes: int = Field(default=1 << 20, ge=64)
    """Longest text in a body."""
    inflated: int = Field(default=20, ge=1)
    """How many times larger than its body a compressed body may become."""


class CorsEntry(Settings):
    """Which web pages may call; none unless named here."""

    origins: Names = ()
    """Origins, each in full: `https://portal.example`. `*` only without `credentials`."""
    methods: Names = ("GET", "HEAD", "POST")
    """Methods that pages may use."""
    headers: Names = ("authorization", "content-type", "prefer", "range")
    """Headers that pages may send."""
    credentials: bool = False
    """Whether pages may send cookies."""
    seconds: int = Field(default=600, ge=0, le=86_400)
    """How long a browser may remember the answer."""

    @model_validator(mode="after")
    def _strict(self) -> Self:
        for origin in self.origins:
            scheme, _, host = origin.partition("://")
            if origin != "*" and (scheme not in ("http", "https") or not host or set(host) & set("/*?#@ ")):
                raise ValueError(f"{origin!r} is no origin: write scheme and host in full, https://portal.example")
        if "*" in self.origins and self.credentials:
            raise ValueError("`*` with `credentials` would let any page act for whoever looks at it")
        return self


class GraphqlEntry(Settings):
    """How much one GraphQL request may ask for; judged before anything is asked of a database."""

    introspection: Literal["everyone", "known", "nobody"] = "everyone"
    """Who may read the schema; it never holds more than what its reader may use."""
    depth: int = Field(default=12, ge=3, le=50)
    """Nesting of fields."""
    fields: int = Field(default=500, ge=10, le=10_000)
    """Fields, those of fragments counted wherever they are spread."""
    aliases: int = Field(default=50, ge=0, le=1000)
    """Fields under another name."""
    roots: int = Field(default=20, ge=1, le=200)
    """Queries and mutations, of all operations of a batch; each counts as a call of its API."""
    batch: int = Field(default=10, ge=1, le=100)
    """Operations in one request."""
    rows: int = Field(default=100_000, ge=100)
    """Rows that may have to be read, estimated from the limits; ten for each row above where a relation has none."""
    tokens: int = Field(default=2000, ge=100, le=100_000)
    """Words and signs of one document."""
    persisted: bool = True
    """Whether documents are remembered by their SHA-256, so that callers need not send them again."""


class AnswersEntry(Settings):
    """Where the answers of APIs with `cache:` are kept."""

    megabytes: int = Field(default=64, ge=1, le=65_536)
    """Most memory of one process for them."""
    redis: str | None = Field(default=None, pattern=REFERENCE)
    """URL of the Redis that several replicas keep them in, instead of memory: `${secret:cache_redis}`. One for each
    environment; whoever can write to it can change answers."""


class NewsEntry(Settings):
    """How callers hear of what changes in the APIs they use."""

    allow: Names = ()
    """Private networks that the webhooks of subscribers may lead to (default: public addresses only)."""
    mail: str = ""
    """A connection of type `smtp` by which subscribers get mail; nothing: there is no mail."""
    most: int = Field(default=20, ge=1, le=1000)
    """Subscriptions that one caller may have."""


class GatewayEntry(Settings):
    """Protection that holds for all APIs."""

    addresses: AddressEntry = AddressEntry()
    """Who may call at all."""
    admin: AddressEntry = AddressEntry(allow=("127.0.0.0/8", "::1/128"))
    """Who may call `/manage`, `/console` and `/metrics` (default: this machine)."""
    clients: dict[str, AddressEntry] = Field(default_factory=dict)
    """From where single clients may call, by their id: `mes: {allow: [10.1.0.0/16]}`."""
    trusted_proxies: Names = ()
    """Networks of the proxies in front; only their `X-Forwarded-*` headers count, and of those the right-most entry
    that is no trusted proxy."""
    limits: LimitsEntry = LimitsEntry()
    """How much may be asked."""
    sizes: SizesEntry = SizesEntry()
    """How large a request may be."""
    shield: Literal["off", "observe", "refuse"] = "refuse"
    """What happens to requests that look like an injection, unless an API says otherwise."""
    cors: CorsEntry = CorsEntry()
    """Which web pages may call."""
    graphql: GraphqlEntry = GraphqlEntry()
    """How much GraphQL may ask."""
    cache: AnswersEntry = AnswersEntry()
    """Where answers are kept."""
    news: NewsEntry = NewsEntry()
    """How callers hear of new versions and of the end of old ones."""

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return checked(value)
