"""Who asks: the one record of a caller that every decision about rows and fields is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

ANONYMOUS = "anonymous"
"""Id and only role of whoever shows no credentials."""


@dataclass(frozen=True)
class Actor:
    """A caller whose credentials were checked, or `Actor.nobody()`.

    `id` is stable and unique (`client:mes`, `user:zhang`, `anonymous`). `roles` are names that access rules use;
    `attributes` are what rules call `actor.NAME` (department, plant, level ...): strings, numbers, booleans or lists of
    strings. `purpose` is what the caller says it needs the data for, `address` where it calls from, `scopes` what its
    token is limited to (empty: not limited). `subject` is the person on whose behalf a client acts, if any.
    """

    id: str
    kind: Literal["anonymous", "client", "user"] = "client"
    roles: frozenset[str] = frozenset()
    attributes: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    purpose: str = ""
    address: str = ""
    scopes: frozenset[str] = frozenset()
    subject: str = ""
    sandbox: bool = False
    """A client that is only ever given made-up rows."""

    @classmethod
    def nobody(cls, address: str = "") -> Actor:
        """Whoever shows no credentials."""
        return cls(ANONYMOUS, "anonymous", frozenset((ANONYMOUS,)), address=address)

    @property
    def known(self) -> bool:
        """Whether credentials were shown and are good."""
        return self.kind != "anonymous"
