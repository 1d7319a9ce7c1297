"""One connection to RabbitMQ over a socket of our own, and the driver's errors in our words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from tongqu.connectors.rabbitmq.settings import RabbitmqSettings
from tongqu.core.errors import (
    AuthError,
    CertificateError,
    ConnectError,
    InvalidPlanError,
    NotFoundError,
    PrivilegeError,
    ReadError,
    TongquError,
)
from tongqu.kit.drivers import driver
from tongqu.kit.tls import context

_MOMENT, _LEAVING = 0.0005, 5.0


class Link:
    """A connection with channels; used by one thread at a time. Raises ConnectError (retryable) for a lost one."""

    def __init__(self, settings: RabbitmqSettings):
        self._settings = settings
        self.where = settings.display()
        self._amqp = driver("amqp", "rabbitmq")
        password = settings.password.get_secret_value() if settings.password else ""
        certificate = settings.tls is not None and bool(settings.tls.cert_file)
        capabilities = {
            "consumer_cancel_notify": True, "basic.nack": True, "publisher_confirms": True,
            "authentication_failure_close": True,
        }  # fmt: skip
        self._connection = self._amqp.Connection(
            f"{settings.host}:{settings.port}", settings.user, password,
            login_method="EXTERNAL" if certificate and not password else "PLAIN",
            virtual_host=settings.virtual_host, ssl=settings.tls is not None,
            connect_timeout=settings.connect_seconds,
            client_properties={"product": "tongqu", "capabilities": capabilities},
        )  # fmt: skip
        self._connection.Transport = self._transport
        with self.told(login=True):
            self._connection.connect()

    def _transport(self, host: str, connect_timeout: float, *_: Any, **__: Any) -> Any:
        """The driver's transport over a socket whose address was checked, through all hops."""
        settings = self._settings
        module = driver("amqp.transport", "rabbitmq")
        kind = module.SSLTransport if settings.tls is not None else module.TCPTransport
        made = kind(host, connect_timeout)

        def connect(*_: Any) -> None:
            made.sock = settings.egress((settings.host, settings.port)).connect(
                settings.host, settings.port, settings.connect_seconds
            )

        made._connect = connect
        if settings.tls is not None:
            secure = context(settings.tls)
            made._wrap_socket = lambda sock, **_: secure.wrap_socket(
                sock, server_hostname=settings.host, do_handshake_on_connect=False
            )
        return made

    @property
    def secured(self) -> str:
        """The version of TLS; empty without."""
        sock = self._connection.transport.sock
        return str(sock.version()) if hasattr(sock, "version") else ""

    @property
    def version(self) -> str:
        """The server's version."""
        return str(self._connection.server_properties.get("version", ""))

    def channel(self) -> Any:
        """A channel that hands bodies over as they are."""
        with self.told():
            made = self._connection.channel()
        made.auto_decode = False
        return made

    def message(self, body: bytes, properties: Mapping[str, Any]) -> Any:
        """A message to be published."""
        return self._amqp.Message(body, **properties)

    def exists(self, queue: str) -> int | None:
        """How many messages are ready in a queue (0 for a stream); None if there is no such queue."""
        with self.told():
            channel = self._connection.channel()
        try:
            with self.told():
                return int(channel.queue_declare(queue, passive=True).message_count)
        except NotFoundError:
            return None
        finally:
            self._shut(channel)

    def make(self, queue: str, kind: str) -> None:
        """Make a durable queue; harmless if it is there, of whatever kind."""
        if self.exists(queue) is not None:
            return
        channel = self.channel()
        with self.told():
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-queue-type": kind})
        self._shut(channel)

    def consume(self, queue: str, prefetch: int, take: Callable[[Any], None], offset: int | str | None = None) -> Any:
        """Have messages of a queue handed to `take`, of a stream from an offset on; returns the channel, on which they
        are acknowledged. Raises ConnectError when the server takes the queue away."""

        def gone(tag: str) -> None:
            raise ConnectError(f"the server has ended reading of {queue} ({tag})", path=self.where)

        channel = self.channel()
        arguments = {} if offset is None else {"x-stream-offset": offset}
        with self.told():
            channel.basic_qos(0, prefetch, False)
            channel.basic_consume(queue, callback=take, arguments=arguments, on_cancel=gone)
        return channel

    def publisher(self) -> Any:
        """A channel on which the server confirms each message."""
        channel = self.channel()
        with self.told():
            channel.confirm_select()
        return channel

    def drain(self, seconds: float) -> bool:
        """Wait for one thing that comes and handle it; False if nothing came in time."""
        try:
            with self.told():
                self._connection.drain_events(timeout=max(seconds, _MOMENT))
        except _SilentError:
            return False
        return True

    def _shut(self, channel: Any) -> None:
        with suppress(TongquError, _SilentError), self.told():
            if channel.is_open:
                channel.close()

    @contextmanager
    def told(self, *, login: bool = False) -> Iterator[None]:
        """The driver's errors as ours."""
        import ssl

        errors = self._amqp.exceptions
        try:
            yield
        except TimeoutError:
            if login:
                raise ConnectError("no answer in time", path=self.where, hint="check host and port") from None
            raise _SilentError from None
        except ssl.SSLError as error:
            raise CertificateError(f"tls: {error.reason or error}", path=self.where, hint="check tls") from None
        except errors.AMQPError as error:
            raise self._meaning(error, login) from None
        except (OSError, AttributeError) as error:  # the driver's connection has no transport once it was lost
            raise ConnectError(
                f"the connection was lost: {error}", path=self.where, hint="check host, port and the server's log"
            ) from None

    def _meaning(self, error: Any, login: bool) -> TongquError:
        errors = self._amqp.exceptions
        text = str(getattr(error, "reply_text", "") or error)
        if isinstance(error, errors.AccessRefused):
            if login:
                return AuthError("the server refused the login", path=self.where, hint="check user and password")
            hint = "rabbitmqctl set_permissions -p VHOST USER CONFIGURE WRITE READ"
            return PrivilegeError(f"not allowed: {text}", path=self.where, hint=hint)
        if isinstance(error, errors.NotAllowed):
            return PrivilegeError(f"not allowed: {text}", path=self.where, hint="check virtual_host and its rights")
        if isinstance(error, errors.NotFound) and "down or inaccessible" not in text:
            return NotFoundError(text, path=self.where, hint="check the queue's or exchange's name and the prefix")
        if isinstance(error, errors.PreconditionFailed | errors.AMQPNotImplementedError):
            return InvalidPlanError(text, path=self.where, hint="check kind: quorum, classic or stream")
        if isinstance(error, errors.ConnectionError | errors.RecoverableChannelError | errors.NotFound):
            return ConnectError(f"the connection was lost: {text}", path=self.where, hint="check the server's log")
        return ReadError(text, path=self.where)

    def close(self) -> None:
        """Release the connection, after all that was sent has arrived; may be called twice."""
        with suppress(TongquError, _SilentError), self.told():
            transport = self._connection.transport
            if transport is not None and transport.connected:
                transport.sock.settimeout(_LEAVING)
                self._connection.close()
        with suppress(OSError):
            self._connection.collect()


class _SilentError(Exception):
    """Nothing came in time."""
