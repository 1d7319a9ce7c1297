"""Who may manage what: the rights, and the roles that give them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tongqu.gateway.auth.settings import IdentitySettings
    from tongqu.store.identity.identities import Identities

Right = Literal["look", "change", "run", "rows", "calls", "system", "security", "policy", "audit", "known"]
"""`look`: at what is published, runs and versions (no rows of data). `change`: what is published. `run`: start runs and
put rows in again. `rows`: see rows of data (quarantine, profiles). `calls`: who called an API. `system`: limits,
metrics, the cache. `security`: clients, people, tokens, secrets, reviews. `policy`: what a caller sees. `audit`: the
trail. `known`: anybody who has some right."""

ROLES: dict[str, frozenset[Right]] = {
    "system_admin": frozenset(("look", "system")),
    "security_admin": frozenset(("look", "security", "policy")),
    "audit_admin": frozenset(("audit", "calls")),
    "project_admin": frozenset(("look", "change", "run", "rows", "calls", "policy")),
    "project_operator": frozenset(("look", "run", "rows")),
    "project_viewer": frozenset(("look",)),
}
"""What each role may. A role that is not here may nothing."""

EVERY: frozenset[Right] = frozenset(("known", *(right for rights in ROLES.values() for right in rights)))


def rights_of(roles: Iterable[str]) -> frozenset[Right]:
    """All that these roles may, taken together."""
    found = frozenset(right for role in roles for right in ROLES.get(role, ()))
    return found | {"known"} if found else found


def too_many_duties(roles: Iterable[str]) -> bool:
    """Whether somebody has two duties of administrators, which are kept apart where the project says so."""
    from tongqu.store.identity.users import ADMIN_ROLES

    return len(ADMIN_ROLES.intersection(roles)) > 1


def rights_at(identities: Identities, settings: IdentitySettings, account: str) -> frozenset[Right]:
    """What the person of an account of the operating system may: everything where duties are not kept apart, or nobody
    is there yet who can give them (until then the first people are made)."""
    at = identities.database.seconds()
    if not settings.apart or not any(
        "security_admin" in one.all_roles and one.alive(at) for one in identities.users.list()
    ):
        return EVERY
    user = identities.users.get(settings.accounts.get(account, account))
    if user is None or not user.alive(at) or too_many_duties(user.all_roles):
        return frozenset()
    return rights_of(user.all_roles)
