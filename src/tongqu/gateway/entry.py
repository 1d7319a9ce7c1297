"""What may stand under `apis:` in a project file."""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tongqu.core.settings import Names, Settings
from tongqu.gateway.addresses import AddressEntry
from tongqu.gateway.policy.settings import Access
from tongqu.gateway.webhooks.settings import WebhookEntry

Title = dict[Literal["zh", "en"], str]
_VERSION = re.compile(r"v[0-9]{1,4}")


class ParameterEntry(Settings):
    """A parameter of an SQL source."""

    type: str = "string"
    """Type of its values: `string`, `int64`, `decimal(12,2)`, `date`, `timestamp` …"""
    required: bool = True
    """A call must give it."""
    default: Any = None
    """Its value where a call gives none."""
    description: str = ""
    """What it means, for the documentation."""


class ApiSource(Settings):
    """Where the rows of an API come from."""

    connection: str
    """Name of a connection."""
    dataset: str | None = None
    """Remote name of a table, view or file."""
    query: str | None = None
    """A SELECT in the connection's own SQL, with parameters as `:name`."""
    parameters: dict[str, ParameterEntry] = Field(default_factory=dict)
    """The parameters of `query`."""
    as_: str | None = Field(default=None, alias="as")
    """Entry of the data dictionary that describes the rows (default: the one of the dataset's name)."""
    key: list[str] = Field(default_factory=list)
    """Fields that identify a row, if neither source nor dictionary tells."""

    @field_validator("key", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _one_key(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.dataset is None) == (self.query is None):
            raise ValueError("give `dataset` (a table, view or file) or `query` (a SELECT), one of them")
        if self.parameters and self.query is None:
            raise ValueError("`parameters` belong to `query`")
        return self


class RelationEntry(Settings):
    """Another API whose rows belong to this one's."""

    api: str
    """Name of the other API, in the same version; its own access rules hold."""
    on: dict[str, str]
    """Field here to field there: `{line_id: line_id}`."""
    many: bool = True
    """Whether several rows can belong to one."""


class WriteEntry(Settings):
    """Which rows may be changed by calls, and how."""

    insert: bool = False
    """New rows may be added."""
    update: bool = False
    """Rows may be changed."""
    delete: bool = False
    """Rows may be deleted."""
    idempotency: Literal["required", "optional"] = "optional"
    """Whether a call must carry an `Idempotency-Key`."""
    conditional: bool = False
    """Whether a change of one row must name its ETag in `If-Match`."""
    gmp: bool = False
    """A change must come with a reason and the electronic signatures of two persons who may make it (headers
    `Tongqu-Reason`, `Tongqu-Signature`, `Tongqu-Approval`); what was signed stands in the audit trail."""
    ingest: bool = False
    """Rows may be sent to `/ingest/NAME`, where they are kept durably and written soon after."""

    @model_validator(mode="after")
    def _signed_at_once(self) -> Self:
        if self.gmp and self.ingest:
            raise ValueError("`gmp` and `ingest` exclude each other: what is written later cannot be signed for")
        return self


class LimitEntry(Settings):
    """How much a client may ask of the API."""

    requests: int = Field(default=600, ge=1)
    """Requests of one client."""
    per: Literal["second", "minute", "hour", "day"] = "minute"
    """In which time."""
    burst: int | None = Field(default=None, ge=1)
    """How many of them at once (default: all)."""
    concurrent: int | None = Field(default=None, ge=1)
    """Requests of one client that may run at the same time."""
    rows: int = Field(default=1000, ge=1, le=100_000)
    """Most rows of one page."""
    seconds: float = Field(default=10.0, gt=0, le=300)
    """How long one query may take."""
    body_kb: int = Field(default=1024, ge=1)
    """Largest body of a call."""
    cost: float | None = Field(default=None, gt=0)
    """Largest cost the database may expect of a query, in its own figure."""


class ExportEntry(Settings):
    """How many rows one caller may take by itself; more when a second person allows it (`tongqu api allow`)."""

    rows: int = Field(ge=1)
    """Rows of one caller."""
    per: Literal["hour", "day"] = "day"
    """In which time."""


class CacheEntry(Settings):
    """How long answers are kept."""

    seconds: float = Field(ge=0, le=86_400)
    """How long an answer is fresh; a change of its tables ends it at once."""
    stale_seconds: float = Field(default=0, ge=0, le=86_400)
    """How long an old answer may be given while a new one is made."""


class LiveEntry(Settings):
    """How changes are learnt that others make in the table; what calls and pipelines change is known anyway."""

    cursor: str | None = None
    """A column that grows with every change: `updated_at`."""
    every_seconds: float = Field(default=1.0, ge=0.2, le=3600)
    """How often it is looked at."""
    lag_seconds: float = Field(default=5.0, ge=0, le=3600)
    """How much later than its cursor says a row may appear: the longest transaction that writes the table."""


class DraftEntry(Settings):
    """A version that is not published yet: answered at `/api/vN-draft/NAME`, to its reviewers only, and to others who
    may call it with made-up rows (`Prefer: mock`, sandbox clients)."""

    reviewers: Names = ()
    """Who may call it and judge it: `user:NAME`, `client:NAME`, `operator:NAME`, `role:NAME`. Nobody is named: nobody
    calls it, and everybody who may change the project judges it."""
    approvals: int = Field(default=1, ge=1, le=5)
    """How many of them must approve it before it can be published. Where duties are kept apart, versions need approval
    or changes are signed (`gmp`), its author is not counted."""

    @field_validator("reviewers")
    @classmethod
    def _named(cls, value: Names) -> Names:
        for one in value:
            if not re.fullmatch(r"(?:user|client|operator|role):\S+", one):
                raise ValueError(f"{one!r}: user:NAME, client:NAME, operator:NAME or role:NAME")
        return value


class ApiEntry(Settings):
    """A published API."""

    name: str | None = None
    """Its name in the address, if it is not the entry's name; versions of one API share it."""
    version: str = "v1"
    """`v1`, `v2` …"""
    title: Title = Field(default_factory=dict)
    """Name for people, by language."""
    description: str = ""
    """What it is for, for the documentation."""
    owner: str | None = None
    """Who answers for it."""
    source: ApiSource
    """Where its rows come from."""
    fields: list[str] | None = None
    """The fields that are published, in order (default: all)."""
    access: Access = Field(default_factory=Access)
    """Who may call it, and what they see."""
    addresses: AddressEntry = AddressEntry()
    """From which networks it may be called."""
    shield: Literal["off", "observe", "refuse"] | None = None
    """What happens to calls that look like an injection (default: as the section `gateway` says)."""
    write: WriteEntry = Field(default_factory=WriteEntry)
    """Which rows may be changed, and how."""
    relations: dict[str, RelationEntry] = Field(default_factory=dict)
    """Other APIs whose rows belong to this one's, by name."""
    limit: LimitEntry = Field(default_factory=LimitEntry)
    """How much a client may ask."""
    cache: CacheEntry | None = None
    """How long answers are kept (default: not at all)."""
    export: ExportEntry | None = None
    """How many rows a caller may take before a second person must allow more (default: nobody counts). Such answers are
    not taken from the cache."""
    live: LiveEntry | None = None
    """How changes are learnt that others make in the table."""
    webhooks: dict[str, WebhookEntry] = Field(default_factory=dict)
    """Where changes of its rows are sent to, by name."""
    protocols: tuple[Literal["rest", "graphql", "soap", "live"], ...] = ("rest", "graphql", "soap", "live")
    """In which protocols it can be called."""
    deprecated: str | None = None
    """Since when it should no longer be used: a date."""
    sunset: str | None = None
    """When it will be withdrawn: a date, not before `deprecated`."""
    successor: str | None = None
    """The version that takes its place."""
    draft: DraftEntry | None = None
    """It is a draft: a version to come, or what an API of the same name and version is to become
    (`tongqu draft`)."""

    @field_validator("deprecated", "sunset", mode="before")
    @classmethod
    def _dates(cls, value: Any) -> Any:
        """YAML reads `2026-12-31` as a date."""
        return value.isoformat() if isinstance(value, date) else value

    @field_validator("version")
    @classmethod
    def _numbered(cls, value: str) -> str:
        if not _VERSION.fullmatch(value):
            raise ValueError("a version is `v` and a number: v1, v2")
        return value

    @field_validator("name")
    @classmethod
    def _fits_an_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", value):
            raise ValueError("letters, digits, `_` and `-`, at most 64, a letter first")
        return value
