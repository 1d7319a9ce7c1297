"""Which right a command of the command line needs where the duties of administrators are kept apart, and who has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tongqu.app.http.rights import Right, rights_at
from tongqu.core.errors import AccessError

if TYPE_CHECKING:
    from tongqu.app.wire import Wire
    from tongqu.gateway.auth.settings import IdentitySettings
    from tongqu.store.identity.identities import Identities

RIGHTS: Mapping[str, Right] = {
    "agent.add": "security",
    "agent.remove": "security",
    "audit.export": "audit",
    "calls.retry": "run",
    "calls.undo": "run",
    "connectors.install": "system",
    "connectors.remove": "system",
    "diff": "run",
    "drill": "system",
    "intake.drop": "change",
    "intake.replay": "run",
    "privacy.erase": "change",
    "privacy.export": "rows",
    "privacy.hold": "change",
    "privacy.purge": "change",
    "privacy.release": "change",
    "promote": "change",
    "reconcile.run": "run",
    "runs.backfill": "run",
    "runs.pause": "run",
    "runs.resume": "run",
    "secret.import": "security",
    "secret.init": "security",
    "token.keys": "security",
    "twoway.run": "run",
    "undo": "run",
    "webhook.test": "run",
}
"""The rights of commands that the management API does not have under the same name."""


def guard(wire: Wire, command: str) -> None:
    """The one guard of the command line: raises AccessError where the person at it may not call a command that changes
    something. That it was refused stands in the audit trail."""
    from tongqu.app.services.auditing import operator
    from tongqu.app.services.versioning import person

    settings = wire.identity_settings()
    if not settings.apart:
        return
    try:
        with wire.callers().opened() as identities:
            Duties(identities, settings).judge(command, person().account)
    except AccessError:
        trail = wire.trail()
        try:
            trail.note("duty", on=command.replace(" ", "."), who=operator())
        finally:
            trail.close()
        raise


def right_of(command: str) -> Right | None:
    """The right that a command needs (its words, with spaces or dots); None for one that needs none: it only looks at
    what is the caller's anyway, or is no management."""
    from tongqu.app.http.table import OPERATIONS

    name = command.replace(" ", ".")
    if name in RIGHTS:
        return RIGHTS[name]
    found = OPERATIONS.get(name)
    return found.right if found is not None else None


@dataclass(frozen=True)
class Duties:
    """Who may what at the command line of one home. A person is known by the account of the operating system: the
    section `identity.accounts` says whose it is, else it is that of the person of the same name. What stands in the
    environment (`TONGQU_ACTOR`) is no proof and not looked at."""

    identities: Identities
    settings: IdentitySettings

    def rights(self, account: str) -> frozenset[Right]:
        """What the person of an account may; everything where duties are not kept apart."""
        return rights_at(self.identities, self.settings, account)

    def judge(self, command: str, account: str) -> None:
        """Raises AccessError where the person of the account may not call a command that changes something."""
        right = right_of(command)
        if right is None or right in self.rights(account):
            return
        name = self.settings.accounts.get(account, account)
        raise AccessError(
            f"`tongqu {command.replace('.', ' ')}` needs the right {right!r}, which {name} has not: the duties of "
            "administrators are kept apart",
            hint="let who has the duty do it, or call the gateway by --server with a token of your own",
            params={"command": command, "right": right, "name": name},
        )
