"""People: added, given a password and a second factor, locked out and let in again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tongqu.app.services.identity import Callers, apart, attributes, moment
from tongqu.core.errors import InvalidPlanError
from tongqu.store.runs import instant

if TYPE_CHECKING:
    from tongqu.store.identity.identities import Identities
    from tongqu.store.identity.users import User


@dataclass(frozen=True)
class NewUser:
    """A person who is to be added."""

    name: str
    roles: Sequence[str] = ()
    attributes: Sequence[str] = ()
    duties: Sequence[str] = ()
    expires: str = ""
    keep_password: bool = False
    """The password is the person's own and need not be changed at the first login."""


@dataclass(frozen=True)
class People:
    """The people of one home. Every method gives the document that a command prints; no password is in any."""

    callers: Callers

    def add(self, new: NewUser, password: Callable[[], str]) -> dict[str, Any]:
        """Add a person; `password` is asked for last. There is no account that exists without this."""
        from tongqu.gateway.auth.login import unfit
        from tongqu.gateway.auth.passwords import hashed
        from tongqu.store.identity.users import DUTIES, User

        settings = self.callers.settings()
        if unknown := [duty for duty in new.duties if duty not in DUTIES]:
            raise InvalidPlanError(f"there is no duty {unknown[0]!r}", hint=f"valid: {', '.join(DUTIES)}")
        apart((*new.roles, *(f"{duty}_admin" for duty in new.duties)), settings.apart)
        user = User(
            new.name,
            roles=tuple(dict.fromkeys(new.roles)),
            attributes=attributes(new.attributes),
            duty=",".join(dict.fromkeys(new.duties)),
            expires=moment(new.expires, self.callers.clock()),
            must_change=not new.keep_password,
        )
        with self.callers.opened() as identities:
            if identities.users.get(new.name):
                raise InvalidPlanError(f"there is a user {new.name!r} already", hint="tongqu user list")
            text = self._asked(password)
            if told := unfit(identities, user, text, settings.profile):
                raise InvalidPlanError(told, hint="a sentence of several words is long and easy to remember")
            made = identities.users.add(_with_hash(user, hashed(text)))
            return self._document(identities, made)

    def password(self, name: str, password: Callable[[], str], *, keep: bool) -> dict[str, Any]:
        """Give a person a new password; their sessions and tokens end."""
        from tongqu.gateway.auth.login import unfit
        from tongqu.gateway.auth.passwords import REMEMBERED, hashed

        with self.callers.opened() as identities:
            user = identities.users.known(name)
            text = self._asked(password)
            if told := unfit(identities, user, text, self.callers.settings().profile):
                raise InvalidPlanError(told, hint="a sentence of several words is long and easy to remember")
            identities.users.set_password(name, hashed(text), keep=REMEMBERED, must_change=not keep)
            identities.users.forgive("account", name.casefold())
        return {"changed": name}

    def totp(self, name: str, code: str) -> dict[str, Any]:
        """Without a code a new TOTP secret, shown once; with one, the secret counts from now on."""
        from tongqu.gateway.auth.second_factor import enrolled, spent

        with self.callers.opened() as identities:
            identities.users.known(name)
            if not code:
                secret, uri = enrolled(identities.users, name)
                self.callers.scrubber.add(secret)
                return {"name": name, "secret": secret, "uri": uri, "confirmed": False}
            if not spent(identities.users, name, code, self.callers.clock().timestamp()):
                raise InvalidPlanError(
                    "the code is not right", hint="look at the clocks of both devices", path="--code"
                )
            identities.users.change(name, totp_confirmed=True)
        return {"name": name, "confirmed": True}

    def enable(self, name: str, *, enabled: bool) -> dict[str, Any]:
        """Let a person in again, or out at once."""
        with self.callers.opened() as identities:
            identities.users.change(name, disabled=not enabled)
            if not enabled:
                identities.users.log_out(name)
            return self._document(identities, identities.users.known(name))

    def unlock(self, name: str) -> dict[str, Any]:
        """Forget the wrong passwords of an account."""
        with self.callers.opened() as identities:
            identities.users.known(name)
            identities.users.forgive("account", name.casefold())
        return {"unlocked": name}

    def log_out(self, name: str) -> dict[str, Any]:
        """End every session and token of a person."""
        with self.callers.opened() as identities:
            identities.users.log_out(name)
        return {"logged_out": name}

    def change(self, name: str, roles: Sequence[str], told: Sequence[str]) -> dict[str, Any]:
        """Replace the roles or attributes of a person, those that are given."""
        with self.callers.opened() as identities:
            user = identities.users.known(name)
            apart((*roles, *(f"{duty}_admin" for duty in user.duties)), self.callers.settings().apart)
            values: dict[str, Any] = {"roles": tuple(dict.fromkeys(roles))} if roles else {}
            if told:
                values["attributes"] = attributes(told)
            identities.users.change(name, **values)
            return self._document(identities, identities.users.known(name))

    def remove(self, name: str) -> dict[str, Any]:
        """Forget a person."""
        with self.callers.opened() as identities:
            identities.users.log_out(name)
            identities.users.remove(name)
        return {"removed": name}

    def list(self) -> dict[str, Any]:
        """All people."""
        with self.callers.opened() as identities:
            return {"users": [self._document(identities, user) for user in identities.users.list()]}

    def _asked(self, password: Callable[[], str]) -> str:
        text = password()
        self.callers.scrubber.add(text)
        return text

    def _document(self, identities: Identities, user: User) -> dict[str, Any]:
        at = self.callers.clock().timestamp()
        locked = identities.users.blocked_until("account", user.name.casefold()) > at
        state = "disabled" if user.disabled else "expired" if not user.alive(at) else "locked" if locked else "active"
        return {
            "name": user.name,
            "id": user.id,
            "roles": list(user.roles),
            "duties": list(user.duties),
            "attributes": dict(user.attributes),
            "state": state,
            "second_factor": user.totp_confirmed,
            "must_change": user.must_change,
            "created": _told(user.created),
            "expires": _told(user.expires),
            "used": _told(user.used),
        }


def _with_hash(user: User, hash: str) -> User:
    from dataclasses import replace

    return replace(user, password=hash)


def _told(at: float | None) -> str:
    return instant(datetime.fromtimestamp(at, UTC)) if at else ""
