"""WebSocket streams of another library's server: subscribed, followed, and subscribed again after a break."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Timer
from typing import Any, cast

import pytest

from tongqu.connectors.websocket.settings import WebSocketSettings, from_url
from tongqu.connectors.websocket.source import WebSocketSource
from tongqu.core.data import Batch
from tongqu.core.errors import (
    AnswerError,
    AuthError,
    EgressRefusedError,
    InvalidSettingsError,
    NotFoundError,
)
from tongqu.core.log import Follow
from tongqu.kit.egress.own_ports import announce, withdraw
from tongqu.testing.pushing import Pushing, websockets_server

DEADLINE = 90.0


@pytest.fixture
def server() -> Iterator[Pushing]:
    with websockets_server() as server:
        yield server


def trade(number: int, channel: str = "trades") -> str:
    return json.dumps({"channel": channel, "no": number, "meta": {"seq": number}})


def settings(server: Pushing, stream: dict[str, Any] | None = None, **more: Any) -> WebSocketSettings:
    own = {"path": "/feed", "fields": {"no": "int64"}, "others": "ignore", "only": {"channel": "trades"},
           "id": "meta.seq", "subscribe": ['{"after": {last}}', {"op": "subscribe"}]}  # fmt: skip
    values: dict[str, Any] = {"base_url": f"ws://{server.url}", "datasets": {"trades": own | (stream or {})}}
    return WebSocketSettings.parse(values | {"first_seconds": 0.01} | more)


def follow(settings: WebSocketSettings, folder: Path, rows: int, breaks: Pushing | None = None) -> list[int]:
    """So many rows that are new to this folder; with `breaks` the connection ends after each."""
    source = WebSocketSource(settings)
    source.lodge(folder)
    stop, found = Event(), []
    late = Timer(DEADLINE, stop.set)
    late.start()
    with closing(source), closing(source.log("tongqu_a", source.datasets())) as log:
        after = log.begin()
        with closing(cast("Generator[Batch]", log.read(Follow(after, stop=stop)))) as reading:
            for batch in reading:
                for row in batch.rows.to_pylist():
                    found.append(row["no"])
                    if breaks is not None and len(found) < rows:
                        breaks.broken()
                        breaks.push(trade(row["no"] + 1))
                after = batch.position or after
                if len(found) >= rows:
                    break
        log.acknowledge(after)
    late.cancel()
    return found


def test_a_stream_is_subscribed_and_filtered(server: Pushing, tmp_path: Path) -> None:
    server.push(trade(1), trade(2, "heartbeats"), trade(3))
    assert follow(settings(server), tmp_path / "lodge", 2) == [1, 3]
    assert server.received == ['{"op":"subscribe"}']
    assert "tongqu/" in server.asked[0]["user-agent"]


def test_a_broken_connection_goes_on_where_it_was(server: Pushing, tmp_path: Path) -> None:
    server.push(trade(1))
    assert follow(settings(server), tmp_path / "lodge", 4, breaks=server) == [1, 2, 3, 4]
    assert server.received[-1] in {'{"after": 3}', '{"after": 4}'}
    server.push(trade(5))
    assert follow(settings(server), tmp_path / "lodge", 1) == [5]


def test_credentials_are_in_the_handshake(server: Pushing, tmp_path: Path) -> None:
    server.token = "ws-token-1"
    server.push(trade(1))
    assert follow(settings(server, auth={"bearer": {"token": "ws-token-1"}}), tmp_path / "lodge", 1) == [1]
    with pytest.raises(AuthError):
        follow(settings(server, auth={"bearer": {"token": "other"}}), tmp_path / "other", 1)


def test_a_token_may_be_a_message(server: Pushing, tmp_path: Path) -> None:
    server.push(trade(1))
    assert follow(settings(server, {"token_message": "login me"}), tmp_path / "lodge", 1) == [1]
    assert server.received == ["login me"]


def test_what_another_try_cannot_mend_stops_the_stream(server: Pushing, tmp_path: Path) -> None:
    server.push(trade(1) + " " * 2000)
    with pytest.raises(AnswerError):
        follow(settings(server, message_bytes=1024), tmp_path / "lodge", 1)
    server.status = 404
    with pytest.raises(NotFoundError):
        follow(settings(server), tmp_path / "other", 1)


def test_our_own_ports_are_not_called(server: Pushing, tmp_path: Path) -> None:
    port = int(server.url.rpartition(":")[2])
    announce(port)
    try:
        with pytest.raises(EgressRefusedError):
            follow(settings(server), tmp_path / "lodge", 1)
    finally:
        withdraw(port)
    assert server.asked == []


def test_addresses_and_settings(server: Pushing) -> None:
    found = from_url('wss://me:pw@host:444/feed/trades?v=1#fields=no:int64&subscribe={"op":"x"}')
    assert (found.base_url, found.datasets["trades"].path) == ("https://host:444", "/feed/trades?v=1")
    assert found.datasets["trades"].subscribe == ('{"op":"x"}',)
    assert "pw" not in repr(found)
    refused: tuple[dict[str, Any], ...] = ({"subscribe": ["{last}"], "id": ""}, {"fields": {}}, {"format": "avro"})
    for wrong in refused:
        with pytest.raises(InvalidSettingsError):
            settings(server, wrong)
