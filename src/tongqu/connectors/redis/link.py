"""One connection to Redis over a socket of our own, and the driver's errors in our words."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from tongqu.connectors.redis.settings import RedisSettings
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

_CLUSTER = ("MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN")
_PASSING = ("LOADING", "READONLY", "MASTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS", "MISCONF", "OOM")


class Link:
    """A connection; used by one thread at a time. Raises ConnectError (retryable) for a lost one."""

    def __init__(self, settings: RedisSettings):
        self.settings = settings
        self.where = settings.display()
        self._redis = driver("redis", "redis")
        retry, backoff = driver("redis.retry", "redis"), driver("redis.backoff", "redis")
        password = settings.password.get_secret_value() if settings.password else None
        pool = self._redis.ConnectionPool(
            connection_class=self._kind(), host=settings.host, port=settings.port, db=settings.database,
            username=settings.user or None, password=password, protocol=2, client_name="tongqu",
            socket_timeout=settings.answer_seconds, retry=retry.Retry(backoff.NoBackoff(), 0),
        )  # fmt: skip
        self.secured = ""
        self.client: Any = self._redis.Redis.from_pool(pool)
        try:
            with self.told():
                self.client.ping()
        except BaseException:
            self.close()
            raise

    def _kind(self) -> Any:
        """The driver's connection over a socket whose address was checked, through all hops."""
        link, settings = self, self.settings

        class Own(driver("redis.connection", "redis").Connection):  # type: ignore[misc]  # the driver is lazy
            def _connect(self) -> socket.socket:
                return link._opened(settings)

        return Own

    def _opened(self, settings: RedisSettings) -> socket.socket:
        opened = settings.egress((settings.host, settings.port)).connect(
            settings.host, settings.port, settings.connect_seconds
        )
        if settings.tls is not None:
            try:
                opened = context(settings.tls).wrap_socket(opened, server_hostname=settings.host)
            except ssl.SSLError as error:
                opened.close()
                raise CertificateError(f"tls: {error.reason or error}", path=self.where, hint="check tls") from None
            self.secured = opened.version() or ""
        opened.settimeout(settings.answer_seconds)
        return opened

    @property
    def version(self) -> str:
        """The server's version."""
        with self.told():
            return str(_text(self.client.info("server")["redis_version"]))

    def together(self, *commands: Sequence[Any]) -> list[Any]:
        """The answers to commands that see one and the same instant (MULTI); an error of one is raised."""
        with self.told():
            pipe = self.client.pipeline(transaction=True)
            for command in commands:
                pipe.execute_command(*command)
            found: list[Any] = pipe.execute()
            return found

    @contextmanager
    def told(self) -> Iterator[None]:
        """The driver's errors as ours."""
        errors = self._redis.exceptions
        try:
            yield
        except errors.RedisError as error:
            raise self._meaning(error) from None
        except OSError as error:
            raise self._lost(error) from None

    def _meaning(self, error: Exception) -> TongquError:
        errors = self._redis.exceptions
        text = str(error)
        word = text.split(" ", 1)[0].upper()
        if isinstance(error, errors.AuthenticationError) or word in ("WRONGPASS", "NOAUTH"):
            return AuthError("the server refused the login", path=self.where, hint="check user and password")
        if isinstance(error, errors.NoPermissionError) or word == "NOPERM":
            hint = "ACL SETUSER NAME ~PREFIX* ~_tongqu_* +@stream +@scripting +hset +hget +scan"
            return PrivilegeError(f"not allowed: {text}", path=self.where, hint=hint)
        if "no such key" in text:
            return NotFoundError("there is no such stream", path=self.where, hint="check stream and prefix")
        if word in _CLUSTER or isinstance(error, errors.ClusterError):
            hint = "name a server that is no part of a cluster"
            return InvalidPlanError(f"a cluster was reached: {text}", path=self.where, hint=hint)
        if isinstance(error, errors.ConnectionError | errors.TimeoutError):
            return self._lost(error)
        if word in _PASSING or isinstance(error, errors.OutOfMemoryError):  # the driver takes its word off
            hint = "see the server's memory (maxmemory), disk and replicas; it is tried again"
            return ConnectError(f"the server can not do it now: {text}", path=self.where, hint=hint)
        return ReadError(text, path=self.where)

    def _lost(self, why: Exception) -> ConnectError:
        hint = "check host, port and the server's log"
        return ConnectError(f"the connection was lost: {why}", path=self.where, hint=hint)

    def close(self) -> None:
        """Release the connection; may be called twice."""
        with suppress(OSError):
            self.client.close()
            self.client.connection_pool.disconnect()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
