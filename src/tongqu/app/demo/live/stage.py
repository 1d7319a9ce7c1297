"""The live demo while it runs: the ERP is followed, the gateway serves, two look on, and changes come by themselves."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from tongqu.app.demo.live.erp import ENVIRON, STATES, Erp, PostgresErp, Row, SqliteErp
from tongqu.app.demo.live.watching import Arrivals, Board, Seen, Subscriber
from tongqu.app.wire import new_id
from tongqu.core.errors import ConnectError, TongquError

if TYPE_CHECKING:
    from tongqu.app.wire import Wire

POLL_SECONDS = 0.01
"""How often it is asked whether the ERP's file was written; only then is it read."""
PATIENCE = 120.0
AGAIN_SECONDS = 1.0
Tell = Callable[[str, Mapping[str, Any]], None]
"""Is told `listening` with the gateway's document, `failed` with a problem, and what the gateway tells."""


def build(folder: Path, erp: Erp) -> None:
    """Write the project file and the ERP's first rows, replacing what an earlier demo left. Raises OSError and what
    `Erp.build` raises."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for old in data.glob("mes.db*"):
        old.unlink()
    (folder / "tongqu.yaml").write_text(
        files(__package__).joinpath(erp.project).read_text(encoding="utf-8"), encoding="utf-8"
    )
    erp.build()


@dataclass
class Live:
    """One live demo in a folder that was built. `auto` changes come by themselves, then it ends; 0: it goes on until a
    signal. `shown` is called for each change that went all the way."""

    wire: Wire
    erp: Erp
    command: str
    port: int = 0
    auto: int = 0
    seed: int = 0
    tell: Tell = lambda word, told: None
    shown: Callable[[Seen], None] = lambda seen: None
    problems: list[Mapping[str, Any]] = field(default_factory=list)
    _done: Event = field(default_factory=Event)

    def play(self) -> dict[str, Any]:
        """Serve until a signal or the last change; the document with latencies in milliseconds. Raises what serving
        raises, and ConnectError if the first rows do not arrive."""
        from tongqu.app.http.handler import managing
        from tongqu.app.services.serve_place import ServeRequest
        from tongqu.app.services.serving import serve

        board = Board(self.shown)
        with ExitStack() as opened:
            opened.callback(self.erp.forget)
            watching = opened.enter_context(Arrivals(self.wire.folder / "data" / "mes.db", board))
            moving = Thread(target=self._move, name="tongqu-demo-move")
            moving.start()
            opened.callback(moving.join)
            opened.callback(self.wire.stop.set)
            if not watching.filled(self._done.is_set, PATIENCE):
                raise self._stuck()

            def told(word: str, what: Mapping[str, Any]) -> None:
                if word == "listening":
                    opened.enter_context(self._audience(str(what["url"]), board))
                if word == "stopping":
                    self.wire.stop.set()
                self.tell(word, what)

            request = ServeRequest(port=self.port, files=True, concurrency=0)
            served = serve(self.wire, request, told, managing(self.wire))
        document = {"ok": not self.problems, "url": served["url"], "changes": [seen.to_json() for seen in board.seen]}
        document |= {name: spread([getattr(seen, name) for seen in board.seen]) for name in ("arrived_ms", "pushed_ms")}
        return document | ({"problems": self.problems} if self.problems else {})

    def _stuck(self) -> ConnectError:
        problem = self.problems[0] if self.problems else {"message": "it takes too long"}
        return ConnectError(
            f"the ERP's first rows did not arrive: {problem['message']}", hint=str(problem.get("hint", ""))
        )

    def _audience(self, url: str, board: Board) -> ExitStack:
        """The subscriber, and who makes changes."""
        stack = ExitStack()
        subscriber = stack.enter_context(Subscriber(url, board))
        if self.auto:
            changing = Thread(target=self._change, args=(subscriber, board), name="tongqu-demo-change")
            changing.start()
            stack.callback(changing.join)
        return stack

    def _change(self, subscriber: Subscriber, board: Board) -> None:
        """Make changes, each when the one before went all the way; then end."""
        chance = random.Random(self.seed)  # noqa: S311  # made-up changes
        try:
            if not subscriber.ready(PATIENCE):
                self._failed({"code": "demo.silent", "message": "the gateway took no subscription", "hint": ""})
                return
            for _ in range(self.auto):
                if self.wire.stop.wait(chance.uniform(0.05, 0.3)):
                    return
                row = changed(self.erp, chance)
                if not board.wait(row, PATIENCE, self.wire.stop):
                    if self.wire.stop.is_set():
                        return
                    about = f"the change of {row.order_no} was not seen in {PATIENCE:g} s"
                    self._failed({"code": "demo.unseen", "message": about, "hint": ""})
                    return
        finally:
            if not self.wire.stop.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    def _failed(self, problem: Mapping[str, Any]) -> None:
        self.problems.append(problem)
        self.tell("failed", problem)

    def _move(self) -> None:
        """Keep the rows flowing until the stop."""
        try:
            if isinstance(self.erp, SqliteErp):
                self._poll(self.erp.path)
            else:
                self._follow()
        finally:
            self._done.set()

    def _poll(self, path: Path) -> None:
        """Run the pipeline whenever the ERP's file was written."""
        stop = self.wire.stop
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as erp:
            before = -1
            while not stop.is_set():
                (now,) = erp.execute("PRAGMA data_version").fetchone()
                if now != before and not self._ran():
                    stop.wait(AGAIN_SECONDS)
                    continue
                before = now
                stop.wait(POLL_SECONDS)

    def _follow(self) -> None:
        """Follow the change log until the stop, beginning again after failures."""
        while not self.wire.stop.is_set():
            if not self._ran():
                self.wire.stop.wait(AGAIN_SECONDS)

    def _ran(self) -> bool:
        """Run the pipeline; whether that went well."""
        from tongqu.app.services.piping import RunRequest
        from tongqu.app.services.running import run

        wire = self.wire
        request = RunRequest(("orders",), command=self.command)
        try:
            outcome = run(request, wire.project, wire.ends, wire.runner, new_id)
        except TongquError as error:
            self._failed(error.problem())
            return False
        if outcome.exit_code == 0 or self.wire.stop.is_set():
            return True
        for problem in outcome.document.get("problems", ())[:1]:
            self._failed(problem)
        return False


def changed(erp: Erp, chance: random.Random, order_no: str = "", values: Mapping[str, Any] | None = None) -> Row:
    """Change an order a little, any unless one is named: its next state, another quantity, unless values are given."""
    rows = erp.rows()
    found = next((row for row in rows if row.order_no == order_no), None) or chance.choice(rows)
    after = STATES[(STATES.index(found.state) + 1) % len(STATES)] if found.state in STATES else STATES[0]
    made = {"quantity": found.quantity + chance.randint(1, 9), "state": after}
    return erp.change(order_no or found.order_no, values or made)


def spread(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum, in milliseconds; empty without values."""
    if not values:
        return {}
    ordered = sorted(values)
    places = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    return {name: round(ordered[min(int(len(ordered) * at), len(ordered) - 1)], 1) for name, at in places.items()}


def named(erp: Erp, url: str) -> None:
    """Let the project file find a PostgreSQL ERP, in this process and those that it starts."""
    if isinstance(erp, PostgresErp):
        os.environ[ENVIRON] = url
