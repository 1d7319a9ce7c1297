"""Reviews of access: who does not use what they may, whose rights are too broad, what expires, who signed it off."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tongqu.app.services.identity import Callers
from tongqu.core.errors import InvalidPlanError, UnknownNameError
from tongqu.store.runs import instant

if TYPE_CHECKING:
    from tongqu.store.home import Home
    from tongqu.store.identity.clients import Client
    from tongqu.store.identity.identities import Identities
    from tongqu.store.identity.reviews import Ending, Review
    from tongqu.store.identity.users import User
    from tongqu.store.versions import Person

DAY = 86_400.0
_OLD_KEY = 365
Grants = Mapping[str, frozenset[str]]
"""By role the APIs it opens."""
Calls = Callable[[str], frozenset[str]]
"""By actor the APIs it ever called."""


@dataclass(frozen=True)
class Decision:
    """What a person decided about a client or user: `client:mes`, `user:zhang`."""

    subject: str
    withdraw: Sequence[str] = ()
    """Roles that are taken away."""
    disable: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Reviewing:
    """Reviews of one home. `grants` are what the project's roles open; None where there is no project."""

    callers: Callers
    grants: Callable[[], Grants | None]
    calls: Calls
    person: Callable[[], Person]

    def review(self, unused_days: int) -> dict[str, Any]:
        """Everybody with what is unused or too broad, and how it was last decided."""
        with self.callers.opened() as identities:
            subjects = [self._reviewed(identities, *one, unused_days) for one in _everybody(identities)]
            due = [self._ending(one) for one in endings(identities, self.callers) if one.days(self._now()) >= 0]
        return {"subjects": subjects, "expiring": due, "findings": sum(len(one["findings"]) for one in subjects)}

    def sign_off(self, decision: Decision) -> dict[str, Any]:
        """Record a decision, after doing what it says."""
        from tongqu.store.identity.reviews import Review

        who = self.person()
        with self.callers.opened() as identities:
            found = dict(_everybody(identities))
            if decision.subject not in found:
                raise UnknownNameError(
                    f"there is no {decision.subject!r}",
                    hint="client:NAME or user:NAME",
                    params={"name": decision.subject},
                )
            one = found[decision.subject]
            if decision.subject == f"user:{who.actor}":
                raise InvalidPlanError("nobody signs off their own rights", hint="let another person do it")
            if missing := [role for role in decision.withdraw if role not in one.roles]:
                raise InvalidPlanError(
                    f"{decision.subject} has no role {missing[0]!r}", hint=f"valid: {', '.join(one.roles)}"
                )
            codes = [told["code"] for told in self._findings(identities, decision.subject, one, 90)]
            self._do(identities, decision, one)
            done = "disabled" if decision.disable else "withdrawn" if decision.withdraw else "kept"
            reason = ", ".join(decision.withdraw) + (": " if decision.withdraw and decision.reason else "")
            review = Review(decision.subject, done, who.actor, who.account, reason + decision.reason, codes)
            identities.reviews.add(review)
        return {"subject": decision.subject, "decision": done, "actor": who.actor, "findings": codes}

    def history(self, subject: str) -> dict[str, Any]:
        """Decisions, newest first."""
        with self.callers.opened() as identities:
            return {"reviews": [_shown(one) for one in identities.reviews.list(subject)]}

    def expiring(self, *, new: bool) -> dict[str, Any]:
        """What ends within 30 days, or has ended; with `new` only what nobody was warned about at 30, 7 or 1 days."""
        with self.callers.opened() as identities:
            found = [one for one in endings(identities, self.callers) if one.days(self._now()) >= 0]
            chosen = identities.reviews.newly_due(found) if new else found
            return {"expiring": [self._ending(one) for one in chosen]}

    def _do(self, identities: Identities, decision: Decision, one: Client | User) -> None:
        values: dict[str, Any] = {}
        if decision.withdraw:
            values["roles"] = tuple(role for role in one.roles if role not in decision.withdraw)
        if decision.disable:
            values["disabled"] = True
        if not values:
            return
        kind, _, name = decision.subject.partition(":")
        if kind == "client":
            identities.clients.change(name, **values)
        else:
            identities.users.change(name, **values)
            if decision.disable:
                identities.users.log_out(name)

    def _reviewed(self, identities: Identities, subject: str, one: Client | User, days: int) -> dict[str, Any]:
        last = next(iter(identities.reviews.list(subject)), None)
        return {
            "subject": subject,
            "roles": list(one.roles),
            "used": _told(one.used),
            "findings": self._findings(identities, subject, one, days),
            "reviewed": _shown(last) if last else None,
        }

    def _findings(self, identities: Identities, subject: str, one: Client | User, days: int) -> list[dict[str, str]]:
        from tongqu.store.identity.users import ADMIN_ROLES, User

        now = self._now()
        found: list[tuple[str, str]] = []
        if now - (one.used or one.created) > days * DAY:
            found.append(("unused", _told(one.used)))
        if one.disabled:
            found.append(("disabled", ""))
        roles = one.all_roles if isinstance(one, User) else frozenset(one.roles)
        if isinstance(one, User) and one.administrator and not one.totp_confirmed:
            found.append(("second_factor", ""))
        if len(had := sorted(ADMIN_ROLES & roles)) > 1:
            found.append(("duties", ", ".join(had)))
        found += self._broad(subject, set(one.roles), one, days)
        if subject.startswith("client:"):
            for key in identities.clients.credentials(subject.removeprefix("client:")):
                if not key.alive(now):
                    continue
                if now - (key.used or key.created) > days * DAY:
                    found.append(("key.unused", key.id))
                if key.expires is None and now - key.created > _OLD_KEY * DAY:
                    found.append(("key.old", key.id))
        return [{"code": code, "about": about} for code, about in found]

    def _broad(self, subject: str, roles: set[str], one: Client | User, days: int) -> list[tuple[str, str]]:
        """Roles that open nothing, and those that open only what was never called, after the first days."""
        from tongqu.store.identity.users import ADMIN_ROLES

        grants = self.grants()
        if grants is None:
            return []
        empty = [("role.empty", role) for role in sorted(roles - set(grants) - ADMIN_ROLES)]
        if self._now() - one.created <= days * DAY:
            return empty
        called = self.calls(subject)
        return empty + [("role.unused", role) for role in sorted(roles & set(grants)) if not grants[role] & called]

    def _ending(self, one: Ending) -> dict[str, Any]:
        left = int((one.expires - self._now()) // DAY)
        return {"subject": one.subject, "item": one.what, "expires": _told(one.expires), "days": left}

    def _now(self) -> float:
        return self.callers.clock().timestamp()


def endings(identities: Identities, callers: Callers) -> Sequence[Ending]:
    """Everything of a home's identities that ends by itself: accounts, keys, certificates, passwords."""
    from tongqu.gateway.auth.passwords import EXPIRE_SECONDS
    from tongqu.store.identity.reviews import Ending

    found = [Ending(subject, "account", one.expires) for subject, one in _everybody(identities) if one.expires]
    found += [
        Ending(f"client:{key.client}", key.id, key.expires)
        for key in identities.clients.credentials()
        if key.expires is not None and key.revoked is None
    ]
    if callers.settings().profile == "mlps":
        found += [
            Ending(f"user:{user.name}", "password", user.changed + EXPIRE_SECONDS) for user in identities.users.list()
        ]
    return sorted(found, key=lambda one: one.expires)


def called(home: Home, actor: str) -> frozenset[str]:
    """The APIs that an actor ever called, as the audit sums them up."""
    from contextlib import closing

    from tongqu.store.audit.usage import Usage

    if not home.api_usage.exists():
        return frozenset()
    with closing(Usage.open(home)) as usage:
        return frozenset(api for api, _, client in usage.last_calls() if client == actor)


def granted(apis: Mapping[str, Any]) -> Grants:
    """By role the APIs that the section `apis` opens for it."""
    found: dict[str, set[str]] = {}
    for name, entry in apis.items():
        access = entry.get("access") if isinstance(entry, Mapping) else None
        access = access if isinstance(access, Mapping) else {}
        rules = [rule for rule in access.get("rules") or () if isinstance(rule, Mapping)]
        fields = [told for told in (access.get("fields") or {}).values() if isinstance(told, Mapping)]
        told = [access.get("roles"), access.get("write_roles"), *(one.get("roles") for one in (*rules, *fields))]
        for roles in told:
            for role in [roles] if isinstance(roles, str) else roles or ():
                found.setdefault(str(role), set()).add(str(entry.get("name") or name))
    return {role: frozenset(names) for role, names in found.items()}


def _everybody(identities: Identities) -> list[tuple[str, Client | User]]:
    clients = [(f"client:{one.id}", one) for one in identities.clients.list()]
    return [*clients, *((f"user:{one.name}", one) for one in identities.users.list())]


def _shown(review: Review) -> dict[str, Any]:
    return {
        "at": _told(review.at),
        "subject": review.subject,
        "decision": review.decision,
        "actor": review.actor,
        "account": review.account,
        "reason": review.reason,
        "findings": list(review.findings),
    }


def _told(at: float | None) -> str:
    return instant(datetime.fromtimestamp(at, UTC)) if at else ""
