"""Settings of a PostgreSQL connection, and its URL form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode

from pydantic import model_validator

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Secret, titled
from tongqu.kit.egress.settings import Networked

if TYPE_CHECKING:
    from tongqu.kit.egress.dial import Route


class PostgresSettings(Networked):
    """A PostgreSQL database (also openGauss, KingbaseES and others that speak its protocol)."""

    host: str = titled("主机", "Host", "localhost")
    """Host name, address, or the folder of a Unix socket."""
    port: int = titled("端口", "Port", 5432, ge=1, le=65535)
    """TCP port."""
    user: str = titled("用户", "User", "")
    """Login role; empty means the operating system's user."""
    password: Secret | None = titled("密码", "Password", None)
    """Password; better given as ${env:NAME} or ${secret:NAME}."""
    database: str = titled("数据库", "Database", "")
    """Database name; empty means the same as the user."""
    schema_name: str | None = titled("模式", "Schema", None, alias="schema")
    """Default schema instead of the first one of the search path."""
    tls: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = titled("TLS", "TLS", "prefer")
    """How much TLS is demanded, as libpq's sslmode."""
    ca_file: str | None = titled("CA 证书", "CA file", None)
    """Certificate authority that the server's certificate must chain to."""
    cert_file: str | None = titled("客户端证书", "Client certificate", None)
    """Client certificate, if the server asks for one."""
    key_file: str | None = titled("客户端私钥", "Client key", None)
    """Private key of the client certificate."""
    connect_seconds: int = titled("连接超时(秒)", "Connect timeout, seconds", 10, ge=1)
    """Give up connecting after this many seconds."""
    lock_seconds: int = titled("锁等待(秒)", "Lock timeout, seconds", 30, ge=1)
    """Give up waiting for a lock after this many seconds."""
    idle_seconds: int = titled("写事务空闲上限(秒)", "Idle limit of a writing transaction, seconds", 3600, ge=0)
    """The server ends a transaction of ours in which nothing was said for so long, as when our process was stopped in
    it, so that another can take over; 0 never."""
    lag_seconds: float = titled("迟到窗口(秒)", "Lag, seconds", 0.0, ge=0)
    """How far incremental reads stay behind when the open transactions of others cannot be seen."""
    wait_seconds: float = titled("等待写事务(秒)", "Wait for writers, seconds", 10.0, ge=0)
    """How long an incremental read by a number waits for transactions that are writing the table. Numbers drawn ahead
    of the row (a sequence with CACHE, blocks kept by an application) can still come late: use a time cursor there."""
    timezone: str | None = titled("时区", "Time zone", None)
    """Zone of naive timestamps, for steps that need one; data itself is never shifted."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.via and self.host.startswith("/"):
            raise ValueError("a Unix socket is on this machine: name the host and port that the last hop reaches")
        return self

    def identity(self) -> str:
        """See Endpoint.identity."""
        schema = f"?schema={self.schema_name}" if self.schema_name else ""
        return f"postgresql://{self.host}:{self.port}/{self.database or self.user}{schema}"

    def display(self) -> str:
        """See Endpoint.display."""
        who = f"{self.user}@" if self.user else ""
        return f"postgresql://{who}{self.host}:{self.port}/{self.database or self.user}"

    def stages(self) -> Iterator[str]:
        """The first stages of a check: how the server is reached."""
        if self.host.startswith("/"):
            yield "socket"
        else:
            way = self.egress((self.host, self.port))
            yield from way.stages(self.host, self.port, seconds=self.connect_seconds)

    def route(self) -> Route:
        """Where a connection that is made now must go; not for a Unix socket. Raises as `Egress.route` does."""
        return self.egress((self.host, self.port)).route(self.host, self.port, self.connect_seconds)

    def libpq(self) -> dict[str, Any]:
        """libpq keywords of a connection that is made now: the host that certificates are checked against, and the
        addresses it is reached by."""
        if self.host.startswith("/"):
            return self._libpq()
        route = self.route()
        hosts = ",".join([self.host] * len(route.addresses))
        return self._libpq() | {"host": hosts, "hostaddr": ",".join(route.addresses), "port": route.port}

    def _libpq(self) -> dict[str, Any]:
        """With time limits on every path: a peer that vanishes is noticed within 30 s."""
        words: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "sslmode": self.tls,
            "connect_timeout": self.connect_seconds,
            "keepalives": 1,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30000,
            "client_encoding": "UTF8",
        }
        optional = {
            "user": self.user or None,
            "password": self.password.get_secret_value() if self.password else None,
            "dbname": self.database or None,
            "sslrootcert": self.ca_file,
            "sslcert": self.cert_file,
            "sslkey": self.key_file,
        }
        return words | {key: value for key, value in optional.items() if value is not None}

    def asyncpg_url(self) -> str:
        """The connection as a URL without password, for the driver that streams COPY."""
        query = {"sslmode": self.tls, "sslrootcert": self.ca_file, "sslcert": self.cert_file, "sslkey": self.key_file}
        words = {key: value for key, value in query.items() if value}
        socket = self.host.startswith("/")
        place = "" if socket else f"{self.host if ':' not in self.host else f'[{self.host}]'}:{self.port}"
        if socket:
            words |= {"host": self.host, "port": str(self.port)}
        who = f"{quote(self.user, safe='')}@" if self.user else ""
        return f"postgresql://{who}{place}/{quote(self.database, safe='')}?{urlencode(words)}"


_PARAMS = {
    "sslmode": "tls",
    "sslrootcert": "ca_file",
    "sslcert": "cert_file",
    "sslkey": "key_file",
    "connect_timeout": "connect_seconds",
    "dbname": "database",
    "schema": "schema",
    "host": "host",
    "port": "port",
    "user": "user",
    "password": "password",
}


def from_url(url: str) -> PostgresSettings:
    """Settings from `postgresql://user:password@host:port/database?sslmode=…&schema=…`."""
    rest = url.split("://", 1)[-1]
    rest, _, query = rest.partition("?")
    authority, _, database = rest.partition("/")
    userinfo, _, place = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    host, port = _host_port(place)
    values: dict[str, Any] = {
        "host": unquote(host) or None,
        "port": port or None,
        "user": unquote(user) or None,
        "password": unquote(password) or None,
        "database": unquote(database) or None,
    }
    for key, value in parse_qsl(query):
        field = _PARAMS.get(key, key)
        if field not in PostgresSettings.model_fields and field != "schema":
            raise InvalidSettingsError(
                f"unknown URL parameter {key!r}", path="url", hint=f"valid parameters: {', '.join(sorted(_PARAMS))}"
            )
        values[field] = value
    return PostgresSettings.parse({key: value for key, value in values.items() if value is not None})


def _host_port(place: str) -> tuple[str, str]:
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        return host, port.lstrip(":")
    host, _, port = place.partition(":")
    return host, port
