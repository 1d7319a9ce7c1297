"""Event streams that are followed: what came is kept, and after a pause the stream goes on where it was."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Timer
from typing import Any, cast

import pytest

from tongqu.connectors.sse.settings import SseSettings, from_url
from tongqu.connectors.sse.source import SseSource
from tongqu.core.data import Batch, Position
from tongqu.core.errors import AnswerError, AuthError, InvalidPlanError, TongquError
from tongqu.core.log import Follow, Log
from tongqu.testing.command_line import query, start
from tongqu.testing.pushing import Pushing, event_stream

DEADLINE = 90.0


@pytest.fixture
def server() -> Iterator[Pushing]:
    with event_stream() as server:
        yield server


def order(number: int) -> str:
    return json.dumps({"no": number, "state": "open"})


def settings(server: Pushing, **more: Any) -> SseSettings:
    stream = {"path": "/orders", "fields": {"no": "int64", "state": "string"}, "key": ["no"]}
    values: dict[str, Any] = {"base_url": f"http://{server.url}", "datasets": {"orders": stream}, "first_seconds": 0.01}
    return SseSettings.parse(values | more)


@contextmanager
def followed(settings: SseSettings, folder: Path) -> Iterator[Log]:
    source = SseSource(settings)
    source.lodge(folder)
    with closing(source), closing(source.log("tongqu_a", source.datasets())) as log:
        yield log


def taken(log: Log, after: Position, rows: int) -> tuple[list[dict[str, Any]], Position]:
    """So many rows, and the position after them."""
    stop, found, position = Event(), [], after
    late = Timer(DEADLINE, stop.set)
    late.start()
    try:
        with closing(cast("Generator[Batch]", log.read(Follow(after, stop=stop)))) as reading:
            for batch in reading:
                assert isinstance(batch, Batch)
                found += batch.rows.to_pylist()
                position = batch.position or position
                if len(found) >= rows:
                    break
    finally:
        late.cancel()
    return found, position


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [row["no"] for row in rows]


def test_a_broken_stream_goes_on_without_gap_and_without_repeats(server: Pushing, tmp_path: Path) -> None:
    with followed(settings(server), tmp_path / "lodge") as log:
        begin = log.begin()
        server.push(order(1), order(2))
        found, position = taken(log, begin, 2)
        server.push(order(3))
        more, position = taken(log, position, 1)
        assert numbers(found + more) == [1, 2, 3]
        assert log.lag(position).rows == 0
        log.acknowledge(position)
    assert "last-event-id" not in server.asked[0]
    assert server.asked[-1]["last-event-id"] == "2"


def test_a_connection_that_breaks_is_opened_again(server: Pushing, tmp_path: Path) -> None:
    with followed(settings(server), tmp_path / "lodge") as log:
        after = log.begin()
        found: list[int] = []
        stop = Event()
        late = Timer(DEADLINE, stop.set)
        late.start()
        server.push(order(1))
        with closing(cast("Generator[Batch]", log.read(Follow(after, stop=stop)))) as reading:
            for batch in reading:
                for number in numbers(batch.rows.to_pylist()):
                    found.append(number)
                    if number < 5:
                        server.broken()
                        server.push(order(number + 1))
                if found and found[-1] == 5:
                    break
        late.cancel()
    assert found == [1, 2, 3, 4, 5]
    assert len(server.asked) >= 5


def test_what_came_is_read_again_after_a_position_and_by_others(server: Pushing, tmp_path: Path) -> None:
    with followed(settings(server), tmp_path / "lodge") as log:
        begin = log.begin()
        server.push(*[order(n) for n in range(1, 4)])
        taken(log, begin, 3)
        head = log.head()
        assert numbers([row for b in log.read(Follow(begin, until=head)) for row in b.rows.to_pylist()]) == [1, 2, 3]
        assert log.reached(head, head)


def test_a_message_that_is_no_row_is_set_aside(server: Pushing, tmp_path: Path) -> None:
    with followed(settings(server), tmp_path / "lodge") as log:
        begin = log.begin()
        server.push("no json", order(2))
        taken(log, begin, 1)
        batches = list(log.read(Follow(begin, until=log.head())))
        (bad,) = [one for batch in batches for one in batch.bad]
        assert (bad.code, "stream orders, message 1" in bad.message) == ("message.unreadable", True)


@pytest.mark.parametrize(("status", "kind"), [(401, AuthError), (204, TongquError), (200, AnswerError)])
def test_what_another_try_cannot_mend_stops_the_stream(
    server: Pushing, tmp_path: Path, status: int, kind: type[TongquError]
) -> None:
    server.status = status
    with followed(settings(server), tmp_path / "lodge") as log, pytest.raises(kind):
        taken(log, log.begin(), 1)


def test_credentials_go_along(server: Pushing, tmp_path: Path) -> None:
    server.token = "sse-token-1"
    server.push(order(1))
    with followed(settings(server, auth={"bearer": {"token": "sse-token-1"}}), tmp_path / "lodge") as log:
        assert numbers(taken(log, log.begin(), 1)[0]) == [1]


def test_a_stream_is_only_followed(server: Pushing, tmp_path: Path) -> None:
    source = SseSource(from_url(f"sse://{server.url}/texts?x=1"))
    (dataset,) = source.datasets()
    assert (dataset.name, dataset.columns) == ("texts", ("value",))
    with pytest.raises(InvalidPlanError, match="home"):
        source.log("tongqu_a", [dataset])


def test_a_sync_follows_an_event_stream_until_a_signal(server: Pushing, tmp_path: Path) -> None:
    url = f"sse://{server.url}/orders#fields=no:int64,state:string&key=no"
    arguments = ["sync", url, "sqlite:lake.db", "--mode", "stream", "--json", "--project", str(tmp_path)]
    lake = tmp_path / "lake.db"
    server.push(order(1))
    for last in (2, 3):
        with start(tmp_path, *arguments) as process:
            late = Timer(DEADLINE, process.kill)
            late.start()
            server.push(order(last))
            pause, deadline = Event(), time.monotonic() + DEADLINE
            while last not in arrived(lake) and time.monotonic() < deadline:
                pause.wait(0.05)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate()
            late.cancel()
        assert process.returncode == 0, err
        assert json.loads(out)["status"] == "stopped"
        assert arrived(lake) == list(range(1, last + 1))


@pytest.mark.parametrize("point", ["before_append:3", "after_append:3"])  # the third keeps the first messages
def test_messages_survive_a_process_that_dies_and_come_once(server: Pushing, tmp_path: Path, point: str) -> None:
    url = f"sse://{server.url}/orders#fields=no:int64,state:string"
    arguments = ["sync", url, "sqlite:lake.db", "--mode", "stream", "--write", "append", "--json", "--project",
                 str(tmp_path)]  # fmt: skip
    lake = tmp_path / "lake.db"
    server.push(order(1), order(2))
    with start(tmp_path, *arguments, TONGQU_CRASH_AT=point) as process:
        late = Timer(DEADLINE, process.kill)
        late.start()
        process.communicate()
        assert late.is_alive(), "it should have died by itself"
        late.cancel()
    assert process.returncode == -signal.SIGKILL
    server.push(order(3))
    with start(tmp_path, *arguments) as process:
        late = Timer(DEADLINE, process.kill)
        late.start()
        pause, deadline = Event(), time.monotonic() + DEADLINE
        while 3 not in arrived(lake) and time.monotonic() < deadline:
            pause.wait(0.05)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
        late.cancel()
    assert process.returncode == 0, err
    assert arrived(lake) == [1, 2, 3]


def arrived(lake: Path) -> list[int]:
    if not lake.exists() or not query(lake, "SELECT 1 FROM sqlite_master WHERE name = 'orders'"):
        return []
    return [row[0] for row in query(lake, "SELECT no FROM orders ORDER BY no")]
