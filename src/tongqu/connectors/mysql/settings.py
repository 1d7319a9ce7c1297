"""Settings of a connection to MariaDB, MySQL or a system that speaks its protocol, and their URL form."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from tongqu.core.settings import Secret, titled
from tongqu.kit.egress.settings import Networked
from tongqu.kit.server_url import known_parameters, server_url

if TYPE_CHECKING:
    from tongqu.kit.egress.dial import Egress


class MysqlSettings(Networked):
    """A MariaDB or MySQL database (also TiDB, OceanBase, Doris and StarRocks as far as the protocol goes)."""

    host: str = titled("主机", "Host", "localhost")
    """Host name or address."""
    port: int = titled("端口", "Port", 3306, ge=1, le=65535)
    """TCP port."""
    user: str = titled("用户", "User", "root")
    """Login name."""
    password: Secret | None = titled("密码", "Password", None)
    """Password; better given as ${env:NAME} or ${secret:NAME}."""
    database: str = titled("数据库", "Database", min_length=1)
    """Database that unqualified table names are in."""
    tls: Literal["disable", "prefer", "require", "verify-ca", "verify-identity"] = titled("TLS", "TLS", "prefer")
    """How much TLS is demanded, as the client's ssl-mode; `prefer` takes it if the server offers it, unverified."""
    ca_file: str | None = titled("CA 证书", "CA file", None)
    """Certificate authority that the server's certificate must chain to."""
    cert_file: str | None = titled("客户端证书", "Client certificate", None)
    """Client certificate, if the server asks for one."""
    key_file: str | None = titled("客户端私钥", "Client key", None)
    """Private key of the client certificate."""
    connect_seconds: int = titled("连接超时(秒)", "Connect timeout, seconds", 10, ge=1)
    """Give up connecting after this many seconds."""
    read_seconds: int = titled("读取超时(秒)", "Read timeout, seconds", 900, ge=1)
    """Give up when a reading query sends nothing for this many seconds."""
    lock_seconds: int = titled("锁等待(秒)", "Lock timeout, seconds", 30, ge=1)
    """Give up waiting for a row or table lock after this many seconds."""
    idle_seconds: int = titled("写事务空闲上限(秒)", "Idle limit of a writing transaction, seconds", 3600, ge=0)
    """MariaDB ends a transaction of ours in which nothing was said for so long, as when our process was stopped in it,
    so that another can take over; 0 never. MySQL has no such limit and ends the session after eight hours."""
    cascades: Literal["refuse", "ignore"] = titled("级联外键", "Cascading foreign keys", "refuse")
    """Following tables whose rows the server deletes or changes by a foreign key (ON DELETE CASCADE, SET NULL), which
    it does not log: `refuse`, or `ignore` what is not logged."""
    lag_seconds: float = titled("迟到窗口(秒)", "Lag, seconds", 0.0, ge=0)
    """How far incremental reads by time stay behind when the open transactions of others cannot be seen."""
    wait_seconds: float = titled("等待写事务(秒)", "Wait for writers, seconds", 10.0, ge=0)
    """How long an incremental read by a number waits for transactions that are writing."""
    load_data: bool = titled("使用 LOAD DATA", "Use LOAD DATA", True)
    """Load with LOAD DATA LOCAL INFILE where the server allows it; otherwise with multi-row INSERTs."""
    timezone: str | None = titled("时区", "Time zone", None)
    """Zone of DATETIME cursors when open transactions are compared with them: `+08:00` or a name the server knows;
    empty means the server's own zone. Data itself is never shifted."""

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"mysql://{self.host}:{self.port}/{self.database}"

    def display(self) -> str:
        """See Endpoint.display."""
        return f"mysql://{self.user}@{self.host}:{self.port}/{self.database}"

    def way(self) -> Egress:
        """How the server is reached."""
        return self.egress((self.host, self.port))

    def stages(self) -> Iterator[str]:
        """The first stages of a check: how the server is reached."""
        yield from self.way().stages(self.host, self.port, seconds=self.connect_seconds)

    def context(self) -> ssl.SSLContext | None:
        """The TLS context, or None if TLS is off."""
        if self.tls == "disable":
            return None
        context = ssl.create_default_context(cafile=self.ca_file)
        context.check_hostname = self.tls == "verify-identity"
        context.verify_mode = ssl.CERT_REQUIRED if self.tls.startswith("verify") else ssl.CERT_NONE
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file)
        return context


_PARAMS = {
    "ssl-mode": "tls",
    "sslmode": "tls",
    "ssl-ca": "ca_file",
    "ssl-cert": "cert_file",
    "ssl-key": "key_file",
    "connect_timeout": "connect_seconds",
}
_MODES = {"disabled": "disable", "preferred": "prefer", "required": "require", "verify_ca": "verify-ca",
          "verify_identity": "verify-identity"}  # fmt: skip


def from_url(url: str) -> MysqlSettings:
    """Settings from `mysql://user:password@host:port/database?ssl-mode=…`."""
    values, parameters = server_url(url)
    told = known_parameters(parameters, MysqlSettings.model_fields, _PARAMS)
    if "tls" in told:
        told["tls"] = _MODES.get(told["tls"].lower(), told["tls"])
    return MysqlSettings.parse(values | {name: value for name, value in told.items() if value})
