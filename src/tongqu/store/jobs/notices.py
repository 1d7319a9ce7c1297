"""A bell on PostgreSQL's NOTIFY, for processes on several hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tongqu.core.errors import ConnectError
from tongqu.store.jobs.bell import Bell

CHANNEL = "tongqu_jobs"


class Notices(Bell):
    """Listens on a connection of its own; a broken one is made again, and until then the wait just takes its time."""

    def __init__(self, connect: Callable[[], Any]):
        super().__init__()
        self._connect = connect
        self._connection: Any = None

    def close(self) -> None:
        """See Bell.close."""
        self._forget()
        super().close()

    def _others(self) -> list[int]:
        import psycopg

        if self._connection is None:
            try:
                self._connection = self._connect()
                self._connection.execute(f"LISTEN {CHANNEL}")
                self.nudge()  # nobody heard what was rung before
            except (ConnectError, psycopg.OperationalError):
                self._forget()
                return []
        return [self._connection.fileno()]

    def _hear(self) -> None:
        import psycopg

        try:
            self._connection.pgconn.consume_input()
            while self._connection.pgconn.notifies():
                continue
        except psycopg.OperationalError:
            self._forget()

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
