"""Settings of a connection over AMQP 1.0, and their URL form."""

from __future__ import annotations

from tongqu.core.settings import titled
from tongqu.kit.handed.settings import HandedSettings, handed_url


class Amqp1Settings(HandedSettings):
    """A broker that speaks AMQP 1.0."""

    port: int = titled("端口", "Port", 5672, ge=1, le=65535)
    """TCP port; 5671 is usual with TLS."""
    prefix: str = titled("地址前缀", "Prefix", "")
    """What addresses begin with of which nothing is said. RabbitMQ 3: `/amq/queue/`; ActiveMQ: `queue://`."""

    def display(self) -> str:
        """See Endpoint.display."""
        user = f"{self.user}@" if self.user else ""
        return f"amqp1{'s' if self.tls else ''}://{user}{self.host}:{self.port}/{self.virtual_host}"


def from_url(url: str) -> Amqp1Settings:
    """`amqp1://user:password@host:port/VHOST#queue=orders&fields=id:int64`, `amqp1s://…`; see `handed_url`."""
    return handed_url(url, Amqp1Settings, "amqp1s", 5671)
