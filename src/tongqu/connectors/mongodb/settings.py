"""Settings of a connection to MongoDB, and their URL form."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Secret, titled
from tongqu.kit.egress.settings import Networked

_DRIVER = {
    "authsource": "auth_source", "replicaset": "replica_set", "authmechanism": "auth_mechanism",
    "tlscafile": "ca_file", "tlscertificatekeyfile": "certificate_file",
}  # fmt: skip
_TRUE = ("true", "1")


class MongodbSettings(Networked):
    """A MongoDB database."""

    host: str = titled("主机", "Host", "localhost", min_length=1)
    """Host name or address; several of a replica set with commas between them (`db1,db2:27018`)."""
    port: int = titled("端口", "Port", 27017, ge=1, le=65535)
    """TCP port of hosts that name none."""
    srv: bool = titled("DNS 服务记录", "DNS seed list", False)
    """`host` is the name of a seed list in DNS, as in mongodb+srv:// (which also means TLS)."""
    database: str = titled("数据库", "Database", "test", min_length=1)
    """Database whose collections are meant."""
    user: str = titled("用户", "User", "")
    """Login name; empty means that the server asks for none."""
    password: Secret | None = titled("密码", "Password", None)
    """Password; better given as ${env:NAME} or ${secret:NAME}."""
    auth_source: str = titled("认证库", "Authentication database", "admin")
    """Database in which the login is known."""
    auth_mechanism: Literal["", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "MONGODB-X509"] = titled(
        "认证方式", "Authentication mechanism", ""
    )
    """Empty: what the server and the driver agree on."""
    replica_set: str = titled("副本集", "Replica set", "")
    """Name that the replica set must have; empty means any."""
    tls: Literal["disable", "require", "verify"] = titled("TLS", "TLS", "disable")
    """`verify` demands a certificate that is valid for the host; `require` encrypts without looking at it."""
    ca_file: str | None = titled("CA 证书", "CA file", None)
    """Certificate authority that the server's certificate must chain to; empty means the system's."""
    certificate_file: str | None = titled("客户端证书", "Client certificate", None)
    """PEM file with our own certificate and key, where the server asks for one."""
    connect_seconds: float = titled("连接超时(秒)", "Connect timeout, seconds", 10.0, gt=0)
    """Give up connecting after this many seconds."""
    read_seconds: float = titled("读取超时(秒)", "Read timeout, seconds", 900.0, gt=0)
    """Give up when the server sends nothing for this many seconds."""
    sample: int = titled("取样文档数", "Documents sampled", 1000, ge=1, le=100_000)
    """How many documents of a collection are looked at to find its fields and their types."""
    nested: Literal["columns", "json", "children"] = titled("嵌套", "Nested values", "columns")
    """`columns`: documents become columns with dots (`address.city`), arrays JSON; `json`: both become JSON;
    `children`: as `columns`, but arrays of documents become datasets of their own (`orders.items`)."""
    others: Literal["error", "ignore"] = titled("未知字段", "Unknown fields", "error")
    """What becomes of a document with a field that the sample had not: `error` sets it aside in quarantine, `ignore`
    leaves the field out."""
    lag_seconds: float = titled("迟到窗口(秒)", "Lag, seconds", 5.0, ge=0)
    """How far incremental reads by date or ObjectId stay behind: writes that are under way cannot be seen."""
    transactions: Literal["auto", "never"] = titled("事务", "Transactions", "auto")
    """`auto`: rows and position commit together where the server can (a replica set); `never`: rows are written so that
    they can be written again."""
    json_values: Literal["text", "documents"] = titled("JSON 写为", "JSON is written as", "text")
    """`text` keeps every letter of JSON columns; `documents` makes them documents and arrays that can be queried."""
    fraction: Literal["keep", "cut"] = titled("毫秒以下", "Below the millisecond", "keep")
    """MongoDB's dates end at the millisecond. `keep` writes what is below into a second field (`at__frac`) that is read
    back as one; `cut` drops it."""

    def hosts(self) -> list[tuple[str, int]]:
        """The hosts that are named, with their ports; raises InvalidSettingsError."""
        found = []
        for one in self.host.split(","):
            name, port = one.strip(), self.port
            if name.startswith("["):
                name, _, rest = name[1:].partition("]")
                text = rest.removeprefix(":")
            else:
                name, _, text = name.partition(":")
            if text:
                if not text.isdigit():
                    raise InvalidSettingsError(
                        f"{one!r} is no host with a port", path="host", hint="db1:27017,db2:27017"
                    )
                port = int(text)
            found.append((name, port))
        return found

    def identity(self) -> str:
        """See Endpoint.identity."""
        hosts = ",".join(sorted(f"{host}:{port}" for host, port in self.hosts())) if not self.srv else self.host
        return f"mongodb://{hosts}/{self.database}"

    def display(self) -> str:
        """See Endpoint.display."""
        scheme = "mongodb+srv" if self.srv else "mongodb"
        host = self.host if self.srv or "," in self.host or ":" in self.host else f"{self.host}:{self.port}"
        return f"{scheme}://{self.user + '@' if self.user else ''}{host}/{self.database}"


def from_url(url: str) -> MongodbSettings:
    """Settings from `mongodb://user:password@host:port,host2/database?tls=verify` or `mongodb+srv://…`; the driver's
    own names of options (authSource, replicaSet, tls=true, tlsCAFile) are known too."""
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    authority, _, database = rest.partition("/")
    userinfo, _, place = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    values: dict[str, Any] = {
        "user": unquote(user), "password": unquote(password), "database": unquote(database),
        "srv": scheme.endswith("+srv"),
    }  # fmt: skip
    if values["srv"]:
        values["tls"] = "verify"
    host, colon, port = place.rpartition(":")
    if "," in place or not colon or not port.isdigit():
        values["host"] = place
    else:
        values |= {"host": host, "port": port}
    for key, value in parse_qsl(query):
        name = _DRIVER.get(key.lower(), key)
        if key.lower() in ("tls", "ssl") and value.lower() in (*_TRUE, "false", "0"):
            values["tls"] = "verify" if value.lower() in _TRUE else "disable"
        elif key.lower() == "directconnection":
            continue
        elif name in MongodbSettings.model_fields:
            values[name] = value
        else:
            valid = ", ".join(sorted(MongodbSettings.model_fields))
            raise InvalidSettingsError(f"unknown URL parameter {key!r}", path="url", hint=f"valid parameters: {valid}")
    if database and values["user"] and "auth_source" not in values and not values["srv"]:
        values["auth_source"] = values["database"]
    return MongodbSettings.parse({key: value for key, value in values.items() if value != ""})
