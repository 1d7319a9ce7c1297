"""Settings of a connection to ClickHouse by its native protocol, and their URL form."""

from __future__ import annotations

from typing import Literal

from tongqu.core.settings import Secret, titled
from tongqu.kit.egress.settings import Networked
from tongqu.kit.server_url import known_parameters, server_url


class ClickhouseSettings(Networked):
    """A ClickHouse database."""

    host: str = titled("主机", "Host", "localhost")
    """Host name or address."""
    port: int = titled("端口", "Port", 9000, ge=1, le=65535)
    """TCP port of the native protocol: mostly 9000, with TLS 9440."""
    user: str = titled("用户", "User", "default")
    """Login name."""
    password: Secret | None = titled("密码", "Password", None)
    """Password; better given as ${env:NAME} or ${secret:NAME}."""
    database: str = titled("数据库", "Database", "default")
    """Database that unqualified table names are in."""
    tls: Literal["disable", "require", "verify"] = titled("TLS", "TLS", "disable")
    """`verify` demands a certificate that is valid for the host; `require` encrypts without looking at it."""
    ca_file: str | None = titled("CA 证书", "CA file", None)
    """Certificate authority that the server's certificate must chain to; empty means the system's."""
    compression: bool = titled("压缩", "Compression", False)
    """Compress blocks on the wire by LZ4 (needs the packages lz4 and clickhouse-cityhash)."""
    connect_seconds: int = titled("连接超时(秒)", "Connect timeout, seconds", 10, ge=1)
    """Give up connecting after this many seconds."""
    read_seconds: int = titled("读取超时(秒)", "Read timeout, seconds", 900, ge=1)
    """Give up when the server sends nothing for this many seconds."""
    lag_seconds: float = titled("迟到窗口(秒)", "Lag, seconds", 60.0, ge=0)
    """How far incremental reads by time stay behind: inserts that are under way cannot be seen."""
    timezone: str = titled("时区", "Time zone", "")
    """Zone of cursors that are local times; empty means UTC."""

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"clickhouse://{self.host}:{self.port}/{self.database}"

    def display(self) -> str:
        """See Endpoint.display."""
        return f"clickhouse://{self.user}@{self.host}:{self.port}/{self.database}"


def from_url(url: str) -> ClickhouseSettings:
    """Settings from `clickhouse://user:password@host:port/database?tls=verify`."""
    values, parameters = server_url(url)
    return ClickhouseSettings.parse(values | known_parameters(parameters, ClickhouseSettings.model_fields))
