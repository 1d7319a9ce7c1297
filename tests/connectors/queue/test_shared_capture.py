"""One capture goes into a queue, and any number of pipelines read it there, each at its own pace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from tongqu.connectors.queue import connector
from tongqu.connectors.queue.settings import from_url
from tongqu.core import registry
from tongqu.core.connector import Sink, Source
from tongqu.core.data import Deletes, Mode
from tongqu.engine.compile import Wanted, plan_sync
from tongqu.engine.job import Job, Surroundings
from tongqu.engine.report import Report
from tongqu.engine.run import run
from tongqu.testing.log_file import LogFile, LogSource

SECONDS = 60.0
_RUNS = count(1)
FOLLOWED = Wanted(mode=Mode.CDC, deletes=Deletes.HARD)


class Named:
    """Ends of a place, whose identity is their text."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.queue_url = f"queue:{folder}/changes.queue"

    def capture(self) -> Report:
        assert connector.sink is not None
        return _sync("capture", LogSource(self.folder / "erp.db"), connector.sink(from_url(self.queue_url)))

    def source(self) -> Source:
        assert connector.source is not None
        return connector.source(from_url(self.queue_url))

    def sink(self, name: str) -> Sink:
        found = registry.connector("sqlite")
        assert found.sink is not None
        return found.sink(found.from_url(f"sqlite:{self.folder}/{name}.db"))

    def pipeline(self, name: str, stop: threading.Event | None = None) -> Report:
        return _sync(name, self.source(), self.sink(name), stop, caught_up=stop is None)

    def rows(self, name: str) -> list[tuple[object, ...]]:
        return LogFile(self.folder / f"{name}.db").rows("orders")


def _sync(
    name: str, source: Source, sink: Sink, stop: threading.Event | None = None, *, caught_up: bool = True
) -> Report:
    stopped = stop or threading.Event()
    around = Surroundings(lambda: datetime.now(UTC), lambda: f"run {next(_RUNS)} of {name}", stopped, stopped.wait)
    try:
        streams = plan_sync(source, sink, source_id=f"source of {name}", sink_id=f"sink of {name}", wanted=FOLLOWED)
        return run(Job(streams, until_caught_up=caught_up), lambda _: None, around)
    finally:
        source.close()
        sink.close()


def waited(condition: Callable[[], bool]) -> bool:
    """Whether it came true before the deadline."""
    event = threading.Event()
    deadline = threading.Event()
    timer = threading.Timer(SECONDS, deadline.set)
    timer.start()
    try:
        while not condition():
            if deadline.is_set():
                return False
            event.wait(0.02)
        return True
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def running(work: Callable[[], object]) -> Iterator[None]:
    """The work on a thread, waited for at the end."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(SECONDS)
        assert not thread.is_alive()


def test_one_capture_feeds_two_pipelines_and_a_stopped_one_holds_up_nobody(tmp_path: Path) -> None:
    place, erp = Named(tmp_path), LogFile(tmp_path / "erp.db")
    erp.create("orders", "id INTEGER PRIMARY KEY, v TEXT")
    erp.write(*(("c", "orders", {"id": n, "v": f"v{n}"}) for n in range(20)))
    assert place.capture().streams[0].counts.inserted == 20
    assert place.pipeline("slow").status == "succeeded"  # and is stopped from here on
    stop = threading.Event()
    with running(lambda: place.pipeline("quick", stop)):
        try:
            erp.write(("u", "orders", {"id": 3, "v": "new"}), ("d", "orders", {"id": 4}))
            assert place.capture().status == "succeeded"
            assert waited(lambda: (tmp_path / "quick.db").exists() and _like(place, erp, "quick"))
        finally:
            stop.set()
    assert place.rows("slow") != erp.rows("orders")
    assert place.pipeline("slow").status == "succeeded"
    assert place.rows("slow") == erp.rows("orders")


def _like(place: Named, erp: LogFile, name: str) -> bool:
    import sqlite3

    try:
        return place.rows(name) == erp.rows("orders")
    except sqlite3.OperationalError:  # there is no table yet
        return False


def test_columns_that_the_log_did_not_send_stay_as_they_are(tmp_path: Path) -> None:
    place, erp = Named(tmp_path), LogFile(tmp_path / "erp.db")
    erp.create("orders", "id INTEGER PRIMARY KEY, v TEXT, big TEXT")
    erp.write(("c", "orders", {"id": 1, "v": "a", "big": "kept"}))
    place.capture()
    erp.write(("u", "orders", {"id": 1, "v": "b"}, ["big"]))
    place.capture()
    place.pipeline("copy")
    assert place.rows("copy") == [(1, "b", "kept")]


def test_an_emptied_table_is_emptied_behind_the_queue(tmp_path: Path) -> None:
    place, erp = Named(tmp_path), LogFile(tmp_path / "erp.db")
    erp.create("orders", "id INTEGER PRIMARY KEY, v TEXT")
    erp.write(("c", "orders", {"id": 1, "v": "a"}))
    place.capture()
    place.pipeline("copy")
    erp.write(("t", "orders", {}))
    erp.write(("c", "orders", {"id": 2, "v": "b"}))
    place.capture()
    place.pipeline("copy")
    assert place.rows("copy") == [(2, "b")]
