"""Settings of a connection through an ODBC driver, and their URL form."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Secret, titled
from tongqu.kit.egress.settings import Networked
from tongqu.kit.server_url import server_url


class OdbcSettings(Networked):
    """A database reached through an installed ODBC driver or a configured data source."""

    driver: str | None = titled("驱动", "Driver", None)
    """Name of an installed driver as in odbcinst.ini (`PostgreSQL Unicode`), or the path of its library."""
    dsn: str | None = titled("数据源", "Data source", None)
    """Name of a data source configured in odbc.ini; instead of, or beside, the driver."""
    host: str | None = titled("主机", "Host", None)
    """Host name or address, sent to the driver as `Server`."""
    port: int | None = titled("端口", "Port", None, ge=1, le=65535)
    """TCP port, sent as `Port`."""
    database: str | None = titled("数据库", "Database", None)
    """Database, sent as `Database`."""
    user: str | None = titled("用户", "User", None)
    """Login name, sent as `UID`."""
    password: Secret | None = titled("密码", "Password", None)
    """Password, sent as `PWD`; better given as ${env:NAME} or ${secret:NAME}."""
    options: dict[str, str] = Field(
        default_factory=dict, title="Options", json_schema_extra={"x-i18n": {"zh": "驱动选项", "en": "Options"}}
    )
    """Further keywords of the driver's connection string (`SSLmode: verify-full`, `TCP_PORT: 5236`)."""
    dialect: Literal["auto", "postgres", "mysql", "sqlite", "tsql", "oracle", "dm", "db2", "ansi"] = titled(
        "方言", "Dialect", "auto"
    )
    """SQL that the server speaks; `auto` goes by the product name it reports. `ansi` is only read."""
    db_schema: str | None = titled("模式", "Schema", None)
    """Schema that unqualified table names are in; empty means the login's own."""
    connect_seconds: int = titled("连接超时(秒)", "Connect timeout, seconds", 10, ge=1)
    """Give up connecting after this many seconds."""
    lag_seconds: float = titled("迟到窗口(秒)", "Lag, seconds", 60.0, ge=0)
    """How far incremental reads by time stay behind where the open transactions of others cannot be seen."""
    wait_seconds: float = titled("等待写事务(秒)", "Wait for writers, seconds", 10.0, ge=0)
    """How long an incremental read by a number waits for transactions that are writing."""
    timezone: str = titled("时区", "Time zone", "")
    """Zone of cursors that are local times, in the server's words; empty means UTC. Data itself is never shifted."""

    def identity(self) -> str:
        """See Endpoint.identity."""
        place = f"{self.host or ''}{f':{self.port}' if self.port else ''}"
        return f"odbc://{place}/{self.database or ''}?{self._source()}"

    def display(self) -> str:
        """See Endpoint.display."""
        return self.identity().replace("odbc://", f"odbc://{self.user}@" if self.user else "odbc://", 1)

    def _source(self) -> str:
        return f"dsn={self.dsn}" if self.dsn else f"driver={self.driver or ''}"

    def words(self, host: str | None, port: int | None) -> dict[str, str]:
        """The keywords of the connection string to this address, password included."""
        given = {
            "Driver": self.driver, "DSN": self.dsn, "Server": host,
            "Port": str(port) if port else None, "Database": self.database, "UID": self.user,
            "PWD": self.password.get_secret_value() if self.password else None,
        }  # fmt: skip
        return {name: text for name, text in given.items() if text} | self.options


_FIELDS = set(OdbcSettings.model_fields) - {"options", "password", "user", "host", "port", "database", "via"}


_KEYWORDS = {"pwd": "password", "uid": "user"}


def from_url(url: str) -> OdbcSettings:
    """Settings from `odbc://user:password@host:port/database?driver=…`; parameters that are no setting are passed to
    the driver as they are."""
    values, parameters = server_url(url)
    options: dict[str, str] = {}
    for key, value in parameters:
        known = _KEYWORDS.get(key.lower(), key if key in _FIELDS else "")
        (values if known else options)[known or key] = value
    if not values.get("driver") and not values.get("dsn"):
        raise InvalidSettingsError(
            "an ODBC URL names a driver or a data source",
            path="url",
            hint="odbc://user@host:port/database?driver=PostgreSQL%20Unicode, or odbc://?dsn=NAME",
        )
    return OdbcSettings.parse({key: value for key, value in values.items() if value != ""} | {"options": options})
