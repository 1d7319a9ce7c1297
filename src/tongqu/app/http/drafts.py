"""Drafts of APIs: what their reviewers say, and publishing them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tongqu.app.http.operation import Asked, Given, Operation
from tongqu.app.http.project import versions_of
from tongqu.app.http.rights import EVERY, Right, rights_at, rights_of
from tongqu.core.settings import Secret

if TYPE_CHECKING:
    from tongqu.app.services.drafting import Drafting, Signer


class OfDraft(Given):
    """One draft."""

    name: str
    """Its entry under `apis`."""


class Say(OfDraft):
    """A comment."""

    text: str = Field(min_length=1, max_length=4000)
    """What is said."""
    on: str = ""
    """About which place in it: `fields.weight`, `limit.requests`; nothing: the whole."""


class Settle(OfDraft):
    """A comment that is dealt with."""

    id: int = Field(ge=1)
    """The comment."""


class Judge(OfDraft):
    """A verdict; with a signature where name and password are given."""

    reason: str = ""
    """Why."""
    as_: str = Field(default="", alias="as")
    """Who signs, instead of who asks."""
    password: Secret = Secret("")
    """Their password, given anew."""
    code: str = ""
    """The code of their second factor."""


class Publish(OfDraft):
    """Publishing."""

    reason: str = ""
    """Why."""
    accept: bool = False
    """Although callers of live API versions break."""


@contextmanager
def _drafting(asked: Asked) -> Iterator[Drafting]:
    from tongqu.app.services.drafting import Drafting

    with versions_of(asked) as mine:
        yield Drafting(asked.wire.home, mine)


def _list(asked: Asked, given: Given) -> Mapping[str, Any]:
    """All drafts and where they stand."""
    with _drafting(asked) as drafts:
        return drafts.list()


def _show(asked: Asked, given: OfDraft) -> Mapping[str, Any]:
    """One draft: what it changes, what its reviewers said and judged."""
    with _drafting(asked) as drafts:
        return drafts.show(given.name)


def _comment(asked: Asked, given: Say) -> Mapping[str, Any]:
    """Say something about a draft or one place in it."""
    with _drafting(asked) as drafts:
        return drafts.comment(given.name, given.text, given.on, asked.who)


def _resolve(asked: Asked, given: Settle) -> Mapping[str, Any]:
    """A comment is dealt with."""
    with _drafting(asked) as drafts:
        return drafts.resolve(given.name, given.id, asked.who)


def _approve(asked: Asked, given: Judge) -> Mapping[str, Any]:
    """Approve a draft as it is now, as one of its reviewers."""
    return _judged(asked, given, "approved")


def _reject(asked: Asked, given: Judge) -> Mapping[str, Any]:
    """Reject a draft as it is now, as one of its reviewers."""
    return _judged(asked, given, "rejected")


def _judged(asked: Asked, given: Judge, verdict: str) -> Mapping[str, Any]:
    with _drafting(asked) as drafts:
        return drafts.judge(given.name, _signer(asked, given), verdict, given.reason)


def _publish(asked: Asked, given: Publish) -> Mapping[str, Any]:
    """Publish a draft that was approved, in one step; `pull` brings that into the files."""
    with _drafting(asked) as drafts:
        return drafts.publish(given.name, given.reason, accept=given.accept)


def _signer(asked: Asked, given: Judge) -> Signer:
    from tongqu.app.services.approving import signing
    from tongqu.app.services.drafting import Signer

    if given.as_:
        person = signing(asked.wire, given.as_, given.password.get_secret_value(), given.code)
        may = "change" in rights_of(person.all_roles)
        return Signer(f"user:{person.name}", person.all_roles, signed=True, may_change=may)
    roles, rights = _held(asked)
    return Signer(asked.who, roles, may_change="change" in rights)


def _held(asked: Asked) -> tuple[Collection[str], Collection[Right]]:
    """The roles and the rights of who asks, as they are now."""
    kind, _, name = asked.who.partition(":")
    known = asked.wire.home.identity.exists()
    if kind not in ("user", "client"):
        if not known:
            return (), EVERY
        with asked.wire.callers().opened() as identities:
            return (), rights_at(identities, asked.wire.identity_settings(), asked.person.account)
    if not known:
        return (), ()
    with asked.wire.callers().opened() as identities:
        user = identities.users.get(name) if kind == "user" else None
        client = identities.clients.get(name) if kind == "client" else None
    roles = user.all_roles if user is not None else client.roles if client is not None else ()
    return roles, rights_of(roles)


_COMMENT = "/drafts/{name}/comments/{id}/resolve"
OPERATIONS = (
    Operation("draft.list", "GET", "/drafts", "look", _list),
    Operation("draft.show", "GET", "/drafts/{name}", "look", _show, OfDraft),
    Operation("draft.comment", "POST", "/drafts/{name}/comments", "look", _comment, Say, status=201),
    Operation("draft.resolve", "POST", _COMMENT, "look", _resolve, Settle),
    Operation("draft.approve", "POST", "/drafts/{name}/approve", "look", _approve, Judge, "draft.show"),
    Operation("draft.reject", "POST", "/drafts/{name}/reject", "look", _reject, Judge, "draft.show"),
    Operation("draft.publish", "POST", "/drafts/{name}/publish", "change", _publish, Publish, "versions.head", 201),
)
