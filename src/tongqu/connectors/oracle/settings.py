"""Settings of a connection to Oracle, and their URL form."""

from __future__ import annotations

from typing import Literal

from tongqu.core.settings import Secret, titled
from tongqu.kit.egress.settings import Networked
from tongqu.kit.server_url import known_parameters, server_url


class OracleSettings(Networked):
    """An Oracle service."""

    host: str = titled("主机", "Host", "localhost")
    """Host name or address of the listener."""
    port: int = titled("端口", "Port", 1521, ge=1, le=65535)
    """TCP port of the listener."""
    user: str = titled("用户", "User", "system")
    """Login name."""
    password: Secret | None = titled("密码", "Password", None)
    """Password; better given as ${env:NAME} or ${secret:NAME}."""
    service: str = titled("服务名", "Service name", min_length=1)
    """Service name, as the listener knows it."""
    db_schema: str | None = titled("模式", "Schema", None)
    """Schema that unqualified table names are in; empty means the login's own."""
    tls: Literal["disable", "verify"] = titled("TLS", "TLS", "disable")
    """`verify` speaks TCPS and demands a certificate that is valid for the host."""
    ca_file: str | None = titled("CA 证书", "CA file", None)
    """Certificate authority that the server's certificate must chain to; empty means the system's."""
    empty_text: Literal["null", "refuse"] = titled("空字符串", "Empty text", "null")
    """Oracle takes an empty text for null: let it, or `refuse` such rows into quarantine."""
    connect_seconds: int = titled("连接超时(秒)", "Connect timeout, seconds", 10, ge=1)
    """Give up connecting after this many seconds."""
    lag_seconds: float = titled("迟到窗口(秒)", "Lag, seconds", 60.0, ge=0)
    """How far incremental reads by time stay behind without the right to see open transactions (V$TRANSACTION)."""
    wait_seconds: float = titled("等待写事务(秒)", "Wait for writers, seconds", 10.0, ge=0)
    """How long an incremental read by a number waits for transactions that are writing."""
    timezone: str = titled("时区", "Time zone", "")
    """Zone of cursors that are local times (`Asia/Shanghai`); empty means UTC."""
    bulk_rows: int = titled("批量装载行数", "Bulk rows", 0, ge=0)
    """Loads of at least so many rows go by direct path into a work table first; 0 means none does."""
    flashback: bool = titled("闪回查询", "Flashback query", True)
    """The first load of `cdc` reads all rows as of the SCN at which the changes begin; without, it reads those of its
    own time, and what overlaps is written by key."""
    settle_seconds: float = titled("日志落盘(秒)", "Redo settles, seconds", 10.0, ge=0)
    """For how long an instance that shows no redo may still have some in memory (LGWR writes at least every 3 s): so
    far a cluster with an idle instance, and an idle database, are read behind now."""

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"oracle://{self.host}:{self.port}/{self.service}"

    def display(self) -> str:
        """See Endpoint.display."""
        return f"oracle://{self.user}@{self.host}:{self.port}/{self.service}"


def from_url(url: str) -> OracleSettings:
    """Settings from `oracle://user:password@host:port/service?tls=verify`."""
    values, parameters = server_url(url, "service")
    return OracleSettings.parse(values | known_parameters(parameters, OracleSettings.model_fields))
