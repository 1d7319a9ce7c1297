"""`tongqu sync` from and to MQTT: killed anywhere, nothing is lost; of QoS 2 nothing comes twice."""

from __future__ import annotations

import json
import signal
import time
from contextlib import closing
from pathlib import Path
from threading import Event, Timer

import pytest
from tests.connectors.mqtt.conftest import DEADLINE, Topics

from tongqu.connectors.mqtt.wire import Wire
from tongqu.testing.command_line import query, start, tongqu

COUNT = 300


def _arrived(lake: Path) -> list[int]:
    if not lake.exists() or not query(lake, "SELECT 1 FROM sqlite_master WHERE name = 'orders'"):
        return []
    return [row[0] for row in query(lake, "SELECT id FROM orders ORDER BY id")]


@pytest.mark.crash
@pytest.mark.parametrize(  # the third work of the spool keeps the first messages
    ("qos", "point"), [(2, "before_append:3"), (2, "after_append:3"), (1, "before_append:3"), (1, "after_append:3")]
)
def test_a_kill_on_either_side_of_the_spools_commit_loses_nothing(
    topics: Topics, tmp_path: Path, qos: int, point: str
) -> None:
    topic = f"{topics.root}/orders"
    with closing(Wire(topics.settings(), f"{topics.root}-orders", session=600, clean=False)) as wire:
        wire.subscribe(topic, qos, "new")
        wire.leave()
    url = f"{topics.url}/orders?client_id={topics.root}#fields=id:int64&qos={qos}"
    arguments = ["sync", url, "sqlite:lake.db", "--mode", "stream", "--write", "append", "--json", "--project",
                 str(tmp_path)]  # fmt: skip
    lake = tmp_path / "lake.db"
    topics.server.put(topic, *[json.dumps({"id": n}).encode() for n in (1, 2)], qos=qos)
    with start(tmp_path, *arguments, TONGQU_CRASH_AT=point) as process:
        late = Timer(DEADLINE, process.kill)
        late.start()
        process.communicate()
        assert late.is_alive(), "it should have died by itself"
        late.cancel()
    assert process.returncode == -signal.SIGKILL
    topics.server.put(topic, json.dumps({"id": 3}).encode(), qos=qos)
    with start(tmp_path, *arguments) as process:
        late = Timer(DEADLINE, process.kill)
        late.start()
        pause, deadline = Event(), time.monotonic() + DEADLINE
        while 3 not in _arrived(lake) and time.monotonic() < deadline:
            pause.wait(0.05)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate()
        late.cancel()
    assert process.returncode == 0, err
    assert (_arrived(lake) if qos == 2 else sorted(set(_arrived(lake)))) == [1, 2, 3]


@pytest.mark.crash
@pytest.mark.parametrize("point", ["before_call:1", "in_commit:1"])
def test_every_row_is_a_message(topics: Topics, tmp_path: Path, point: str) -> None:
    (tmp_path / "orders.csv").write_text("id\n" + "".join(f"{n}\n" for n in range(COUNT)))
    place = f"{topics.url.rpartition('/')[0]}?prefix={topics.root}/"
    told = ("sync", "file:orders.csv", "${env:D}", "--json", "--write", "append")
    with topics.server.listening(f"{topics.root}/orders") as heard:
        killed = tongqu(tmp_path, *told, D=place, TONGQU_CRASH_AT=point)
        assert killed.code == -signal.SIGKILL, killed.err
        done = tongqu(tmp_path, *told, D=place)
        assert done.code == 0, done.err
        topics.server.put(f"{topics.root}/orders", b"end")
        came = heard.until(b"end")
    assert sorted({json.loads(one.payload)["id"] for one in came}) == list(range(COUNT))
    assert len({dict(one.properties.UserProperty)["tongqu-id"] for one in came}) == COUNT
