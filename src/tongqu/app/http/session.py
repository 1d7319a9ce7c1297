"""Logging in to the management API by password and second factor, for people with a browser."""

from __future__ import annotations

import asyncio
from typing import Any

from tongqu.app.http.face import Face, session_of
from tongqu.app.http.operation import PREFIX, Given
from tongqu.app.http.rights import rights_of
from tongqu.core.settings import Secret
from tongqu.gateway.auth.identify import COOKIE, same_origin
from tongqu.gateway.auth.login import Doorkeeper, Login, RefusedLoginError
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.problems import Problem

PATH = f"{PREFIX}/session"
_CODES = {"wrong": "auth.invalid", "wait": "limit.exceeded"}


class LogIn(Given):
    """Who logs in."""

    name: str
    """The person's name."""
    password: Secret
    """The password."""
    code: str = ""
    """Digits of the second factor."""
    new: Secret = Secret("")
    """The next password, where one is needed or wished."""


async def log_in(face: Face, request: Request, told: LogIn) -> tuple[Reply, dict[str, Any]]:
    """Begin a session: the cookie and what may be done with it. Raises Problem."""
    if "origin" in request.headers and not same_origin(request):
        raise Problem("auth.invalid")
    return await asyncio.to_thread(_let_in, face, request, told)


def _let_in(face: Face, request: Request, told: LogIn) -> tuple[Reply, dict[str, Any]]:
    identity = face.managed.identity
    doorkeeper = Doorkeeper(identity.identities, lambda: identity.access.settings)
    login = Login(told.name, told.password.get_secret_value(), told.code, told.new.get_secret_value(), request.address)
    try:
        user = doorkeeper.let_in(login)
    except RefusedLoginError as refused:
        wait = [("retry-after", str(int(refused.seconds) + 1))] if refused.why == "wait" else []
        raise Problem(_CODES.get(refused.why, f"auth.{refused.why}"), refused.told, headers=wait) from None
    with face.managed.trail.action(f"user:{user.name}", "session.begin", address=request.address):
        token = identity.identities.users.begin_session(user.name, request.address)
    reply = Reply(201, [("set-cookie", _cookie(request, token))])
    return reply, {
        "name": user.name, "roles": sorted(user.all_roles), "rights": sorted(rights_of(user.all_roles)),
        "csrf": face.csrf(token),
    }  # fmt: skip


def shown(face: Face, request: Request) -> dict[str, Any]:
    """Who the caller is and may do, with the CSRF token of their session. Raises Problem."""
    rights = face.known(request)
    if not request.actor.known:
        raise Problem("auth.missing")
    session = session_of(request)
    return {
        "name": request.actor.id, "roles": sorted(request.actor.roles), "rights": sorted(rights),
        "csrf": face.csrf(session) if session else "",
    }  # fmt: skip


def log_out(face: Face, request: Request) -> Reply:
    """End the session at once. Raises Problem."""
    session = session_of(request)
    if not session:
        raise Problem("auth.missing")
    with face.managed.trail.action(request.actor.id, "session.end", address=request.address):
        face.managed.identity.identities.users.end_session(session)
    gone = f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
    return Reply(204, [("set-cookie", gone), ("cache-control", "no-store")])


def _cookie(request: Request, token: str) -> str:
    secure = "; Secure" if request.scheme == "https" else ""
    return f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict{secure}"
