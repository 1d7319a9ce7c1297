"""A rule in the form in which it is decided: whom, when and for what it fits, and what it gives or takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pyarrow as pa

from tongqu.core.data import Dataset
from tongqu.core.errors import InvalidSettingsError, UnknownNameError
from tongqu.core.policy import Actor
from tongqu.gateway.policy.conditions import Rule, rule
from tongqu.gateway.policy.decision import Action
from tongqu.gateway.policy.judging import judged
from tongqu.gateway.policy.settings import Access, RuleEntry

READ: frozenset[Action] = frozenset(("read",))
WRITE: frozenset[Action] = frozenset(("insert", "update", "delete"))
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]|24):([0-5]\d)")
_KINDS: dict[str, pa.DataType] = {"now": pa.timestamp("us", "UTC"), "address": pa.string(), "purpose": pa.string()}
_SURROUNDINGS = pa.schema(_KINDS)


@dataclass(frozen=True)
class Grant:
    """An allowing or denying rule. `roles`, `fields`, `purposes` and `networks` of None mean all."""

    name: str
    deny: bool
    actions: frozenset[Action]
    roles: frozenset[str] | None = None
    fields: frozenset[str] | None = None
    rows: Rule | None = None
    when: Rule | None = None
    purposes: frozenset[str] | None = None
    hours: tuple[int, int] | None = None
    networks: tuple[IPv4Network | IPv6Network, ...] | None = None
    public: bool = False

    def fits(self, actor: Actor, now: datetime) -> bool:
        """Whether it is about this actor at this moment, given in the project's time zone. What is unknown fits a rule
        that denies, and does not fit one that allows."""
        if self.roles is not None and not self.roles & actor.roles:
            return False
        if self.roles is None and not self.deny and not self.public and not actor.known:
            return False
        if self.purposes is not None and actor.purpose not in self.purposes:
            return False
        if self.hours is not None and not self._within(now):
            return False
        if self.networks is not None and not self._near(actor.address):
            return False
        if self.when is None:
            return True
        row = {"now": now, "address": actor.address or None, "purpose": actor.purpose or None}
        holds = judged(self.when, row, actor.attributes)
        return self.deny if holds is None else holds

    @property
    def total(self) -> bool:
        """Whether it denies everything."""
        return self.deny and self.rows is None and self.fields is None

    def _within(self, now: datetime) -> bool:
        begin, end = self.hours or (0, 0)
        minute = now.hour * 60 + now.minute
        return begin <= minute < end if begin < end else minute >= begin or minute < end

    def _near(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            return self.deny
        if isinstance(found, IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return any(found in network for network in self.networks or ())


def grants(access: Access, dataset: Dataset, columns: pa.Schema, path: str) -> list[Grant]:
    """Every rule of an API; any of the source's `columns` choose rows. Raises ExpressionError,
    UnknownNameError, InvalidSettingsError."""
    made: list[Grant] = []
    if access.public:
        made.append(Grant("access.public", False, READ, public=True))
    if access.roles:
        made.append(Grant("access.roles", False, READ, frozenset(access.roles)))
    if access.write_roles:
        made.append(Grant("access.write_roles", False, WRITE, frozenset(access.write_roles)))
    made += [
        _grant(entry, dataset, columns, f"{path}.rules[{n}]", f"access.rules[{n}]")
        for n, entry in enumerate(access.rules)
    ]
    return made


def _grant(entry: RuleEntry, dataset: Dataset, columns: pa.Schema, path: str, name: str) -> Grant:
    known(entry.fields, dataset, f"{path}.fields")
    return Grant(
        name=name,
        deny=entry.effect == "deny",
        actions=frozenset(entry.actions) or READ | WRITE,
        roles=frozenset(entry.roles) or None,
        fields=frozenset(entry.fields) or None,
        rows=None if entry.rows is None else rule(entry.rows, columns, f"{path}.rows"),
        when=None if entry.when is None else rule(entry.when, _SURROUNDINGS, f"{path}.when"),
        purposes=frozenset(entry.purposes) or None,
        hours=None if entry.hours is None else _hours(entry.hours, f"{path}.hours"),
        networks=tuple(_network(text, f"{path}.addresses") for text in entry.addresses) or None,
    )


def known(names: Sequence[str], dataset: Dataset, path: str) -> None:
    """Raise UnknownNameError for a field that is not published."""
    for name in names:
        if name not in dataset.columns:
            fields = ", ".join(dataset.columns)
            raise UnknownNameError(
                f"there is no field {name!r}", path=path, hint=f"fields: {fields}", params={"name": name}
            )


def _hours(text: str, path: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(text.replace(" ", ""))
    begin, end = (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])) if match else (0, 0)
    if begin == end or end > 24 * 60:
        raise InvalidSettingsError(f"{text!r} are no hours", path=path, hint="write them as 08:00-18:00")
    return begin, end


def _network(text: str, path: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise InvalidSettingsError(f"{text!r} is no network", path=path, hint="write it as 10.0.0.0/8") from None
