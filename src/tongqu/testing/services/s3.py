"""Starts private object stores (moto, a mock of Amazon S3 from PyPI); what is in them is gone after a restart."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from http.client import HTTPConnection
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

from tongqu.testing.services.errors import ServiceMissingError
from tongqu.testing.services.process import HOST, new_folder
from tongqu.testing.services.service import Service


class S3(Service):
    """A mock of S3 that takes any login. A "database" is a bucket; its URL names the endpoint in the query."""

    kind: ClassVar[Literal["real", "compatible", "mock"]] = "mock"
    name: ClassVar[str] = "moto S3"
    _home: ClassVar[str] = "home"
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    @property
    def endpoint(self) -> str:
        """The address for the setting `endpoint`."""
        return f"http://{self.host}:{self.port}"

    def url_of(self, database: str) -> str:
        return f"s3://testing:{self._password}@{database}/?endpoint={self.endpoint}"

    def drop(self, database: str) -> None:
        """Nothing: a bucket of that name is never asked for again."""

    def _command(self, port: int) -> Sequence[str | Path]:
        start = "from moto.server import main; main()"
        return [sys.executable, "-c", start, "-H", HOST, "-p", str(port)]

    def _create(self, database: str) -> None:
        self._ask("PUT", f"/{database.replace('_', '-')}")

    def database(self, name: str | None = None) -> str:
        """Creates an empty bucket; its name has no underscores, as S3 demands."""
        return super().database(name).replace("@t_", "@t-")

    def _probe(self) -> str:
        self._ask("GET", "/moto-api/")
        return version("moto")

    def _ask(self, method: str, path: str) -> None:
        connection = HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request(
                method, path, headers={"Authorization": "AWS4-HMAC-SHA256 Credential=testing/x/us-east-1/s3/"}
            )
            answer = connection.getresponse()
            answer.read()
            if answer.status >= 400:
                raise OSError(f"moto answered {answer.status}")
        finally:
            connection.close()

    def _not_ready(self) -> type[Exception]:
        return OSError


def start_s3() -> S3:
    """Starts moto; ServiceMissingError when it is not installed, ServiceError when it does not answer in time."""
    if find_spec("moto") is None or find_spec("flask") is None:
        raise ServiceMissingError("moto[server,s3]", hint="pip install 'moto[server,s3]'")
    return S3(new_folder("tongqu-s3-", None), None)._start()
