"""Who looks on in the live demo: one sees rows arrive in the MES, one is a subscriber at the gateway."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any

from tongqu.app.demo.live.erp import Row

LOOK_SECONDS = 0.002
"""How often it is looked whether the MES has changed: by so much a measured arrival may be too late."""
_COLUMNS = "order_no, product, quantity, state, changed_at"


@dataclass(frozen=True)
class Seen:
    """A change that went all the way. Milliseconds are from the moment the ERP's database stamped the row, just before
    its commit, to the moment it could be read in the MES, and to the moment the subscriber had it."""

    row: Row
    arrived_ms: float
    pushed_ms: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in the document."""
        row = {"order_no": self.row.order_no, "quantity": self.row.quantity, "state": self.row.state}
        return {**row, "arrived_ms": round(self.arrived_ms, 1), "pushed_ms": round(self.pushed_ms, 1)}


@dataclass
class Board:
    """Where both write down when they saw a change; `tell` is called once a change was seen by both."""

    tell: Callable[[Seen], None] = lambda seen: None
    seen: list[Seen] = field(default_factory=list)
    _arrived: dict[tuple[str, int], float] = field(default_factory=dict)
    _pushed: dict[tuple[str, int], float] = field(default_factory=dict)
    _changed: Condition = field(default_factory=Condition)

    def arrived(self, row: Row, at: float) -> None:
        """A row can be read in the MES, at this instant (seconds since 1970)."""
        self._note(self._arrived, row, at)

    def pushed(self, row: Row, at: float) -> None:
        """The subscriber was told of a row."""
        self._note(self._pushed, row, at)

    def wait(self, row: Row, seconds: float, stop: Event) -> bool:
        """Wait until the change (or a later one of the order) was seen by both; False if that takes too long, or at
        the stop."""

        def there() -> bool:
            return any(one.row.order_no == row.order_no and one.row.changed_at >= row.changed_at for one in self.seen)

        end = time.monotonic() + seconds
        with self._changed:
            while not there():
                if stop.is_set() or time.monotonic() > end:
                    return False
                self._changed.wait(0.2)
        return True

    def _note(self, where: dict[tuple[str, int], float], row: Row, at: float) -> None:
        key = (row.order_no, row.changed_at)
        with self._changed:
            where.setdefault(key, at)
            if key not in self._arrived or key not in self._pushed:
                return
            began = row.changed_at / 1e6
            found = Seen(row, (self._arrived.pop(key) - began) * 1000, (self._pushed.pop(key) - began) * 1000)
            self.seen.append(found)
            self._changed.notify_all()
        self.tell(found)


class Arrivals:
    """Watches the MES's table in a thread of its own, as any program that reads it would; a context manager."""

    def __init__(self, path: Path, board: Board):
        self._path = path
        self._board = board
        self._stop = Event()
        self._first = Event()
        self._thread = Thread(target=self._watch, name="tongqu-demo-arrivals")

    def __enter__(self) -> Arrivals:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def filled(self, stop: Callable[[], bool], seconds: float) -> bool:
        """Wait until the first rows are there; False if `stop` says so before, or if it takes too long."""
        end = time.monotonic() + seconds
        while not self._first.wait(0.05):
            if stop() or time.monotonic() > end:
                return False
        return True

    def _watch(self) -> None:
        while not self._path.exists():
            if self._stop.wait(LOOK_SECONDS):
                return
        with closing(sqlite3.connect(self._path, timeout=10, isolation_level=None)) as database:
            version, last = -1, 0
            while not self._stop.wait(LOOK_SECONDS):
                (now,) = database.execute("PRAGMA data_version").fetchone()
                if now != version:
                    version = now
                    last = self._look(database, last)

    def _look(self, database: sqlite3.Connection, last: int) -> int:
        try:
            found = database.execute(
                f"SELECT {_COLUMNS} FROM work_order WHERE changed_at > ? ORDER BY changed_at",
                (last,),
            ).fetchall()
        except sqlite3.OperationalError:  # not there yet
            return last
        at = time.time()
        for values in found:
            if last:
                self._board.arrived(Row(*values), at)
        if found:
            self._first.set()
        return max(last, *(int(values[-1]) for values in found)) if found else last


class Subscriber:
    """Listens at `/live` over a WebSocket in a thread of its own, as a browser would; a context manager."""

    def __init__(self, url: str, board: Board):
        self._url = "ws" + url.removeprefix("http") + "/live/v1/orders"
        self._board = board
        self._stop = Event()
        self._ready = Event()
        self._thread = Thread(target=self._listen, name="tongqu-demo-subscriber")

    def __enter__(self) -> Subscriber:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def ready(self, seconds: float) -> bool:
        """Wait until the gateway has taken the subscription; False if it takes too long."""
        return self._ready.wait(seconds)

    def _listen(self) -> None:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        after = ""
        while not self._stop.is_set():
            try:
                with connect(self._url, proxy=None, open_timeout=30) as line:
                    asked = {"type": "subscribe", "id": "a"} | ({"after": after} if after else {})
                    line.send(json.dumps(asked))
                    while not self._stop.is_set():
                        try:
                            message = json.loads(line.recv(timeout=0.2))
                        except TimeoutError:
                            continue
                        after = self._heard(message) or after
            except (OSError, WebSocketException):  # the gateway is not there, or ended the line: come again
                self._stop.wait(0.2)

    def _heard(self, message: Mapping[str, Any]) -> str:
        at = time.time()
        if message["type"] == "subscribed":
            self._ready.set()
        elif message["type"] == "change" and message.get("row"):
            row = message["row"]
            self._board.pushed(Row(**{name: row[name] for name in _COLUMNS.split(", ")}), at)
        return str(message.get("position", ""))
