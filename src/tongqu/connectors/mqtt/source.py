"""Follows topics."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from hashlib import blake2b
from pathlib import Path

from tongqu.connectors.mqtt.feed import MqttFeed
from tongqu.connectors.mqtt.settings import MqttSettings
from tongqu.connectors.mqtt.topic import Topic
from tongqu.connectors.mqtt.wire import Wire
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Position, Read
from tongqu.core.errors import ConnectorError, InvalidPlanError, InvalidSettingsError, NotFoundError
from tongqu.core.log import Finding, Log
from tongqu.kit import lasting
from tongqu.kit.patterns import nearest, wanted
from tongqu.kit.push.log import PushLog
from tongqu.kit.push.receiver import Patience, Receiver
from tongqu.kit.push.spool import Spool


class MqttSource(Source):
    """Topics of the settings as datasets, which can only be followed."""

    def __init__(self, settings: MqttSettings):
        self._settings = settings
        self._folder: Path | None = None

    def lodge(self, folder: Path) -> None:
        """See Source.lodge: what came is kept here."""
        self._folder = folder

    def check(self) -> Iterator[str]:
        """See Source.check: subscribes each topic for a moment, and takes no message."""
        wire = yield from reached(self._settings)
        with closing(wire):
            for name in self._settings.topics:
                said = self._settings.said(name)
                granted = wire.subscribe(said.topic, said.qos, "never")
                yield f"subscribe {said.topic}: QoS {granted}"
            wire.leave()

    def datasets(self, patterns: Sequence[str] | None = None) -> list[Dataset]:
        """See Source.datasets: the topics of the settings."""
        return [self._topic(name).dataset() for name in self._settings.topics if wanted(name, patterns)]

    def _topic(self, name: str) -> Topic:
        said = self._settings.said(name)
        if said.format == "json" and not said.fields:
            raise InvalidSettingsError(
                f"the fields of {name!r} must be declared, since there is no sample of a topic",
                path=f"topics.{name}.fields", hint="fields: {id: int64, …}, or format: text",
            )  # fmt: skip
        return Topic.of(name, said)

    def read(self, read: Read) -> Iterator[Batch]:
        """Raises InvalidPlanError: a topic has no end at which it would be whole."""
        raise InvalidPlanError(
            f"{read.dataset.name!r} is pushed to us and can only be followed", path=read.dataset.name,
            hint="use --mode stream",
        )  # fmt: skip

    def log(self, name: str, datasets: Sequence[Dataset]) -> Log:
        """See Source.log."""
        settings = self._settings
        if len(datasets) != 1:
            raise InvalidPlanError(f"each topic is followed by itself, not {len(datasets)} together")
        topic = datasets[0].name
        if topic not in settings.topics:
            raise NotFoundError(f"there is no topic {topic!r}", hint=nearest(topic, list(settings.topics)))
        if self._folder is None:
            raise InvalidPlanError("what is pushed is kept in the project's home, and there is none here")
        spool = Spool(self._folder, settings.keep_days)
        feed = MqttFeed(settings, topic, settings.said(topic), self._client(self._folder, topic), spool)
        return MqttLog(spool, name, self._topic(topic), feed, settings)

    def _client(self, folder: Path, topic: str) -> str:
        """The client id of a topic: of the settings, or made of a number that is drawn once for this folder."""
        if self._settings.client_id:
            return f"{self._settings.client_id}-{topic}"
        lasting.make_folder(folder)
        drawn = lasting.put_first(folder / "mqtt.client", secrets.token_hex(16).encode())
        return "tongqu-" + blake2b(drawn + f" {topic}".encode(), digest_size=8).hexdigest()


class MqttLog(PushLog):
    """See PushLog. The broker keeps a session from `begin` on, also while we are away."""

    def __init__(self, spool: Spool, name: str, topic: Topic, feed: MqttFeed, settings: MqttSettings):
        patience = Patience(settings.first_seconds, settings.longest_seconds)
        super().__init__(spool, name, topic, lambda: Receiver(spool, topic.name, feed, patience))
        self._feed, self._session = feed, settings.session_seconds

    def begin(self) -> Position:
        """See PushLog.begin."""
        position = super().begin()
        self._alone(self._feed.subscribe)
        return position

    def _alone(self, work: Callable[[], None]) -> None:
        """Do something with the session, unless another process receives by it."""
        place = self._spool.claim(self._pushed.name)
        if place is None:
            return
        try:
            work()
        finally:
            os.close(place)

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        days = self._session / 86_400
        return [Finding("session", "ok", f"the broker keeps messages of QoS 1 and 2 for us for {days:g} days")]

    def forget(self) -> None:
        """See Log.forget: the broker forgets the session too, if it can be reached."""
        super().forget()
        with suppress(ConnectorError):
            self._alone(self._feed.end)


def reached(settings: MqttSettings) -> Generator[str, None, Wire]:
    """The stages of a check up to the login, in a session of its own; returns the connection, which the caller
    closes."""
    way = settings.egress((settings.host, settings.port))
    yield from way.stages(settings.host, settings.port, seconds=settings.connect_seconds)
    wire = Wire(settings, f"tongqu-{secrets.token_hex(8)}")
    try:
        yield f"tls: {wire.secured or 'not used'}"
        yield f"login (MQTT 5, QoS up to {wire.best_qos}{'' if wire.retains else ', no retained messages'})"
    except BaseException:
        wire.close()
        raise
    return wire
