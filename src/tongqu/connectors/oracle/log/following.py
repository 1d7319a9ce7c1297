"""The log of an Oracle database: its redo, mined by LogMiner over SQL, told transaction by transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tongqu.connectors.oracle.log import database as server
from tongqu.connectors.oracle.log.examining import examine, lag
from tongqu.connectors.oracle.log.places import Place
from tongqu.connectors.oracle.log.reading import Ground, Reading
from tongqu.connectors.oracle.log.session import Followed, Session
from tongqu.connectors.oracle.settings import OracleSettings
from tongqu.core.connector import Source
from tongqu.core.data import Batch, Dataset, Position
from tongqu.core.errors import (
    ConnectorError,
)
from tongqu.core.log import Finding, Follow, Lag, Log
from tongqu.kit.tables.shape import Table
from tongqu.kit.tables.system import Reach


class OracleLog(Log):
    """Follows tables of one database. The server keeps redo by its own rules, not for its readers, so there is nothing
    to acknowledge or to forget."""

    def __init__(
        self, reach: Reach, settings: OracleSettings, tables: Sequence[tuple[Dataset, Table]], folder: Path | None,
        as_of: Callable[[int], Source],
    ):  # fmt: skip
        self._reach, self._settings, self._folder, self._as_of = reach, settings, folder, as_of
        self.followed = [Followed(dataset, table) for dataset, table in tables]
        self._asking, self._mining = Session(reach), Session(reach, mining=True)
        self._begun: int | None = None

    # ---- where it begins and ends

    def begin(self) -> Position:
        """See Log.begin: the SCN of now, and before it the beginning of the oldest transaction that is open."""
        place = self._beginning(self.followed)
        self._begun = place.after
        return place.position()

    def rejoin(self, dataset: str) -> Position:
        """See Log.rejoin."""
        return self._beginning([one for one in self.followed if one.dataset.name == dataset]).position()

    def _beginning(self, some: Sequence[Followed]) -> Place:
        with self._asking.look() as db:
            server.followable(db, some)
            numbers, _ = server.objects(db, self.followed)
            return server.beginning(db, numbers)

    def snapshot(self) -> Source | None:
        """See Log.snapshot: flashback queries as of the SCN of `begin`."""
        begun, self._begun = self._begun, None
        return None if begun is None or not self._settings.flashback else self._as_of(begun)

    def head(self) -> Position:
        """See Log.head."""
        with self._asking.look() as db:
            scn, name = server.now(db)
        return Place(scn, scn, scn, name).position()

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        return Place.of(position).reached(Place.of(until))

    # ---- reading

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        for one in self.followed:
            one.afresh()
        ground = Ground(self._reach, self.followed, self._asking, self._mining, self._folder)
        reading = Reading(ground, follow, self._settings.settle_seconds)
        try:
            yield from reading.run()
        finally:
            reading.close()

    # ---- what is known of it

    def lag(self, position: Position) -> Lag:
        """See Log.lag: by the server's table of SCNs and times, which is right to some seconds."""
        place = Place.of(position)
        with self._asking.look() as db:
            return lag(db, place, self._settings.settle_seconds)

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        try:
            with self._asking.look() as db:
                return examine(db, self.followed)
        except ConnectorError as error:
            if error.retryable:
                raise
            return [Finding("catalogue", "error", error.message, "GRANT SELECT_CATALOG_ROLE to this login")]

    def close(self) -> None:
        """See Log.close."""
        self._asking.close()
        self._mining.close()
