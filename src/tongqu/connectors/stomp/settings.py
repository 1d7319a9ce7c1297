"""Settings of a connection over STOMP, and their URL form."""

from __future__ import annotations

from tongqu.core.settings import titled
from tongqu.kit.handed.settings import HandedSettings, handed_url


class StompSettings(HandedSettings):
    """A broker that speaks STOMP 1.2."""

    port: int = titled("端口", "Port", 61613, ge=1, le=65535)
    """TCP port; 61614 is usual with TLS."""
    prefix: str = titled("地址前缀", "Prefix", "/queue/")
    """What addresses begin with of which nothing is said. RabbitMQ: `/amq/queue/` for queues that are there already."""
    identifier: str = titled("标识消息头", "Header of the id", "")
    """The header that tells messages apart. Left out: `tongqu-id`, where Tongqu wrote them; RabbitMQ's
    `amqp-message-id`; otherwise `message-id`, which ActiveMQ keeps when it hands a message out again."""

    def display(self) -> str:
        """See Endpoint.display."""
        user = f"{self.user}@" if self.user else ""
        return f"stomp{'s' if self.tls else ''}://{user}{self.host}:{self.port}/{self.virtual_host}"


def from_url(url: str) -> StompSettings:
    """`stomp://user:password@host:port/VHOST#queue=/queue/orders&fields=id:int64`, `stomps://…`; see `handed_url`."""
    return handed_url(url, StompSettings, "stomps", 61614)
