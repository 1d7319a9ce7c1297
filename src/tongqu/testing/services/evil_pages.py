"""A list of 30 items whose pages go wrong, each path in its own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tongqu.testing.services.http_peer import Asked, HttpPeer, Out

_SIZE = 10
_LOGIN = b"<!DOCTYPE html><html><head><title>Session expired</title></head></html>"

Row = dict[str, Any]


def good(number: int) -> Row:
    """The item of this number, from 1 to 30."""
    return {"id": number, "v": number * 10}


class EvilPages(HttpPeer):
    """A context manager. `?page=` from 1, ten items a page, the answer `{"items": […], "next": …}`."""

    name: ClassVar[str] = "evil list"

    def __init__(self, canary: str = "") -> None:
        ways: dict[str, Callable[[int], list[Row]]] = {
            "/honest": self._page,
            "/changing": self._changing,
            "/overlapping": lambda page: [good(n) for n in range(max(page * 10 - 12, 1), min(page * 10 + 1, 31))],
            "/reordered": lambda page: self._page(page)[::-1] + self._page(1)[:3] * (page == 3),
            "/same": lambda page: self._page(1),
            "/empty-for-ever": lambda page: self._page(1) if page == 1 else [],
        }
        super().__init__({path: self._listed(way) for path, way in ways.items()})
        self.routes["/loop"] = self._loop
        self.routes["/login-in-the-middle"] = self._login
        self.routes["/login"] = lambda asked, out: out.answer(200, _LOGIN, Content_Type="application/json")
        self.routes["/shaky"] = self._shaky
        self.routes["/inside"] = lambda asked, out: out.json({"items": self._page(1), "next": canary})

    def _page(self, page: int) -> list[Row]:
        return [good(n) for n in range((page - 1) * _SIZE + 1, min(page * _SIZE, 30) + 1)]

    def _changing(self, page: int) -> list[Row]:
        """Page 2 has text where numbers were, a fraction, and one field more; page 3 lacks a field."""
        rows = self._page(page)
        if page == 2:
            rows[3] = {"id": 14, "v": "many"}
            rows[5] = {"id": 16, "v": 1.5}
            rows[7] = {"id": 18, "v": 180, "unit": "kg"}
        if page == 3:
            rows[0] = {"id": 21}
            rows[1] = {"id": {"nested": 22}, "v": 220}
        return rows

    def _listed(self, way: Callable[[int], list[Row]]) -> Callable[[Asked, Out], None]:
        def answer(asked: Asked, out: Out) -> None:
            page = int(asked.query.get("page", "1").removeprefix("c"))
            endless = asked.path == "/empty-for-ever"
            out.json({"items": way(page), "more": endless or page < 3, "next": f"c{page + 1}"})

        return answer

    def _loop(self, asked: Asked, out: Out) -> None:
        """Cursors a, b, c, a, b, c and so on, each with items that are new by their looks."""
        cursor = asked.query.get("cursor", "")
        out.json({"items": [good(len(self.calls))], "next": {"": "a", "a": "b", "b": "c", "c": "a"}[cursor]})

    def _shaky(self, asked: Asked, out: Out) -> None:
        """50 pages, of which one in ten calls fails."""
        page = int(asked.query.get("page", 1))
        if len(self.calls) % 10 == 0:
            out.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{")
            out.hang_up()
        elif len(self.calls) % 10 == 5:
            out.json({"message": "busy"}, 503)
        else:
            out.json({"items": [good(n) for n in range(page * 10 - 9, page * 10 + 1)], "more": page < 50})

    def _login(self, asked: Asked, out: Out) -> None:
        """The session ends on page 2."""
        page = int(asked.query.get("page", 1))
        if page == 2:
            out.answer(200, _LOGIN, Content_Type="application/json")
        else:
            out.json({"items": self._page(page), "more": page < 3})
