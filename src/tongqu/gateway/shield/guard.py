"""The shield as the protocols use it: looks at all texts of a request, refuses or only notes, and names the rule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from tongqu.gateway.exchange import Request
from tongqu.gateway.problems import Problem
from tongqu.gateway.settings import SizesEntry
from tongqu.gateway.shield.bodies import unpacked
from tongqu.gateway.shield.injection import Finding, examine
from tongqu.gateway.shield.inside import texts_of

if TYPE_CHECKING:
    from tongqu.gateway.publication import Api

Mode = Literal["off", "observe", "refuse"]
AT_A_TIME = 200
"""Texts of a body that are looked at before others get their turn."""
_LATELY = lru_cache(maxsize=4096)(examine)
_REMEMBERED = 256
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_GRAMMAR = frozenset({"select", "order", "limit", "offset", "on_conflict", "columns"})
"""Query parameters whose values the REST grammar reads itself and refuses if they are not of it."""


class Shield:
    """Judges the texts of requests; see `injection.examine`. What is found stands in the request's notes under `shield`
    as rule and place, for the owner; the caller hears `shield.refused` and nothing else."""

    def __init__(self, mode: Mode = "refuse", sizes: SizesEntry | None = None):
        self._mode = mode
        self._sizes = sizes or SizesEntry()

    def mode(self, api: Api | None) -> Mode:
        """What happens to calls of the API that look like an attack."""
        return (api.entry.shield if api is not None else None) or self._mode

    def head(self, request: Request, api: Api | None) -> None:
        """Look at path and query; raises Problem `shield.refused`."""
        mode = self.mode(api)
        if mode == "off":
            return
        self._judge(request, mode, "path", request.path.rsplit("/", 1)[-1])
        if request.query:
            for name, value in request.pairs():
                self._judge(request, mode, name, value)
                if name not in _GRAMMAR:
                    self._judge(request, mode, "name", name)
                    self._judge(request, mode, name, _operand(value))

    def body(self, request: Request, api: Api | None) -> None:
        """Look at the body too when somebody reads it, before they get it; reading then raises Problem
        `shield.refused`. Credentials sent to `/oauth` and events sent
        to `/hooks` are nobody's SQL and are left alone."""
        mode = self.mode(api)
        if mode == "off" or request.method not in _WITH_BODY or request.path.startswith(("/oauth", "/hooks/")):
            return
        read = request.body

        async def looked_at(limit: int) -> bytes:
            sent = await read(limit)
            await self._document(request, mode, sent, limit)
            return sent

        request.body = looked_at

    async def _document(self, request: Request, mode: Mode, sent: bytes, limit: int) -> None:
        """Look at all texts of a body; others get their turn in between."""
        try:
            plain = unpacked(sent, request.headers.get("content-encoding", ""), limit, self._sizes)
        except Problem:
            return  # the protocol refuses it for the same reason
        for number, text in enumerate(texts_of(plain, request.headers.get("content-type", ""))):
            self._judge(request, mode, "body", text)
            if number % AT_A_TIME == AT_A_TIME - 1:
                await asyncio.sleep(0)

    def values(self, request: Request, api: Api | None, named: Iterable[tuple[str, str]]) -> None:
        """Look at single texts with their names, such as GraphQL's variables; raises Problem `shield.refused`."""
        mode = self.mode(api)
        if mode != "off":
            for name, text in named:
                self._judge(request, mode, name, text)

    @staticmethod
    def _judge(request: Request, mode: Mode, where: str, text: str) -> None:
        found = _LATELY(text) if len(text) <= _REMEMBERED else examine(text)
        if found is None:
            if _second_opinion(text):
                request.notes.more.setdefault("shield_hint", {"rule": "libinjection", "where": where[:64]})
            return
        request.notes.more["shield"] = noted(found, where)
        if mode == "refuse":
            raise Problem("shield.refused")


@cache
def _libinjection() -> Callable[[str], Mapping[str, Any]] | None:
    """libinjection's judge where it is installed. It takes one harmless text of seven for an attack, so it is only ever
    noted for the owner."""
    try:
        from libinjection import is_sql_injection
    except ImportError:
        return None
    judge: Callable[[str], Mapping[str, Any]] = is_sql_injection
    return judge


def _second_opinion(text: str) -> bool:
    judge = _libinjection()
    return judge is not None and len(text) <= _REMEMBERED and bool(judge(text).get("is_sqli"))


def noted(found: Finding, where: str) -> dict[str, str]:
    """What the owner hears of a finding: the rule, the kind of place, and where in the request. Never the text."""
    return {"rule": found.rule, "context": found.context or "number", "where": where[:64]}


def _operand(value: str) -> str:
    """A filter's value without PostgREST's operator before it: `not.eq.x` → `x`."""
    rest = value
    while True:
        word, dot, after = rest.partition(".")
        if not dot or not word.partition("(")[0].isalpha() or len(word) > 16:
            return rest
        rest = after
