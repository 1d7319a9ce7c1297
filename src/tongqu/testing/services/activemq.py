"""Starts private ActiveMQ brokers that speak STOMP, and speaks with them in a few frames of its own."""

from __future__ import annotations

import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, ClassVar

from tongqu.testing.services.errors import ServiceError, ServiceMissingError
from tongqu.testing.services.install import program
from tongqu.testing.services.process import give, new_folder
from tongqu.testing.services.service import Service

_LIB = Path("/usr/share/activemq/lib")
_SECONDS = 30.0
_CONFIG = """<beans xmlns="http://www.springframework.org/schema/beans"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.springframework.org/schema/beans
 http://www.springframework.org/schema/beans/spring-beans.xsd http://activemq.apache.org/schema/core
 http://activemq.apache.org/schema/core/activemq-core.xsd">
<broker xmlns="http://activemq.apache.org/schema/core" brokerName="tongqu" dataDirectory="{folder}" useJmx="false"
 advisorySupport="false" schedulerSupport="false" useShutdownHook="true">
<persistenceAdapter><kahaDB directory="{folder}/kahadb" journalMaxFileLength="4mb"/></persistenceAdapter>
<plugins><simpleAuthenticationPlugin><users>
<authenticationUser username="tongqu" password="{password}" groups="users"/>
</users></simpleAuthenticationPlugin></plugins>
<systemUsage><systemUsage>
<memoryUsage><memoryUsage limit="64mb"/></memoryUsage><storeUsage><storeUsage limit="200mb"/></storeUsage>
<tempUsage><tempUsage limit="50mb"/></tempUsage>
</systemUsage></systemUsage>
<transportConnectors><transportConnector name="stomp" uri="stomp://{host}:{port}"/></transportConnectors>
</broker></beans>
"""
Head = dict[str, str]


class Activemq(Service):
    """ActiveMQ ("Classic") with a login and a disk store. A "database" is a prefix that all names of queues begin with;
    addresses are `/queue/NAME`."""

    name: ClassVar[str] = "ActiveMQ"
    _home: ClassVar[str] = ""
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    def url_of(self, database: str) -> str:
        return f"stomp://tongqu:{self._password}@{self.host}:{self.port}/?prefix=/queue/{database}"

    def database(self, name: str | None = None) -> str:
        """The URL of a prefix that nobody has used (a random one if None)."""
        return self.url_of(name or f"t{secrets.token_hex(6)}.")

    def drop(self, database: str) -> None:
        """Nothing: the queues go with the broker."""

    def put(self, queue: str, *bodies: bytes, **headers: str) -> None:
        """Writes durable messages, each confirmed when this returns."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        with self._talk() as (say, hear):
            for number, body in enumerate(bodies):
                receipt = {"receipt": f"r{number}", "content-length": str(len(body))}
                say("SEND", {"destination": queue, "persistent": "true"} | receipt | told, body)
                command, head, _ = hear()
                if (command, head.get("receipt-id")) != ("RECEIPT", f"r{number}"):
                    raise ServiceError(f"no receipt but {command} {head}")

    def held(self, queue: str) -> list[tuple[Head, bytes]]:
        """The messages that are in a queue and with nobody, which stay there: their headers and bodies."""
        with self._talk() as (say, hear):
            say("SUBSCRIBE", {"id": "0", "destination": queue, "ack": "auto", "browser": "true"})
            found: list[tuple[Head, bytes]] = []
            while True:
                _, head, body = hear()
                if head.get("browser") == "end":
                    return found
                found.append((head, body))

    @contextmanager
    def _talk(self) -> Iterator[tuple[Callable[..., None], Callable[[], tuple[str, Head, bytes]]]]:
        with socket.create_connection((self.host, self.port), _SECONDS) as line, line.makefile("rb") as came:

            def say(command: str, head: Head, body: bytes = b"") -> None:
                lines = "".join(f"{name}:{value}\n" for name, value in head.items())
                line.sendall(f"{command}\n{lines}\n".encode() + body + b"\0")

            def hear() -> tuple[str, Head, bytes]:
                command = b""
                while not command.strip():
                    command = came.readline()
                    if not command:
                        raise ServiceError("ActiveMQ ended the connection")
                head: Head = {}
                while text := came.readline().decode().rstrip("\n"):
                    name, _, value = text.partition(":")
                    head.setdefault(name, value.replace("\\c", ":"))
                body = came.read(int(head["content-length"]) + 1) if "content-length" in head else _until_nul(came)
                return command.decode().strip(), head, body[:-1]

            say("CONNECT", {"accept-version": "1.2", "host": "/", "login": "tongqu", "passcode": self._password})
            command, head, _ = hear()
            if command != "CONNECTED":
                raise ServiceError(f"ActiveMQ refused the login: {head}")
            self._said = head.get("server", "")
            yield say, hear

    _said = ""

    def _create(self, database: str) -> None:
        """Nothing: a queue is there when it is written."""

    def _command(self, port: int) -> Sequence[str | Path]:
        config = self._folder / "activemq.xml"
        config.write_text(_CONFIG.format(folder=self._folder, password=self._password, host=self.host, port=port))
        config.chmod(0o600)
        give(config, self._owner)
        jars = ":".join(str(jar) for jar in sorted([*_LIB.glob("*.jar"), *_LIB.glob("*/*.jar")]))
        return [
            program("java", "default-jdk-headless"), "-Xmx128m", "-Xss512k", "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1", "-Dactivemq.home=/usr/share/activemq", f"-Dactivemq.base={self._folder}",
            f"-Dactivemq.conf={self._folder}", f"-Dactivemq.data={self._folder}", f"-Djava.io.tmpdir={self._folder}",
            "-cp", jars, "org.apache.activemq.console.Main", "start", f"xbean:file:{config}",
        ]  # fmt: skip

    def _probe(self) -> str:
        with self._talk():
            return self._said.rpartition("/")[2]

    def _not_ready(self) -> type[Exception]:
        return Exception  # refused, ended in the middle, or not yet able to log anybody in


def _until_nul(came: BinaryIO) -> bytes:
    found = bytearray()
    while not found.endswith(b"\0"):
        more = came.read(1)
        if not more:
            raise ServiceError("ActiveMQ ended the connection")
        found += more
    return bytes(found)


def start_activemq() -> Activemq:
    """Starts ActiveMQ; ServiceMissingError when it is not installed, ServiceError when it does not answer in time."""
    if not (_LIB / "activemq-stomp.jar").exists():
        raise ServiceMissingError("activemq")
    return Activemq(new_folder("tongqu-activemq-", None), None)._start()
