"""Topics that are followed: the broker's session keeps what comes while we are away."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from threading import Event, Timer
from typing import Any, cast

import pytest
from tests.connectors.mqtt.conftest import DEADLINE, Topics, taken

from tongqu.connectors.mqtt.settings import MqttSettings, from_url
from tongqu.connectors.mqtt.source import MqttSource
from tongqu.core.data import Batch, Read, Split
from tongqu.core.errors import AuthError, InvalidPlanError, InvalidSettingsError
from tongqu.core.log import Follow


def order(number: int) -> bytes:
    return json.dumps({"id": number}).encode()


@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_sent_while_we_are_away_comes(topics: Topics, qos: int) -> None:
    with topics.log(qos=qos) as log:
        begin = log.begin()
        topics.server.put(f"{topics.root}/a", order(1), order(2), qos=qos)
        rows, _, position = taken(log, begin, 2)
        log.acknowledge(position)
    topics.server.put(f"{topics.root}/a", order(3), qos=qos)
    with topics.log(qos=qos) as log:
        more, _, position = taken(log, position, 1)
        assert [row["id"] for row in rows + more] == [1, 2, 3]
        assert log.lag(position).rows == 0
        log.forget()


def test_messages_of_qos_0_come_while_we_listen(topics: Topics) -> None:
    stop, found = Event(), []
    late = Timer(DEADLINE, stop.set)
    late.start()
    with topics.log(qos=0) as log:
        begin = log.begin()
        with closing(cast("Generator[Batch]", log.read(Follow(begin, stop=stop)))) as reading:
            for batch in reading:  # heartbeats among them
                topics.server.put(f"{topics.root}/a", order(1), qos=0)
                found += batch.rows.to_pylist()
                if found:
                    break
    late.cancel()
    assert found[0] == {"id": 1}


def test_wildcards_retained_and_user_properties_are_told(topics: Topics) -> None:
    topics.server.put(f"{topics.root}/north/orders", order(1), retain=True, site="n")
    metadata = ["_topic", "_qos", "_retained", "_user_properties"]
    with topics.log(topic=f"{topics.root}/+/orders", qos=2, metadata=metadata) as log:
        begin = log.begin()
        topics.server.put(f"{topics.root}/south/bills", order(2))
        topics.server.put(f"{topics.root}/south/orders", order(3), qos=2)
        rows, _, _ = taken(log, begin, 2)
    assert [(row["id"], row["_topic"].rpartition(topics.root)[2], row["_qos"], row["_retained"]) for row in rows] == [
        (1, "/north/orders", 1, True), (3, "/south/orders", 2, False),
    ]  # fmt: skip
    assert [row["_user_properties"] for row in rows] == ['[["site", "n"]]', None]
    topics.server.put(f"{topics.root}/north/orders", b"", retain=True)


def test_a_poison_message_is_set_aside(topics: Topics) -> None:
    with topics.log() as log:
        begin = log.begin()
        topics.server.put(f"{topics.root}/a", b"\xff no json", order(2))
        rows, bad, _ = taken(log, begin, 2)
    assert [row["id"] for row in rows] == [2]
    assert (bad[0].code, "stream orders, message 1" in bad[0].message) == ("message.unreadable", True)


def test_a_broker_that_restarts_loses_nothing(topics: Topics) -> None:
    stop, found = Event(), []
    late = Timer(DEADLINE, stop.set)
    late.start()
    with topics.log(qos=2) as log:
        begin = log.begin()
        topics.server.put(f"{topics.root}/a", order(1), qos=2)
        with closing(cast("Generator[Batch]", log.read(Follow(begin, stop=stop)))) as reading:
            for batch in reading:
                for row in batch.rows.to_pylist():
                    found.append(row["id"])
                    if row["id"] < 3:
                        topics.server.restart()
                        topics.server.put(f"{topics.root}/a", order(row["id"] + 1), qos=2)
                if 3 in found:
                    break
    late.cancel()
    assert found == [1, 2, 3]


def test_a_check_tells_its_stages(topics: Topics) -> None:
    stages = list(MqttSource(topics.settings()).check())
    assert stages[-3:] == [
        "tls: not used", "login (MQTT 5, QoS up to 2)", f"subscribe {topics.root}/#: QoS 1",
    ]  # fmt: skip


def test_a_wrong_password_is_refused_and_not_shown(topics: Topics) -> None:
    settings = MqttSettings.parse(topics.settings().model_dump() | {"password": "s3cr3t-wrong"})
    with pytest.raises(AuthError) as caught:
        list(MqttSource(settings).check())
    assert "s3cr3t" not in f"{caught.value} {caught.value.hint}"


def test_a_topic_is_only_followed_and_its_fields_are_declared(topics: Topics) -> None:
    source = MqttSource(topics.settings())
    (dataset,) = source.datasets()
    with pytest.raises(InvalidPlanError, match="followed"):
        next(iter(source.read(Read(dataset, Split("0", "orders")))))
    with pytest.raises(InvalidSettingsError, match="declared"):
        MqttSource(topics.settings(fields={})).datasets()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mqtt://h", {"host": "h", "port": 1883, "topics": {}}),
        ("mqtts://me:p%40ss@h?keep_alive=9", {"user": "me", "port": 8883, "keep_alive": 9}),
    ],
)
def test_a_url_says_where_and_how(url: str, told: dict[str, Any]) -> None:
    settings = from_url(url)
    assert {name: getattr(settings, name) for name in told} == told


def test_a_url_names_a_topic() -> None:
    said = from_url("mqtt://h/plant/+/orders/%23#fields=id:int64&qos=2&metadata=_topic").topics["orders"]
    assert (said.topic, said.fields, said.qos, said.metadata) == ("plant/+/orders/#", {"id": "int64"}, 2, ("_topic",))
