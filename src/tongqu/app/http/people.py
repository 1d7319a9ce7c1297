"""People who may log in, and reviews of who may what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from tongqu.app.http.identity import not_oneself
from tongqu.app.http.operation import Asked, Given, Operation
from tongqu.core.errors import UnknownNameError
from tongqu.core.settings import Names, Secret


class OfUser(Given):
    """Names a person."""

    name: str
    """The person's name."""


class AddUser(OfUser):
    """A new person."""

    password: Secret
    """The first password."""
    roles: Names = ()
    """Roles."""
    attributes: Names = ()
    """`NAME=VALUE`."""
    duties: Names = ()
    """Duties of an administrator: `system`, `security`, `audit`."""
    expires: str = ""
    """When the account ends."""
    keep_password: bool = False
    """The password need not be changed at the first login."""


class SetPassword(OfUser):
    """A new password."""

    password: Secret
    """The password."""
    keep_password: bool = False
    """It need not be changed at the next login."""


class Confirm(OfUser):
    """The second factor."""

    code: str = ""
    """Digits of the new secret, which count from now on; nothing: make a secret."""


class ChangeUser(OfUser):
    """What is given replaces what was."""

    roles: Names = ()
    """Roles."""
    attributes: Names = ()
    """`NAME=VALUE`."""


class Unused(Given):
    """What a review finds unused."""

    days: int = Field(default=90, ge=1)
    """Days without use."""


class Decide(Given):
    """A decision about a client or person."""

    subject: str
    """`client:NAME` or `user:NAME`."""
    withdraw: Names = ()
    """Roles that are taken away."""
    disable: bool = False
    """Nobody may use it from now on."""
    reason: str = ""
    """Why."""


class History(Given):
    """Whose decisions."""

    subject: str = ""
    """`client:NAME` or `user:NAME`; nothing: all."""


def _people(asked: Asked) -> Any:
    from tongqu.app.services.people import People

    return People(asked.wire.callers())


def _list(asked: Asked, given: Given) -> Mapping[str, Any]:
    """The people."""
    found: Mapping[str, Any] = _people(asked).list()
    return found


def _show(asked: Asked, given: OfUser) -> Mapping[str, Any]:
    """One person."""
    for user in _people(asked).list()["users"]:
        if user["name"] == given.name:
            return {"users": [user]}
    raise UnknownNameError(f"there is no user {given.name!r}", hint="tongqu user list", params={"name": given.name})


def _add(asked: Asked, given: AddUser) -> Mapping[str, Any]:
    """Add a person."""
    from tongqu.app.services.people import NewUser

    new = NewUser(given.name, given.roles, given.attributes, given.duties, given.expires, given.keep_password)
    return {"users": [_people(asked).add(new, given.password.get_secret_value)]}


def _password(asked: Asked, given: SetPassword) -> Mapping[str, Any]:
    """Give a person a new password; their sessions end."""
    done: Mapping[str, Any] = _people(asked).password(
        given.name, given.password.get_secret_value, keep=given.keep_password
    )
    return done


def _totp(asked: Asked, given: Confirm) -> Mapping[str, Any]:
    """Give a person a second factor, shown once, then confirm it."""
    done: Mapping[str, Any] = _people(asked).totp(given.name, given.code)
    return done


def _change(asked: Asked, given: ChangeUser) -> Mapping[str, Any]:
    """Replace what a person may be."""
    not_oneself(asked, f"user:{given.name}")
    return {"users": [_people(asked).change(given.name, given.roles, given.attributes)]}


def _disable(asked: Asked, given: OfUser) -> Mapping[str, Any]:
    """Let a person in no more; their sessions end."""
    return {"users": [_people(asked).enable(given.name, enabled=False)]}


def _enable(asked: Asked, given: OfUser) -> Mapping[str, Any]:
    """Let a person in again."""
    not_oneself(asked, f"user:{given.name}")
    return {"users": [_people(asked).enable(given.name, enabled=True)]}


def _unlock(asked: Asked, given: OfUser) -> Mapping[str, Any]:
    """Forget the wrong passwords of an account."""
    done: Mapping[str, Any] = _people(asked).unlock(given.name)
    return done


def _log_out(asked: Asked, given: OfUser) -> Mapping[str, Any]:
    """End all sessions and tokens of a person."""
    done: Mapping[str, Any] = _people(asked).log_out(given.name)
    return done


def _remove(asked: Asked, given: OfUser) -> Mapping[str, Any]:
    """Forget a person."""
    done: Mapping[str, Any] = _people(asked).remove(given.name)
    return done


def _reviewing(asked: Asked) -> Any:
    from dataclasses import replace

    return replace(asked.wire.reviewing(), person=lambda: asked.person)


def _review(asked: Asked, given: Unused) -> Mapping[str, Any]:
    """Who has what they do not use or should not have."""
    found: Mapping[str, Any] = _reviewing(asked).review(given.days)
    return found


def _decide(asked: Asked, given: Decide) -> Mapping[str, Any]:
    """Sign off what somebody may, or withdraw it."""
    from tongqu.app.services.reviewing import Decision

    not_oneself(asked, given.subject)
    told = Decision(given.subject, given.withdraw, given.disable, given.reason)
    done: Mapping[str, Any] = _reviewing(asked).sign_off(told)
    return done


def _history(asked: Asked, given: History) -> Mapping[str, Any]:
    """What was decided, by whom."""
    found: Mapping[str, Any] = _reviewing(asked).history(given.subject)
    return found


def _expiring(asked: Asked, given: Given) -> Mapping[str, Any]:
    """Keys, certificates, passwords and accounts that end soon."""
    found: Mapping[str, Any] = _reviewing(asked).expiring(new=False)
    return found


OPERATIONS = (
    Operation("user.list", "GET", "/users", "security", _list),
    Operation("user.show", "GET", "/users/{name}", "security", _show, OfUser),
    Operation("user.add", "POST", "/users", "security", _add, AddUser, status=201, about=("name",)),
    Operation("user.change", "PATCH", "/users/{name}", "security", _change, ChangeUser, "user.show"),
    Operation("user.remove", "DELETE", "/users/{name}", "security", _remove, OfUser, "user.show"),
    Operation("user.password", "PUT", "/users/{name}/password", "security", _password, SetPassword, "user.show"),
    Operation("user.totp", "POST", "/users/{name}/totp", "security", _totp, Confirm, "user.show"),
    Operation("user.disable", "POST", "/users/{name}/disable", "security", _disable, OfUser, "user.show"),
    Operation("user.enable", "POST", "/users/{name}/enable", "security", _enable, OfUser, "user.show"),
    Operation("user.unlock", "POST", "/users/{name}/unlock", "security", _unlock, OfUser, "user.show"),
    Operation("user.logout", "DELETE", "/users/{name}/sessions", "security", _log_out, OfUser, "user.show"),
    Operation("access.review", "GET", "/access", "security", _review, Unused),
    Operation("access.decide", "POST", "/access/{subject}", "security", _decide, Decide, "access.review"),
    Operation("access.history", "GET", "/access/history", "security", _history, History),
    Operation("access.expiring", "GET", "/access/expiring", "security", _expiring),
)
