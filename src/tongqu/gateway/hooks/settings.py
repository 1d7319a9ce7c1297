"""What may stand under `hooks:` in a project file: who calls, how it proves itself, and the topic it is kept in."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from tongqu.core.settings import REFERENCE, Names, Settings
from tongqu.gateway.settings import RateEntry

Scheme = Literal["standard", "github", "dingtalk", "dingtalk_robot", "wecom", "feishu", "hmac", "token"]
Algorithm = Literal["sha1", "sha256", "sha512"]
LEAST_HOURS = 75
"""Standard senders repeat for about three days: what they sent is known for longer."""
_ROBOT_SECONDS = 3600
_SECONDS = 300


def _listed(raw: Any) -> Any:
    return [raw] if isinstance(raw, str) else raw


Reference = Annotated[str, Field(pattern=REFERENCE)]
_REFERENCE = {"type": "string", "pattern": REFERENCE}
References = Annotated[
    tuple[Reference, ...],
    BeforeValidator(_listed),
    Field(max_length=2),
    WithJsonSchema({"anyOf": [_REFERENCE, {"type": "array", "items": _REFERENCE, "maxItems": 2}]}),
]
"""One reference to a secret, or two while it is rotated: both count."""


class TopicEntry(Settings):
    """A topic of a durable queue."""

    connection: str
    """Name of a connection of type `queue`."""
    topic: str = ""
    """Name of the topic (default: the name of the hook)."""


class HmacEntry(Settings):
    """How a sender signs that follows none of the named schemes."""

    header: str = Field(min_length=1)
    """Header that holds the signature: `X-Signature`."""
    algorithm: Algorithm = "sha256"
    """The hash of the HMAC."""
    encoding: Literal["hex", "base64"] = "hex"
    """How the signature is written."""
    prefix: str = ""
    """What stands before it in the header: `sha256=`."""
    template: str = "{body}"
    """What is signed: text with `{body}`, `{timestamp}` and `{id}`, such as `{timestamp}.{body}`."""
    timestamp: str = ""
    """Header with the time of sending, in seconds or milliseconds since 1970; only counts if it is signed."""
    id: str = ""
    """Header with the id of the delivery."""

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.template.count("{body}") != 1:
            raise ValueError("the template holds {body} once: what is not signed cannot be trusted")
        for name in ("timestamp", "id"):
            if ("{" + name + "}" in self.template) and not getattr(self, name):
                raise ValueError(f"the template holds {{{name}}}: name its header in `{name}`")
        if self.timestamp and "{timestamp}" not in self.template:
            raise ValueError("a timestamp that is not signed proves nothing: put {timestamp} into the template")
        return self


class TokenEntry(Settings):
    """Where a sender shows a fixed token."""

    header: str = ""
    """Header that holds it: `X-Gitlab-Token`."""
    query: str = ""
    """Or the parameter of the address that does; headers are better, addresses end in logs."""
    prefix: str = ""
    """What stands before it: `Bearer `."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.header) == bool(self.query):
            raise ValueError("give `header` or `query`")
        return self


class DedupEntry(Settings):
    """How a delivery is known again."""

    by: Literal["header", "field", "body", "none"]
    """`header`: one of its headers; `field`: a field of its JSON; `body`: all of it (its SHA-256); `none`: never."""
    name: str = ""
    """The header, or the field: keys with points between them, `data.event_id`."""
    hours: float = Field(default=96, ge=LEAST_HOURS, le=24 * 366)
    """How long a delivery is known again; senders repeat for three days and more."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.by in ("header", "field")) != bool(self.name):
            raise ValueError("`name` goes with `by: header` and `by: field`")
        return self


class RespondEntry(Settings):
    """What a sender is answered when its event is kept; some want a certain text."""

    status: int = Field(default=200, ge=200, le=299)
    """The HTTP status."""
    body: str = Field(default="", max_length=4096)
    """The text."""
    content_type: str = "application/json"
    """Its media type."""


class HookEntry(Settings):
    """An address `/hooks/NAME` that a sender calls with its events."""

    verify: Scheme
    """How it proves who it is: `standard` (Standard Webhooks), `github`, `dingtalk` (events), `dingtalk_robot`
    (outgoing robot), `wecom`, `feishu`, `hmac` (any other signature) or `token` (a fixed token, the weakest)."""
    secret: References = ()
    """The signing secret as a reference, `${secret:github}`; two while it is rotated. For `dingtalk`, `wecom` and
    `feishu` the key that messages are encrypted with; for `token` the token."""
    token: References = ()
    """The token that `dingtalk`, `wecom` and `feishu` have beside the key."""
    owner: str = ""
    """Whom messages must be meant for: AppKey, SuiteKey or CorpId (`dingtalk`), CorpID (`wecom`)."""
    to: TopicEntry
    """Where events are kept: `{connection: events, topic: github}`."""
    hmac: HmacEntry | None = None
    """The signature, for `verify: hmac`."""
    show: TokenEntry = TokenEntry(header="x-token")
    """Where the token is, for `verify: token`."""
    tolerance_seconds: int | None = Field(default=None, ge=1, le=86_400)
    """How far a signed time may be from ours (default: 300, for `dingtalk_robot` 3600 as its documents have it)."""
    dedup: DedupEntry | None = None
    """How a delivery is known again (default: by what the scheme signs: its id, or the whole body; for `token` and
    `dingtalk_robot` the whole body too)."""
    headers: Names = ()
    """Headers that are kept with the event: `[x-github-event]`. Credentials and signatures never are."""
    event: str = ""
    """Header that names the kind of event, kept as `event` (default: the one of the scheme, if it has one)."""
    content_types: Names = ()
    """Media types that are taken (default: JSON; for `wecom` XML or none)."""
    body_kb: int = Field(default=1024, ge=1, le=25_600)
    """Largest body, also unpacked."""
    limit: RateEntry | None = RateEntry(requests=6000, per="minute")
    """How many calls are taken; what is more hears 429 and comes again."""
    respond: RespondEntry = RespondEntry()
    """The answer, where the scheme prescribes none."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.secret and not (self.verify == "feishu" and self.token):
            raise ValueError("`secret` is needed: a hook without one could be called by anybody")
        if self.verify in ("dingtalk", "wecom") and not (self.token and self.owner):
            raise ValueError(f"`{self.verify}` needs `token` and `owner` beside `secret`")
        if (self.verify == "hmac") != (self.hmac is not None):
            raise ValueError("`hmac` and `verify: hmac` go together")
        return self

    @property
    def tolerance(self) -> int:
        """Seconds that a signed time may be from ours."""
        return self.tolerance_seconds or (_ROBOT_SECONDS if self.verify == "dingtalk_robot" else _SECONDS)
