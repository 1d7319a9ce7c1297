"""Logging in: password, second factor, and the patience of the gateway with whoever guesses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Literal

from tongqu.gateway.auth.passwords import EXPIRE_SECONDS, REMEMBERED, hashed, matches, weakness
from tongqu.gateway.auth.second_factor import spent
from tongqu.gateway.auth.settings import IdentitySettings
from tongqu.store.identity.identities import Identities
from tongqu.store.identity.users import User

_FREE = 3
"""Wrong tries before each makes the next wait."""
_FORGET = 3600.0
"""Seconds without a wrong try after which counting starts anew."""
_ADDRESS_FAILURES = 50
_ADDRESS_FORGET = 600.0

Why = Literal["wrong", "wait", "code", "change", "weak", "enrol"]


@dataclass(frozen=True)
class Login:
    """One try. `password` is the one the person has, `new` the one it shall have, `code` the second factor."""

    name: str
    password: str
    code: str = ""
    new: str = ""
    address: str = ""


class RefusedLoginError(Exception):
    """Nobody is logged in. `why`: `wrong` (name or password, also where the account is locked, disabled or over, so
    that nothing is learnt), `wait` (the address has to), then, once the password was right, `code` (a second factor is
    needed), `enrol` (an administrator has none), `change` and `weak` (a new password is needed, or is not good)."""

    def __init__(self, why: Why, seconds: float = 0, told: str = ""):
        super().__init__(why)
        self.why = why
        self.seconds = seconds
        self.told = told


class Doorkeeper:
    """Lets people in. A try is counted before it is checked, so that many at once get no more tries than one after
    another; a locked account costs no hash, and its tries are not held against the address."""

    def __init__(self, identities: Identities, settings: Callable[[], IdentitySettings]):
        """`settings` gives those that count now."""
        self._identities = identities
        self._now = settings

    @property
    def _settings(self) -> IdentitySettings:
        return self._now()

    def let_in(self, login: Login) -> User:
        """The person; raises RefusedLoginError. Takes about 30 ms of a processor: never call it on the event loop."""
        users = self._identities.users
        now = self._identities.database.seconds()
        account, place = login.name.casefold(), neighbourhood(login.address)
        if (until := users.blocked_until("address", place)) > now:
            raise RefusedLoginError("wait", until - now)
        if (until := users.blocked_until("account", account)) > now:
            raise RefusedLoginError("wrong", until - now)
        count = self._counted(account, place, now)
        user = users.get(login.name)
        right = matches(user.password if user else "", login.password)
        if not right or user is None or not user.alive(now) or count > self._settings.failures:
            raise RefusedLoginError("wrong")
        self._second(user, login.code, now)
        self._fresh(user, login.new, now)
        users.forgive("account", account)
        users.forgive("address", place)
        return users.known(user.name)

    def _counted(self, account: str, place: str, now: float) -> int:
        users, lock = self._identities.users, self._settings.lock_minutes * 60
        count = users.failed("account", account, forget=max(_FORGET, 2 * lock))
        if count >= self._settings.failures:
            users.block("account", account, now + lock)
        elif count > _FREE:
            users.block("account", account, now + 2.0 ** (count - _FREE - 1))
        many = users.failed("address", place, forget=_ADDRESS_FORGET)
        if many >= _ADDRESS_FAILURES:
            users.block("address", place, now + min(600.0, 2.0 ** (many - _ADDRESS_FAILURES)))
        return count

    def _second(self, user: User, code: str, now: float) -> None:
        if not user.totp_confirmed:
            if user.administrator:
                raise RefusedLoginError("enrol")
            return
        if not code or not spent(self._identities.users, user.name, code, now):
            raise RefusedLoginError("code")

    def _fresh(self, user: User, new: str, now: float) -> None:
        over = self._settings.profile == "mlps" and now - user.changed > EXPIRE_SECONDS
        if not (user.must_change or over or new):
            return
        if not new:
            raise RefusedLoginError("change")
        if told := unfit(self._identities, user, new, self._settings.profile):
            raise RefusedLoginError("weak", told=told)
        self._identities.users.set_password(user.name, hashed(new), keep=REMEMBERED)


def neighbourhood(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, which is what one customer is given."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((found, 64), strict=False)) if found.version == 6 else address


def unfit(identities: Identities, user: User, password: str, profile: str) -> str:
    """Why a password cannot be this person's next one, in words; empty if it can."""
    if told := weakness(password, user.name, profile):
        return told
    old = (user.password, *(identities.users.old_passwords(user.name) if profile == "mlps" else ()))
    if any(matches(hash, password) for hash in old):
        return "this password was used before"
    return ""
