"""Starts private noida-db servers (from PyPI), which speak Elasticsearch's protocol; not an Elasticsearch."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from tongqu.testing.services.errors import ServiceMissingError
from tongqu.testing.services.process import new_folder
from tongqu.testing.services.service import Service


class Elasticsearch(Service):
    """A server without login, whose indices are those of one cluster."""

    kind: ClassVar[Literal["real", "compatible", "mock"]] = "compatible"
    name: ClassVar[str] = "noida-db (Elasticsearch)"
    _home: ClassVar[str] = ""
    _end: ClassVar[signal.Signals] = signal.SIGTERM
    _throw_away: ClassVar[signal.Signals] = signal.SIGKILL

    def url_of(self, database: str) -> str:
        """The cluster, whatever the name: it has no databases."""
        del database
        return f"elasticsearch+http://{self.host}:{self.port}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the HTTP API; the body is JSON, or the lines of a bulk call."""
        connection = HTTPConnection(self.host, self.port, timeout=10)
        lines = isinstance(body, list)
        text = "".join(f"{json.dumps(one)}\n" for one in body) if lines else json.dumps(body) if body else None
        kind = "application/x-ndjson" if lines else "application/json"
        try:
            connection.request(method, path, text, {"Content-Type": kind})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def put(self, index: str, **documents: dict[str, Any]) -> None:
        """Documents by `_id`, visible at once."""
        lines: list[Any] = []
        for place, document in documents.items():
            lines += [{"index": {"_id": place}}, document]
        told = self.ask("POST", f"/{quote(index)}/_bulk?refresh=true", lines)
        assert not told["errors"], told

    def drop(self, database: str) -> None:
        """Drops all indices."""
        del database
        for index in self.ask("GET", "/_mapping"):
            self.ask("DELETE", f"/{quote(index)}")

    def _create(self, database: str) -> None:
        """Nothing: an index is there when something is written into it."""

    def _command(self, port: int) -> Sequence[str | Path]:
        return [noida_binary(), "start", "--data-dir", self._folder / "data", "--host", self.host,
                "--only", "elasticsearch", "--elasticsearch-port", str(port)]  # fmt: skip

    def _probe(self) -> str:
        try:
            return f"{version('noida-db')} as {self.ask('GET', '/')['version']['number']}"
        except (OSError, HTTPException) as error:
            raise _NotUpError(str(error)) from error

    def _not_ready(self) -> type[Exception]:
        return _NotUpError


class _NotUpError(Exception):
    """It does not answer yet."""


def noida_binary() -> Path:
    """Where the server is; ServiceMissingError when it is not installed."""
    found = find_spec("noida_db")
    if found is None or found.origin is None:
        raise ServiceMissingError("noida-db", hint="pip install noida-db")
    return Path(found.origin).parent / "noida-db"


def without_indices(url: str) -> str:
    """The URL of somebody's own cluster, after its indices that are not hidden have been dropped; refuses one that is
    not called `tongqu_test…`, because nobody would lend another one for this."""
    from tongqu.connectors.elasticsearch.cluster import Cluster, named
    from tongqu.connectors.elasticsearch.settings import from_url

    cluster = Cluster(from_url(url), None)
    try:
        called = str(cluster.ask("GET", "/").get("cluster_name"))
        assert called.startswith("tongqu_test"), f"this cluster is not called tongqu_test…: {called}"
        for index in cluster.mappings():
            if not index.startswith("."):
                cluster.ask("DELETE", f"/{named(index)}")
    finally:
        cluster.close()
    return url


def start_elasticsearch() -> Elasticsearch:
    """Starts noida-db; ServiceMissingError when it is not installed."""
    noida_binary()
    return Elasticsearch(new_folder("tongqu-elasticsearch-", None), None)._start()
