"""Sends back the cookies by which a system keeps a session, to that system only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from threading import Lock

from tongqu.kit.http.clock import Clock

_SECONDS = re.compile(r"-?[0-9]{1,12}")
_MOST = 50
_LONGEST = 4096


@dataclass(frozen=True)
class _Cookie:
    value: str
    path: str
    until: float


class Jar:
    """Cookies of one host, in memory; a subset of RFC 6265: every cookie is for the host that set it alone.
    Thread-safe."""

    def __init__(self, clock: Clock):
        self._clock = clock
        self._lock = Lock()
        self._cookies: dict[str, _Cookie] = {}

    def header(self, path: str) -> str:
        """The cookies for a path, as the header `Cookie` has them; empty if there is none."""
        if not self._cookies:
            return ""
        now = self._clock.now()
        with self._lock:
            fit = [(n, c.value) for n, c in self._cookies.items() if c.until > now and _within(path, c.path)]
        return "; ".join(f"{name}={value}" for name, value in fit)

    def learn(self, lines: Sequence[str]) -> None:
        """Take in the values of `Set-Cookie` headers."""
        for line in lines:
            pair, *attributes = line.split(";")
            name, equals, value = (part.strip() for part in pair.partition("="))
            if not name or not equals or len(line) > _LONGEST:
                continue
            said = {k.strip().lower(): v.strip() for k, _, v in (one.partition("=") for one in attributes)}
            path = said.get("path", "")
            cookie = _Cookie(value, path if path.startswith("/") else "/", self._until(said))
            with self._lock:
                self._cookies.pop(name, None)
                if cookie.until > self._clock.now() and len(self._cookies) < _MOST:
                    self._cookies[name] = cookie

    def _until(self, said: dict[str, str]) -> float:
        age = said.get("max-age", "")
        if _SECONDS.fullmatch(age):
            return self._clock.now() + int(age) if int(age) > 0 else 0.0
        try:
            return parsedate_to_datetime(said["expires"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            return float("inf")


def _within(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix if prefix.endswith("/") else prefix + "/")
