"""Changes of records that good manufacturing practice watches: a reason, an electronic signature, a second person."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from tongqu.core.policy import Actor
from tongqu.gateway.auth.login import Doorkeeper, Login, RefusedLoginError
from tongqu.gateway.exchange import Notes, Request
from tongqu.gateway.ledger import Ledger
from tongqu.gateway.policy.decision import Action
from tongqu.gateway.problems import Kind, Problem, declare
from tongqu.gateway.publication import Api
from tongqu.gateway.writing import ACTIONS, Edit, Writer, Written
from tongqu.kit.serving.texts import dumps, plain
from tongqu.store.pending import KEEP_SECONDS, Pending, Waiting

if TYPE_CHECKING:
    from tongqu.core.server import Idempotency
    from tongqu.gateway.publication import Publication
    from tongqu.gateway.reading import Reader
    from tongqu.store.identity.users import User

declare(
    {
        "gmp.reason": Kind(428, "a reason for the change is needed", "需要提供修改原因"),
        "gmp.signature": Kind(403, "an electronic signature is needed", "需要电子签名"),
        "gmp.approval": Kind(403, "the signature of a second person is needed", "需要第二人签名"),
    }
)
REASON, SIGNATURE, APPROVAL = "tongqu-reason", "tongqu-signature", "tongqu-approval"
_LONGEST = 500
_SHOWN = 20_000
"""Characters of a change that who approves is shown."""
_PENDING = re.compile(r"pending(?: +(chg_[0-9a-f]{16}))?", re.IGNORECASE)
_SIGNED = re.compile(r"Basic +([A-Za-z0-9+/=]{4,2000})(?: *; *otp=([0-9]{6,8}))?", re.IGNORECASE)
CALL: ContextVar[Request | None] = ContextVar("call", default=None)
"""The request that is being answered."""


class Identify(Protocol):
    """Turns a request into an actor."""

    async def actor(self, request: Request) -> Actor:
        """See `gateway.stages`."""
        ...


@dataclass(frozen=True)
class Calling:
    """Remembers the request in whose course everything after it is done."""

    identify: Identify

    async def actor(self, request: Request) -> Actor:
        """The actor of the request."""
        CALL.set(request)
        return await self.identify.actor(request)


@dataclass(frozen=True)
class Signing:
    """Checks and records signatures. `person` gives the actor that a person is, `note` commits a record to the audit
    trail and raises AuditError where it cannot.

    The second one may be given later: then the change waits in a queue, and is sent again once it has been approved.
    A signature is the name and password of a person, with the second factor where it has one, given anew with each
    change (21 CFR 11.200). Whoever calls as a person signs as itself; the one who approves is another one. Both must be
    allowed to make the change by the rules of the API.
    """

    doorkeeper: Doorkeeper
    person: Callable[[User], Actor]
    note: Callable[..., Any]
    pending: Pending | None = None
    """Where changes wait that come without the second signature; without one such are refused."""
    user: Callable[[str], User | None] = lambda name: None
    """A person who is alive, by name."""
    now: Callable[[], float] = time.time

    @asynccontextmanager
    async def signed(self, api: Api, actor: Actor, edit: Edit, actions: Sequence[Action]) -> AsyncIterator[None]:
        """Around a change: what was signed, by whom and why is on disk before it is made, and its outcome after.

        Raises Problem `gmp.reason`, `gmp.signature`, `gmp.approval`, `limit.exceeded`.
        """
        request = CALL.get()
        headers = request.headers if request is not None else {}
        reason = " ".join(unquote(headers.get(REASON, "")).split())
        if not 1 <= len(reason) <= _LONGEST or not reason.isprintable():
            raise Problem("gmp.reason", f"say why in the header Tongqu-Reason: 1 to {_LONGEST} characters, "
                          "percent-encoded UTF-8")  # fmt: skip
        login = self._read(headers, SIGNATURE, "gmp.signature")
        later = _PENDING.fullmatch(headers.get(APPROVAL, "").strip() or "pending")
        second = None if later and self.pending is not None else self._read(headers, APPROVAL, "gmp.approval")
        if second is not None and login.name.casefold() == second.name.casefold():
            raise Problem("gmp.approval", "who approves is another person than who signs")
        if actor.kind == "user" and actor.id != f"user:{login.name}":
            raise Problem("gmp.signature", "you sign as yourself")
        address = request.address if request is not None else ""
        signer = await self._person(login, address, "gmp.signature")
        if second is not None:
            approver = await self._person(second, address, "gmp.approval")
        else:
            if not all(api.policy.decide(signer, action).allowed for action in actions):
                raise Problem("gmp.signature", "this person may not make this change")
            approver = await self._approved(later[1] if later else "", api, edit, signer, reason)
        for who, code in ((signer, "gmp.signature"), (approver, "gmp.approval")):
            if not all(api.policy.decide(who, action).allowed for action in actions):
                raise Problem(code, "this person may not make this change")
        told = {
            "who": signer.id, "approver": approver.id, "caller": actor.id, "reason": reason, "what": edit.verb,
            "api": api.name, "version": api.version, "of": digest(edit), "id": request.id if request else "",
        }  # fmt: skip
        begun = await asyncio.to_thread(self.note, "signed", outcome="begun", **told)
        outcome = "failed"
        try:
            yield
            outcome = "done"
        except Problem as problem:
            outcome = problem.code
            raise
        finally:
            await asyncio.to_thread(self.note, "signed", outcome=outcome, begun=begun.seq, **told)

    async def _approved(self, id: str | None, api: Api, edit: Edit, signer: Actor, reason: str) -> Actor:
        """Who signed the change second, in the queue, where it waits from now on if nobody did. Raises Problem
        `gmp.approval`, which tells its id."""
        pending, at = self.pending, self.now()
        assert pending is not None  # noqa: S101  only then it is asked for
        if id:
            name = await asyncio.to_thread(pending.spend, id, api.path, digest(edit), signer.id, at)
            user = await asyncio.to_thread(self.user, name.removeprefix("user:")) if name else None
            if user is None:
                raise Problem("gmp.approval", f"nobody approved this very change as {id}, or its time is over")
            return self.person(user)
        shown = {"rows": edit.rows, "where": repr(edit.where) if edit.where is not None else None,
                 "columns": list(edit.columns or ())}  # fmt: skip
        one = Waiting(
            f"chg_{secrets.token_hex(8)}", api.path, digest(edit), edit.verb, dumps(plain(shown)).decode()[:_SHOWN],
            signer.id, reason, at, at + KEEP_SECONDS,
        )  # fmt: skip
        kept = await asyncio.to_thread(pending.put, one)
        raise Problem(
            "gmp.approval", f"the change waits as {kept}: when a second person has approved it (`tongqu api approve`), "
            f"send it again with Tongqu-Approval: Pending {kept}", headers=[("tongqu-pending", kept)],
            more={"pending": kept},
        )  # fmt: skip

    def _read(self, headers: Any, name: str, code: str) -> Login:
        found = _SIGNED.fullmatch(headers.get(name, "").strip())
        shown = "-".join(part.capitalize() for part in name.split("-"))
        try:
            plain = base64.b64decode(found[1], validate=True).decode() if found else ""
        except (binascii.Error, UnicodeDecodeError):
            plain = ""
        person, sign, password = plain.partition(":")
        if found is None or not sign or not person or not password:
            raise Problem(code, f"send {shown}: Basic base64(name:password), with `; otp=CODE` for a second factor")
        return Login(person, password, found[2] or "")

    async def _person(self, login: Login, address: str, code: str) -> Actor:
        checked = Login(login.name, login.password, login.code, address=address)
        try:
            return self.person(await asyncio.to_thread(self.doorkeeper.let_in, checked))
        except RefusedLoginError as refused:
            if refused.why == "wait":
                raise Problem("limit.exceeded", headers=[("retry-after", str(int(refused.seconds) + 1))]) from None
            why = {"wrong": "the name or password is wrong", "code": "the second factor is missing or wrong"}
            raise Problem(
                code, why.get(refused.why, "this person must log in and renew its credentials first")
            ) from None


class SigningWriter(Writer):
    """Writes as `Writer` does, and where `write.gmp` says so only what was signed."""

    def __init__(self, reader: Reader, ledger: Ledger | None, signing: Signing) -> None:
        super().__init__(reader, ledger)
        self._signing = signing

    async def write(
        self,
        api: Api,
        actor: Actor,
        edit: Edit,
        idempotency: Idempotency | None,
        notes: Notes,
        *,
        within: Publication | None = None,
    ) -> Written:
        """See Writer.write; besides Problem `gmp.*`. Whoever may not make the change is refused as ever, unsigned."""
        actions = ACTIONS[edit.verb]
        if not api.entry.write.gmp or not all(api.policy.decide(actor, action).allowed for action in actions):
            return await super().write(api, actor, edit, idempotency, notes, within=within)
        async with self._signing.signed(api, actor, edit, actions):
            return await super().write(api, actor, edit, idempotency, notes, within=within)


def digest(edit: Edit) -> str:
    """What ties a signature to the very change: a digest of its verb, rows and conditions."""
    told = repr((edit.verb, edit.rows, edit.where, edit.conflict, edit.columns, edit.missing, edit.whole))
    return blake2b(told.encode("utf-8", "surrogatepass"), digest_size=24).hexdigest()
