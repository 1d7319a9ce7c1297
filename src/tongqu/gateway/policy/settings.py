"""What may stand under `access:` of an API."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from tongqu.core.settings import Settings
from tongqu.meaning.masks import Mask


class FieldAccess(Settings):
    """Who sees one field, and what the others see."""

    roles: list[str] = Field(default_factory=list)
    """Roles that see the field as it is."""
    otherwise: Literal["hide", "mask"] = "hide"
    """What others see: nothing, or the masked value."""
    mask: Mask | None = None
    """How it is masked (default: as the data dictionary says)."""
    write: list[str] | None = None
    """Roles that may set it (default: all who may write)."""
    purposes: list[str] = Field(default_factory=list)
    """Only for these purposes is it given at all."""


class RuleEntry(Settings):
    """One more rule. A `deny` that fits always wins; of several `allow` that fit, their rows and fields are united."""

    effect: Literal["allow", "deny"] = "allow"
    """Whether what it describes is allowed or refused."""
    roles: list[str] = Field(default_factory=list)
    """It fits actors that have one of these roles (empty: all)."""
    when: str | None = None
    """It fits while this holds, over `actor.NAME`, `now` and `address`: `actor.department = 'quality'`."""
    purposes: list[str] = Field(default_factory=list)
    """It fits calls for one of these purposes (empty: all)."""
    hours: str | None = None
    """It fits at these hours: `08:00-18:00`, in the time zone of the project."""
    addresses: list[str] = Field(default_factory=list)
    """It fits calls from these networks: `10.0.0.0/8`."""
    actions: list[Literal["read", "insert", "update", "delete"]] = Field(default_factory=list)
    """It fits these actions (empty: all)."""
    rows: str | None = None
    """Only for rows for which this holds: `plant = actor.plant`."""
    fields: list[str] = Field(default_factory=list)
    """Only for these fields (empty: all)."""


class Access(Settings):
    """Who may call an API and what they see. Without any rule nobody may, unless `public`."""

    public: bool = False
    """Calls need no token; only fields of class `public` and `internal` that no rule restricts are shown."""
    roles: list[str] = Field(default_factory=list)
    """Roles that may read."""
    write_roles: list[str] = Field(default_factory=list)
    """Roles that may change rows, where the API can be written."""
    rows: str | None = None
    """The rows that anybody sees: `plant = actor.plant`. `actor.NAME` is an attribute of the caller."""
    fields: dict[str, FieldAccess] = Field(default_factory=dict)
    """Rules for single fields. Fields without one are shown only if their class is `public` or `internal`."""
    rules: list[RuleEntry] = Field(default_factory=list)
    """More rules."""

    @field_validator("roles", "write_roles", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _one_role(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value
