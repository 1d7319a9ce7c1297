"""Starts private WebDAV servers (wsgidav, a compatible server from PyPI); GET with ranges works over HTTP as well."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Sequence
from http.client import HTTPConnection
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import quote

from tongqu.testing.services.errors import ServiceMissingError
from tongqu.testing.services.process import HOST, new_folder
from tongqu.testing.services.service import Service

_USER = "files"


class Webdav(Service):
    """wsgidav where the user `files` logs in with the server's password. A "database" is a folder below `files`."""

    kind: ClassVar[Literal["real", "compatible", "mock"]] = "compatible"
    name: ClassVar[str] = "wsgidav"
    _home: ClassVar[str] = "home"
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, None)
        self.files = folder / "files"

    def folder_of(self, database: str) -> Path:
        """The folder that a URL of `database` shows."""
        return self.files / database

    def url_of(self, database: str) -> str:
        return f"webdav://{_USER}:{self._password}@{self.host}:{self.port}/{quote(database)}"

    def drop(self, database: str) -> None:
        """Removes the folder; harmless if there is none of that name."""
        shutil.rmtree(self.files / database, ignore_errors=True)

    def write_files(self) -> None:
        """Makes the configuration."""
        self.folder_of(self._home).mkdir(parents=True)
        settings = {
            "host": HOST,
            "provider_mapping": {"/": str(self.files)},
            "simple_dc": {"user_mapping": {"*": {_USER: {"password": self._password}}}},
            "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
            "property_manager": None,
            "lock_storage": None,
            "verbose": 1,
        }
        (self._folder / "wsgidav.json").write_text(json.dumps(settings))

    def _command(self, port: int) -> Sequence[str | Path]:
        start = "from wsgidav.server.server_cli import run; run()"
        return [sys.executable, "-c", start, "--config", self._folder / "wsgidav.json", "--port", str(port)]

    def _create(self, database: str) -> None:
        self.folder_of(database).mkdir(parents=True)

    def _probe(self) -> str:
        connection = HTTPConnection(self.host, self.port, timeout=5)
        try:
            connection.request("OPTIONS", "/")
            connection.getresponse().read()
        finally:
            connection.close()
        return version("wsgidav")

    def _not_ready(self) -> type[Exception]:
        return OSError


def start_webdav() -> Webdav:
    """Starts wsgidav; ServiceMissingError when it is not installed, ServiceError when it does not answer in time."""
    if find_spec("wsgidav") is None or find_spec("cheroot") is None:
        raise ServiceMissingError("wsgidav", hint="pip install wsgidav cheroot")
    server = Webdav(new_folder("tongqu-webdav-", None))
    server.write_files()
    return server._start()
