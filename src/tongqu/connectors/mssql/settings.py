"""Settings of a connection to SQL Server, and their URL form."""

from __future__ import annotations

from typing import Literal

from tongqu.core.settings import Secret, titled
from tongqu.kit.egress.settings import Networked
from tongqu.kit.server_url import known_parameters, server_url


class MssqlSettings(Networked):
    """A SQL Server or Azure SQL database."""

    host: str = titled("主机", "Host", "localhost")
    """Host name or address."""
    port: int = titled("端口", "Port", 1433, ge=1, le=65535)
    """TCP port."""
    user: str = titled("用户", "User", "sa")
    """Login name."""
    password: Secret | None = titled("密码", "Password", None)
    """Password; better given as ${env:NAME} or ${secret:NAME}."""
    database: str = titled("数据库", "Database", min_length=1)
    """Database."""
    db_schema: str | None = titled("模式", "Schema", None)
    """Schema that unqualified table names are in; empty means the login's own (mostly `dbo`)."""
    tls: Literal["disable", "require", "verify"] = titled("TLS", "TLS", "verify")
    """`verify` demands a certificate that is valid for the host; `require` encrypts without looking at it."""
    certificate_host: str | None = titled("证书主机名", "Certificate host", None)
    """Name the certificate must be for, where it is not the host's."""
    connect_seconds: int = titled("连接超时(秒)", "Connect timeout, seconds", 10, ge=1)
    """Give up connecting after this many seconds."""
    lock_seconds: int = titled("锁等待(秒)", "Lock timeout, seconds", 30, ge=1)
    """Give up waiting for a lock after this many seconds."""
    lag_seconds: float = titled("迟到窗口(秒)", "Lag, seconds", 60.0, ge=0)
    """How far incremental reads by time stay behind without the right to see open transactions (VIEW SERVER STATE)."""
    wait_seconds: float = titled("等待写事务(秒)", "Wait for writers, seconds", 10.0, ge=0)
    """How long an incremental read by a number waits for transactions that are writing."""
    timezone: str = titled("时区", "Time zone", "")
    """Zone of cursors that are local times in the server's words (`China Standard Time`); empty means UTC."""
    bulk_rows: int = titled("批量装载行数", "Bulk rows", 0, ge=0)
    """Loads of at least so many rows go by the driver's bulk copy into a work table first; 0 means none does."""

    changes: Literal["auto", "tables", "tracking"] = titled("变更来源", "Changes", "auto")
    """What `cdc` follows: change tables (CDC), or change tracking, which tells keys whose rows are read back; `auto`
    takes change tables where all tables have one."""

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"mssql://{self.host}:{self.port}/{self.database}"

    def display(self) -> str:
        """See Endpoint.display."""
        return f"mssql://{self.user}@{self.host}:{self.port}/{self.database}"

    def connection_string(self, host: str, port: int) -> str:
        """The driver's connection string to this address; every value stands in braces."""
        words = {
            "Server": f"{host},{port}", "Database": self.database, "UID": self.user,
            "PWD": self.password.get_secret_value() if self.password else "",
            "Encrypt": "no" if self.tls == "disable" else "yes",
            "TrustServerCertificate": "no" if self.tls == "verify" else "yes",
        }  # fmt: skip
        named = self.certificate_host or (self.host if host != self.host else "")
        if named and self.tls == "verify":
            words["HostNameInCertificate"] = named
        return "".join(f"{name}={{{text.replace('}', '}}')}}};" for name, text in words.items() if text)


def from_url(url: str) -> MssqlSettings:
    """Settings from `mssql://user:password@host:port/database?tls=require`."""
    values, parameters = server_url(url)
    return MssqlSettings.parse(values | known_parameters(parameters, MssqlSettings.model_fields))
