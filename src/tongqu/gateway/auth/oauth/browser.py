"""`/oauth/authorize` and `/oauth/logout`: where a person logs in and lets a client call in their name."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from tongqu.gateway.auth.access import Access
from tongqu.gateway.auth.identify import COOKIE, same_origin
from tongqu.gateway.auth.login import Doorkeeper, Login, RefusedLoginError
from tongqu.gateway.auth.oauth import page
from tongqu.gateway.auth.oauth.authorizing import (
    TICKET_SECONDS,
    UnsafeRedirectError,
    Wish,
    fits,
    sent_back,
    ticket,
    wish,
)
from tongqu.gateway.auth.oauth.forms import OAuthError
from tongqu.gateway.auth.oauth.grants import CODE_SECONDS
from tongqu.gateway.exchange import Reply, Request
from tongqu.store.identity.users import User

_BROWSER = "tongqu_login"


class Browser:
    """Answers browsers. Its methods hash passwords and write: they are called off the event loop."""

    def __init__(self, access: Access):
        self._access = access
        self._users = access.identities.users
        self._doorkeeper = Doorkeeper(access.identities, lambda: access.settings)

    def ask(self, request: Request, told: Mapping[str, str], issuer: str) -> Reply:
        """The page for an authorization request."""
        try:
            asked = wish(self._access, told)
        except UnsafeRedirectError:
            return page.shown(page.unsafe(request.language), status=400)
        except OAuthError as error:
            return _goes(
                sent_back(told["redirect_uri"], issuer, {"error": error.error, "state": told.get("state", "")})
            )
        return self._page(request, asked)

    def decide(self, request: Request, told: Mapping[str, str], issuer: str) -> Reply:
        """What a person answered: a code for the client, a refusal, or the page again."""
        try:
            asked = wish(self._access, told)
        except UnsafeRedirectError:
            return page.shown(page.unsafe(request.language), status=400)
        except OAuthError as error:
            return _goes(
                sent_back(told["redirect_uri"], issuer, {"error": error.error, "state": told.get("state", "")})
            )
        if "origin" in request.headers and request.headers["origin"] != "null" and not same_origin(request):
            return page.shown(page.unsafe(request.language), status=400)
        if not fits(self._access, told, _cookies(request).get(_BROWSER, "")):
            return self._page(request, asked, said="late", status=400)
        if told.get("answer") == "no":
            return _goes(sent_back(asked.redirect, issuer, {"error": "access_denied", "state": asked.state}))
        user, session = self._logged_in(request), ""
        if user is None or told.get("username"):
            try:
                user = self._doorkeeper.let_in(
                    Login(told.get("username", ""), told.get("password", ""), told.get("otp", "").strip(),
                          told.get("new_password", ""), request.address)
                )  # fmt: skip
            except RefusedLoginError as refused:
                return self._again(request, asked, refused, told.get("username", ""))
            session = self._users.begin_session(user.name, request.address)
        code = self._access.identities.tokens.add_code(
            {"client": asked.client.id, "user": user.name, "redirect": asked.redirect, "scope": list(asked.scope),
             "challenge": asked.challenge},
            CODE_SECONDS,
        )  # fmt: skip
        reply = _goes(sent_back(asked.redirect, issuer, {"code": code, "state": asked.state}))
        if session:
            reply.headers.append(("set-cookie", _cookie(COOKIE, session, request, "Lax", "/")))
        return reply

    def log_out(self, request: Request) -> Reply:
        """End the browser's session."""
        if not same_origin(request):
            raise OAuthError("invalid_request", "a session is ended from our own pages")
        if token := _cookies(request).get(COOKIE):
            self._users.end_session(token)
        gone = f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
        return Reply(204, [("set-cookie", gone), ("clear-site-data", '"cache"'), ("cache-control", "no-store")])

    def _logged_in(self, request: Request) -> User | None:
        token = _cookies(request).get(COOKIE)
        settings = self._access.settings
        return self._users.session(token, idle=settings.idle, absolute=settings.absolute) if token else None

    def _again(self, request: Request, asked: Wish, refused: RefusedLoginError, name: str) -> Reply:
        said = "code_needed" if refused.why == "code" else refused.why
        status = 429 if refused.why == "wait" else 401
        reply = self._page(request, asked, said=said, name=name, told=refused.told, status=status)
        if refused.why == "wait":
            reply.headers.append(("retry-after", str(int(refused.seconds) + 1)))
        return reply

    def _page(
        self, request: Request, asked: Wish, *, said: str = "", name: str = "", told: str = "", status: int = 200
    ) -> Reply:
        browser = _cookies(request).get(_BROWSER, "") or secrets.token_urlsafe(16)
        until = int(self._access.identities.database.seconds()) + TICKET_SECONDS
        user = None if said else self._logged_in(request)
        html = page.login(
            request.language,
            {**asked.told, "ticket": ticket(self._access, asked.told, browser, until)},
            client=asked.client.id,
            scope=" ".join(asked.scope),
            name=name,
            said=page.word(said, request.language, told=told) if said else "",
            logged_in=user.name if user else "",
        )
        cookie = ("set-cookie", _cookie(_BROWSER, browser, request, "Lax", "/oauth"))
        return page.shown(html, status=status, goes_to=asked.origin, more=[cookie])


def _goes(url: str) -> Reply:
    return Reply(303, [("location", url), ("cache-control", "no-store"), ("referrer-policy", "no-referrer")])


def _cookie(name: str, value: str, request: Request, site: str, path: str) -> str:
    secure = "; Secure" if request.scheme == "https" else ""
    return f"{name}={value}; Path={path}; HttpOnly; SameSite={site}{secure}"


def _cookies(request: Request) -> dict[str, str]:
    found = (part.strip().partition("=") for part in request.headers.get("cookie", "").split(";"))
    return {name: value for name, _, value in found if re.fullmatch(r"[\w-]{8,128}", value)}
