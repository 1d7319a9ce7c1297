"""Settings of a connection through a JDBC driver, and their URL form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlencode

from pydantic import Field

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Endpoint, Names, Secret, titled


class JdbcSettings(Endpoint):
    """A database reached through a JDBC driver."""

    url: str = titled("JDBC 地址", "JDBC URL", pattern=r"^jdbc:[a-z0-9]+:")
    """The driver's URL without credentials: `jdbc:postgresql://host:5432/plant`."""
    jars: Names = titled("驱动包", "Jars", (), min_length=1)
    """Paths of the driver's jar, and of further ones that it needs."""
    driver_class: str | None = titled("驱动类", "Driver class", None)
    """Class of the driver; empty means the one that the jar itself names."""
    user: str | None = titled("用户", "User", None)
    """Login name."""
    password: Secret | None = titled("密码", "Password", None)
    """Password; better given as ${env:NAME} or ${secret:NAME}."""
    properties: dict[str, str] = Field(
        default_factory=dict, title="Properties", json_schema_extra={"x-i18n": {"zh": "驱动属性", "en": "Properties"}}
    )
    """Further properties of the driver."""
    dialect: Literal["auto", "postgres", "mysql", "sqlite", "tsql", "oracle", "dm", "db2", "ansi"] = titled(
        "方言", "Dialect", "auto"
    )
    """SQL that the server speaks; `auto` goes by the product name it reports. `ansi` is only read."""
    db_schema: str | None = titled("模式", "Schema", None)
    """Schema that unqualified table names are in; empty means the login's own."""
    connect_seconds: int = titled("连接超时(秒)", "Connect timeout, seconds", 10, ge=1)
    """Give up connecting after this many seconds, where the driver heeds it."""
    lag_seconds: float = titled("迟到窗口(秒)", "Lag, seconds", 60.0, ge=0)
    """How far incremental reads by time stay behind where the open transactions of others cannot be seen."""
    wait_seconds: float = titled("等待写事务(秒)", "Wait for writers, seconds", 10.0, ge=0)
    """How long an incremental read by a number waits for transactions that are writing."""
    timezone: str = titled("时区", "Time zone", "")
    """Zone of cursors that are local times, in the server's words; empty means UTC. Data itself is never shifted."""

    @classmethod
    def parse(cls, values: Mapping[str, Any], path: str = "") -> Self:
        """See Settings.parse. A URL with a password in it is refused without being shown."""
        if re.search(r"[?&;]\s*(password|pwd)\s*=", str(values.get("url", "")), re.IGNORECASE):
            raise InvalidSettingsError(
                "the password is a setting of its own, not a part of the driver's URL",
                path=".".join(part for part in (path, "url") if part),
                hint="give it as `password: ${secret:NAME}`, or before the host: jdbc:…://user:password@host/…",
            )
        return super().parse(values, path)

    def identity(self) -> str:
        """See Endpoint.identity. What stands behind `?` or `;` may hold secrets and is left out."""
        return re.split(r"[?;]", self.url, maxsplit=1)[0]

    def display(self) -> str:
        """See Endpoint.display."""
        return self.identity()


_FIELDS = set(JdbcSettings.model_fields) - {"url", "properties", "jars"}


def from_url(url: str) -> JdbcSettings:
    """Settings from `jdbc:postgresql://user:password@host:port/database?jar=/path/driver.jar`; parameters that are no
    setting stay in the driver's URL."""
    head, mark, query = url.partition("?")
    values: dict[str, Any] = {"jars": []}
    rest = []
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key == "jar":
            values["jars"].append(value)
        elif key in _FIELDS:
            values[key] = value
        else:
            rest.append((key, value))
    begin, slashes, place = head.partition("//")
    userinfo, at, place = place.rpartition("@")
    if at:
        user, _, password = userinfo.partition(":")
        values |= {"user": unquote(user)} | ({"password": unquote(password)} if password else {})
    if not values["jars"]:
        hint = "add ?jar=/path/of/driver.jar to the URL"
        raise InvalidSettingsError("a JDBC URL needs the driver's jar", path="url", hint=hint)
    del mark
    values["url"] = f"{begin}{slashes}{place}" + (f"?{urlencode(rest)}" if rest else "")
    return JdbcSettings.parse(values)
