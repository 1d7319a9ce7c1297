"""Starts private Mosquitto brokers, and speaks with them through Eclipse's own Python client."""

from __future__ import annotations

import secrets
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, Event
from typing import TYPE_CHECKING, Any, ClassVar

from tongqu.testing.services.errors import ServiceError
from tongqu.testing.services.install import program
from tongqu.testing.services.process import new_folder
from tongqu.testing.services.service import Service

if TYPE_CHECKING:
    from tongqu.testing.services.certificates import Authority

_SECONDS = 60.0
_ACL = "user tongqu\ntopic readwrite #\ntopic deny forbidden/#\n"


class Heard:
    """Messages that came to a listener."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self._changed = Condition()

    def add(self, message: Any) -> None:
        """Note one."""
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def wait(self, count: int) -> list[Any]:
        """The messages, once there are so many."""
        return self._when(lambda: len(self.messages) >= count)

    def until(self, body: bytes) -> list[Any]:
        """The messages before the one with this body, once it has come."""
        return self._when(lambda: any(one.payload == body for one in self.messages))[:-1]

    def _when(self, there: Callable[[], bool]) -> list[Any]:
        with self._changed:
            if not self._changed.wait_for(there, _SECONDS):
                raise ServiceError(f"only {len(self.messages)} messages came")
            return list(self.messages)


class Mosquitto(Service):
    """Mosquitto with a login; nobody may publish below `forbidden/`. A "database" is a first part of topics. Sessions
    and their messages are on disk when it is restarted in order."""

    name: ClassVar[str] = "Mosquitto"
    _home: ClassVar[str] = ""
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    authority: Authority | None = None
    """Whose certificate the broker has; None: it speaks without TLS."""

    def url_of(self, database: str) -> str:
        return f"mqtt://tongqu:{self._password}@{self.host}:{self.port}/{database}"

    def database(self, name: str | None = None) -> str:
        """The URL of a first part of topics that nobody has used (a random one if None)."""
        return self.url_of(name or f"t{secrets.token_hex(6)}")

    def drop(self, database: str) -> None:
        """Nothing: topics are not things that stay."""

    def put(self, topic: str, *bodies: bytes, qos: int = 1, retain: bool = False, **user: str) -> None:
        """Publishes messages, confirmed when this returns."""
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # it has no types
        if user:
            properties.UserProperty = list(user.items())
        with self._client() as client:
            sent = [client.publish(topic, body, qos, retain, properties) for body in bodies]
            for one in sent:
                one.wait_for_publish(_SECONDS)

    @contextmanager
    def listening(self, topic: str, qos: int = 2) -> Iterator[Heard]:
        """What comes to a topic filter meanwhile."""
        heard, ready = Heard(), Event()
        with self._client() as client:
            client.on_message = lambda _client, _data, message: heard.add(message)
            client.on_subscribe = lambda *_: ready.set()
            client.subscribe(topic, qos)
            if not ready.wait(_SECONDS):
                raise ServiceError("the broker did not answer a subscription")
            yield heard

    @contextmanager
    def _client(self) -> Iterator[Any]:
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        client, ready = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5), Event()
        client.username_pw_set("tongqu", self._password)
        if self.authority is not None:
            client.tls_set(str(self.authority.ca_file))
        client.on_connect = lambda *_: ready.set()
        client.connect("localhost" if self.authority is not None else self.host, self.port)
        client.loop_start()
        try:
            if not ready.wait(_SECONDS):
                raise ServiceError("the broker did not answer a login")
            yield client
        finally:
            client.disconnect()
            client.loop_stop()

    def _create(self, database: str) -> None:
        """Nothing: a topic is there when something is published."""

    def _command(self, port: int) -> Sequence[str | Path]:
        folder = self._folder
        passwords, rights = folder / "passwords", folder / "rights"
        if not passwords.exists():
            passwords.touch(mode=0o600)
            tool = program("mosquitto_passwd", "mosquitto")
            subprocess.run([tool, "-b", passwords, "tongqu", self._password], check=True, capture_output=True)
            rights.write_text(_ACL)
            rights.chmod(0o600)
        lines = [
            f"listener {port} {self.host}", "allow_anonymous false", f"password_file {passwords}",
            f"acl_file {rights}", "user root", "persistence true", f"persistence_location {folder}/",
            "max_queued_messages 0", "log_dest stderr",
        ]  # fmt: skip
        if self.authority is not None:
            both = self.authority.issue("localhost")
            lines += [f"certfile {both}", f"keyfile {both}"]
        config = folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        return [program("mosquitto", "mosquitto"), "-c", config]

    def _probe(self) -> str:
        with self._client():
            pass
        told = subprocess.run([program("mosquitto", "mosquitto"), "-h"], capture_output=True, text=True, check=False)
        with suppress(IndexError):
            return told.stdout.split()[2]
        return ""

    def _not_ready(self) -> type[Exception]:
        return OSError


def start_mosquitto(authority: Authority | None = None) -> Mosquitto:
    """Starts Mosquitto; ServiceMissingError when it is not installed, ServiceError when it does not answer in time."""
    program("mosquitto", "mosquitto")
    made = Mosquitto(new_folder("tongqu-mosquitto-", None), None)
    made.authority = authority
    return made._start()
