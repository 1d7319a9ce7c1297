"""Starts private SecantusDB servers (from PyPI), which speak MongoDB's protocol with transactions; not a mongod."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import quote

from tongqu.testing.services.errors import ServiceMissingError
from tongqu.testing.services.process import HOST, new_folder
from tongqu.testing.services.service import Service

if TYPE_CHECKING:
    from pymongo import MongoClient

_USER = "tongqu"


class Mongodb(Service):
    """A server whose user logs in with a password; the first start makes the user, the second asks for it."""

    kind: ClassVar[Literal["real", "compatible", "mock"]] = "compatible"
    name: ClassVar[str] = "SecantusDB (MongoDB)"
    _home: ClassVar[str] = "test"
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL
    _guarded = False

    def url_of(self, database: str) -> str:
        login = f"{_USER}:{self._password}@" if self._guarded else ""
        where = "?auth_source=admin" if self._guarded else ""
        return f"mongodb://{login}{self.host}:{self.port}/{quote(database, safe='')}{where}"

    def client(self) -> MongoClient[dict[str, Any]]:
        """A client with the driver itself; the caller closes it."""
        from pymongo import MongoClient

        login: dict[str, Any] = {"username": _USER, "password": self._password} if self._guarded else {}
        return MongoClient(
            self.host, self.port, directConnection=True, serverSelectionTimeoutMS=2000, retryWrites=False, **login
        )

    def drop(self, database: str) -> None:
        """Drops a database; harmless if it does not exist."""
        with self.client() as client:
            client.drop_database(database)

    def _create(self, database: str) -> None:
        """Nothing: a database is there when something is written into it."""

    def _command(self, port: int) -> Sequence[str | Path]:
        start = "from secantus.cli import main; main()"
        guard = ["--auth"] if self._guarded else []
        return [sys.executable, "-c", start, "--host", HOST, "--port", str(port), "--storage-path",
                self._folder / "data", "--log-level", "ERROR", *guard]  # fmt: skip

    def guard(self) -> None:
        """Make the user, and start again as a server that asks for a login."""
        with self.client() as client:
            client.admin.command("createUser", _USER, pwd=self._password, roles=["root"])
        self._guarded = True
        self.restart()

    def _probe(self) -> str:
        with self.client() as client:
            client.admin.command("ping")
        return version("secantusdb")

    def _not_ready(self) -> type[Exception]:
        from pymongo.errors import PyMongoError

        return PyMongoError


def start_mongodb() -> Mongodb:
    """Starts SecantusDB with a login; ServiceMissingError when it is not installed."""
    if find_spec("secantus") is None or find_spec("pymongo") is None:
        raise ServiceMissingError("secantusdb", hint="pip install secantusdb pymongo")
    made = Mongodb(new_folder("tongqu-mongodb-", None), None)._start()
    try:
        made.guard()
    except BaseException:
        made.stop()
        raise
    return made


def without_collections(url: str) -> str:
    """The URL of a database of somebody's own server, after all its collections have been dropped; refuses one that is
    not called `tongqu_test…`, because nobody would lend another one for this."""
    from tongqu.connectors.mongodb.reach import Reach
    from tongqu.connectors.mongodb.settings import from_url

    settings = from_url(url)
    assert settings.database.startswith("tongqu_test"), f"this database is not called tongqu_test…: {settings.database}"
    reach = Reach(settings)
    try:
        reach.client().drop_database(settings.database)
    finally:
        reach.forget()
    return url
