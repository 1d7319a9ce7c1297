"""One system as source and sink see it: how to connect, and where to look tables up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from tongqu.core.errors import InvalidPlanError
from tongqu.kit.egress.settings import Networked
from tongqu.kit.tables.catalogue import Catalogue
from tongqu.kit.tables.db import TableDb


class Reach(ABC):
    """The way to one server."""

    settings: Networked
    host: str = ""
    """Empty where the driver alone knows where the server is."""
    port: int = 0
    connect_seconds: float = 10.0
    lag_seconds: float = 0.0
    """How far incremental reads stay behind where open transactions of others cannot be seen."""
    wait_seconds: float = 10.0
    timezone: str = ""
    """Zone of cursors that are local times; empty means UTC."""
    keeps_empty: bool = False
    """An empty text is refused where the system would take it for null."""
    bulk_rows: int = 0
    """Loads of at least so many rows go through the driver's bulk interface; 0: none does."""

    @abstractmethod
    def connect(self, *, reading: bool) -> TableDb:
        """A new connection that has said what every session says first."""

    @abstractmethod
    def catalogue(self, db: TableDb) -> Catalogue:
        """Where tables are looked up over a connection."""

    def address(self) -> tuple[str, int]:
        """Host and port for a driver that opens its own sockets: those of the settings once the policy allows them, or
        with hops a loopback port that leads there."""
        way = self.settings.egress((self.host, self.port))
        if self.settings.via:
            route = way.route(self.host, self.port, self.connect_seconds)
            return route.addresses[0], route.port
        way.addresses(self.host, self.port, seconds=self.connect_seconds)
        return self.host, self.port

    def stages(self) -> Iterator[str]:
        """The first stages of a check: how the server is reached."""
        if self.host and self.port:
            way = self.settings.egress((self.host, self.port))
            yield from way.stages(self.host, self.port, seconds=self.connect_seconds)

    def secured(self, db: TableDb) -> Iterator[str]:
        """The stage `tls` of a connection that stands, where the driver tells."""
        del db
        yield from ()

    def writable(self, db: TableDb) -> None:
        """Raise InvalidPlanError if this system can only be read."""
        if not db.dialect.writes:
            raise InvalidPlanError(
                f"{db.where} is read only: nothing is known of how to write to it safely",
                hint="name its dialect in the connection's settings if it speaks one that Tongqu knows",
            )
