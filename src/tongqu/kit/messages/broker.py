"""Settings that connections to message brokers have in common: where a server is, and who logs in."""

from __future__ import annotations

from tongqu.core.settings import Secret, titled
from tongqu.kit.egress.settings import Networked
from tongqu.kit.tls import Tls


class BrokerSettings(Networked):
    """A message broker."""

    host: str = titled("主机", "Host", "localhost", min_length=1)
    """Host name or address; of a cluster, that of any of its servers."""
    port: int = titled("端口", "Port", ge=1, le=65535)
    """TCP port."""
    user: str = titled("用户", "User", "")
    """Login name."""
    password: Secret | None = titled("密码", "Password", None)
    """Password; better given as ${env:NAME} or ${secret:NAME}."""
    tls: Tls | None = titled("TLS", "TLS", None)
    """`{}` is TLS with the system's authorities."""
