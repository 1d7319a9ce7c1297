"""Starts private RabbitMQ servers, each with an epmd of its own."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tongqu.testing.services.install import program
from tongqu.testing.services.process import ServerProcess, account, free_port, give, new_folder
from tongqu.testing.services.service import Service

_BINARY = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class Rabbitmq(Service):
    """RabbitMQ with a login, which speaks AMQP 0.9.1 and 1.0 at one port and STOMP at another. A "database" is a prefix
    that all names of queues begin with."""

    name: ClassVar[str] = "RabbitMQ"
    _home: ClassVar[str] = ""
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    stomp_port = 0
    _epmd: ServerProcess | None = None
    _epmd_port = 0

    def url_of(self, database: str) -> str:
        return f"amqp://tongqu:{self._password}@{self.host}:{self.port}/?prefix={database}"

    def database(self, name: str | None = None) -> str:
        """The URL of a prefix that nobody has used (a random one if None)."""
        return self.url_of(name or f"t{secrets.token_hex(6)}.")

    def drop(self, database: str) -> None:
        """Nothing: AMQP does not tell which queues there are; they go with the server."""

    def queue(self, name: str, kind: str = "quorum", **arguments: Any) -> None:
        """Makes a durable queue."""
        with self.client() as client:
            told = {"x-queue-type": kind} | {key.replace("_", "-"): value for key, value in arguments.items()}
            client.channel().queue_declare(name, durable=True, auto_delete=False, arguments=told)

    def put(self, queue: str, *values: bytes, **properties: Any) -> None:
        """Writes messages of the same properties, confirmed when this returns."""
        self.put_all(queue, [(value, properties) for value in values])

    def put_all(self, queue: str, messages: Sequence[tuple[bytes, Mapping[str, Any]]]) -> None:
        """Writes messages with their properties, confirmed when this returns."""
        import amqp

        with self.client(confirm_publish=True) as client:
            channel = client.channel()
            for value, properties in messages:
                channel.basic_publish(amqp.Message(value, delivery_mode=2, **properties), routing_key=queue)

    def taken(self, queue: str) -> list[Any]:
        """The messages that are ready in a queue, taken out of it."""
        with self.client() as client:
            channel = client.channel()
            found = []
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                found.append(message)
            return found

    def ready(self, queue: str) -> int:
        """How many messages are ready in a queue."""
        with self.client() as client:
            return int(client.channel().queue_declare(queue, passive=True).message_count)

    def client(self, **more: Any) -> Any:
        """The driver's connection, to be closed; opened by `with`."""
        import amqp

        return amqp.Connection(
            f"{self.host}:{self.port}", "tongqu", self._password, login_method="PLAIN", connect_timeout=10, **more
        )

    def stop(self) -> None:
        """See Service.stop. The program is a script that the server does not end with, so all of it is killed; its epmd
        ends too."""
        self.kill9()
        super().stop()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd = None

    def _create(self, database: str) -> None:
        """Nothing: a queue is there when it is made."""

    def _launch(self, port: int) -> bool:
        if self._epmd is None:
            self._epmd_port = free_port()
            command: list[str | Path] = [
                program("epmd", "erlang-base"),
                "-address",
                self.host,
                "-port",
                str(self._epmd_port),
            ]
            self._epmd = ServerProcess(command, self._owner, self._folder)
        return super()._launch(port)

    def _command(self, port: int) -> Sequence[str | Path]:
        config, plugins = self._folder / "rabbitmq.conf", self._folder / "plugins"
        if not config.exists():
            self.stomp_port = free_port()
            config.write_text(
                f"default_user = tongqu\ndefault_pass = {self._password}\nloopback_users = none\n"
                "disk_free_limit.absolute = 50MB\nlog.console = true\nlog.file = false\n"
                f"stomp.listeners.tcp.1 = {self.host}:{self.stomp_port}\n"
            )
            plugins.write_text("[rabbitmq_amqp1_0,rabbitmq_stomp].\n")
            for path in (config, plugins):
                path.chmod(0o600)
                give(path, self._owner)
        settings: Mapping[str, object] = {
            "RABBITMQ_NODENAME": f"r{port}@localhost", "RABBITMQ_NODE_PORT": port,
            "RABBITMQ_NODE_IP_ADDRESS": self.host, "RABBITMQ_DIST_PORT": self._distribution(),
            "ERL_EPMD_PORT": self._epmd_port, "ERL_EPMD_ADDRESS": self.host, "RABBITMQ_CONFIG_FILE": config,
            "RABBITMQ_MNESIA_BASE": self._folder / "mnesia", "RABBITMQ_LOG_BASE": self._folder / "log",
            "RABBITMQ_PID_FILE": self._folder / "pid", "RABBITMQ_ENABLED_PLUGINS_FILE": plugins,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
            "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none",
        }  # fmt: skip
        told: list[str | Path] = [f"{name}={value}" for name, value in settings.items()]
        return ["/usr/bin/env", *told, _BINARY]

    _distribution_port = 0

    def _distribution(self) -> int:
        self._distribution_port = self._distribution_port or free_port()
        return self._distribution_port

    def _probe(self) -> str:
        with self.client() as client:
            return str(client.server_properties["version"])

    def _not_ready(self) -> type[Exception]:
        return Exception  # while it starts the driver raises errors of three families


def start_rabbitmq() -> Rabbitmq:
    """Starts RabbitMQ; ServiceMissingError when it is not installed, ServiceError when it does not answer in time."""
    program("rabbitmqctl", "rabbitmq-server")
    owner = account("rabbitmq")
    return Rabbitmq(new_folder("tongqu-rabbitmq-", owner), owner)._start()
