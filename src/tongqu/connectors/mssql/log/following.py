"""The log of a SQL Server: change tables or change tracking, whichever the setting or the position says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tongqu.connectors.mssql.log.examining import VALID, examine
from tongqu.connectors.mssql.log.instances import instances, live
from tongqu.connectors.mssql.log.polling import Polling
from tongqu.connectors.mssql.log.session import RESYNC, Followed, Session
from tongqu.connectors.mssql.log.tables import TablesLog
from tongqu.connectors.mssql.log.tracking import TrackingLog
from tongqu.connectors.mssql.settings import MssqlSettings
from tongqu.core.data import Batch, Dataset, Position
from tongqu.core.errors import ConnectError, ConnectorError, LostPositionError, NotFoundError, TongquError
from tongqu.core.log import Finding, Follow, Lag, Log
from tongqu.kit.tables.shape import Table
from tongqu.kit.tables.system import Reach


class MssqlLog(Log):
    """Follows tables by one of the two ways that SQL Server has. The server keeps changes by age, not for its
    readers, so there is nothing to acknowledge or to forget."""

    def __init__(self, reach: Reach, settings: MssqlSettings, tables: Sequence[tuple[Dataset, Table]]):
        self._reach, self._setting = reach, settings.changes
        self._tables = list(tables)
        self._session = Session(reach)
        self._made: dict[str, Polling] = {}

    def _of(self, way: str) -> Polling:
        if way not in self._made:
            followed = [Followed(dataset, table) for dataset, table in self._tables]
            self._made[way] = (TablesLog if way == "tables" else TrackingLog)(self._reach, followed)
        return self._made[way]

    def _at(self, position: Position) -> Polling:
        """The way of a position. Raises LostPositionError if another one is set."""
        way = str(position.get("way"))
        if self._setting not in ("auto", way):
            raise LostPositionError(
                f"the place is one of {way}, and changes: {self._setting} is set", hint=f"set it back, or {RESYNC}"
            )
        return self._of(way)

    def _best(self) -> str:
        """Change tables where all tables have one; else tracking where all are tracked."""
        followed = [Followed(dataset, table) for dataset, table in self._tables]
        with self._session.look() as db:
            try:
                found = instances(db, followed)
            except NotFoundError:
                found = {}
            if found and all(live(listed) for listed in found.values()):
                return "tables"
            tables = [db.dialect.literal(one.place(db)) for one in followed]
            tracked = [db.rows(VALID.format(table=table))[0][0] is not None for table in tables]
            return "tracking" if all(tracked) else "tables"

    def begin(self) -> Position:
        """See Log.begin."""
        return self._of(self._best() if self._setting == "auto" else self._setting).begin()

    def rejoin(self, dataset: str) -> Position:
        """See Log.rejoin."""
        return self._of(self._best() if self._setting == "auto" else self._setting).rejoin(dataset)

    def head(self) -> Position:
        """See Log.head. Where nobody has said which way is read, it is the end of each that is on."""
        ways = ("tracking", "tables") if self._setting == "auto" else (self._setting,)
        found: Position = {}
        failed: TongquError | None = None
        for way in ways:
            try:
                found = {**found, **self._of(way).head()}
            except ConnectError:
                raise
            except TongquError as error:
                failed = error
        if failed is not None and not found:
            raise failed
        return found

    def reached(self, position: Position, until: Position) -> bool:
        """See Log.reached."""
        return self._of(str(position["way"])).reached(position, until)

    def read(self, follow: Follow) -> Iterator[Batch]:
        """See Log.read."""
        return self._at(follow.after).read(follow)

    def lag(self, position: Position) -> Lag:
        """See Log.lag."""
        return self._at(position).lag(position)

    def examine(self) -> Sequence[Finding]:
        """See Log.examine."""
        try:
            way = self._setting if self._setting != "auto" else self._best()
        except ConnectorError as error:
            return [Finding("connection", "error", error.message, error.hint)]
        followed = [Followed(dataset, table) for dataset, table in self._tables]
        with self._session.look() as db:
            return examine(db, followed, way)

    def close(self) -> None:
        """See Log.close."""
        self._session.close()
        for one in self._made.values():
            one.close()
