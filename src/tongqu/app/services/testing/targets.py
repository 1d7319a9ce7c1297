"""What cases run against: the system of a connection, a sandbox at another address, or a mock made of its document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tongqu.app.project.connections import connector_of
from tongqu.app.services.ends import Ends, is_url, rooted, whole_reference
from tongqu.catalog.cases.pretend import TOKEN, Pretend
from tongqu.core.connector import Connector
from tongqu.core.errors import InvalidPlanError, learnt
from tongqu.core.settings import Endpoint
from tongqu.kit.openapi.document import Document, read_document
from tongqu.kit.openapi.reading import text_of

if TYPE_CHECKING:
    from tongqu.app.project.load import Project

MOCK = "mock"


@dataclass(frozen=True)
class Target:
    """A system that cases are run against. `document` describes its operations, if it has one; `pretend` is the mock
    if it is one; `writes` tells whether calls that change something may be made, `sandbox` whether it is no system at
    work."""

    name: str
    connector: Connector
    settings: Endpoint
    document: Document | None = None
    pretend: Pretend | None = None
    writes: bool = False
    sandbox: bool = False


@dataclass(frozen=True)
class Targets:
    """Finds targets. With the mock no reference is resolved, so it needs neither secrets nor a system."""

    ends: Ends
    project: Callable[[], Project]
    folder: Path
    seed: int = 1

    @contextmanager
    def target(self, connection: str, against: str = "", *, allow_writes: bool = False) -> Iterator[Target]:
        """The target of a connection: its own system, the address `against`, or `mock`. Raises ConfigError, and what
        getting its document raises."""
        if against == MOCK:
            with self._mock(connection) as target:
                yield target
            return
        end = self.ends.end(connection)
        settings = end.settings
        sandbox = bool(getattr(settings, "sandbox", False))
        if against:
            if not hasattr(settings, "base_url") or not against.startswith(("http://", "https://")):
                raise InvalidPlanError(
                    f"{connection} cannot be run against {against}", path="--against",
                    hint="`mock`, or for a connection over HTTP the address of a sandbox: https://…",
                )  # fmt: skip
            settings = settings.model_copy(update={"base_url": against})
        document = self._document(str(getattr(settings, "openapi", "") or ""), settings)
        if document is not None and not getattr(settings, "base_url", ""):
            settings = settings.model_copy(update={"base_url": document.base_url()})
        yield Target(
            connection, end.connector, settings, document,
            writes=sandbox or allow_writes, sandbox=sandbox or bool(against),
        )  # fmt: skip

    @contextmanager
    def _mock(self, connection: str) -> Iterator[Target]:
        from tongqu.app.services.pretend_server import PretendServer

        values, connector = self._raw(connection)
        place = str(values.get("openapi") or "")
        document = self._document(place, None)
        if document is None:
            raise InvalidPlanError(
                f"there is no mock of {connection}: it has no `openapi`", path=connection,
                hint="name a document under `openapi`, or run against a sandbox: --against URL",
            )  # fmt: skip
        pretend = Pretend(document, seed=self.seed)
        with PretendServer(pretend) as server:
            own = {name: values[name] for name in ("datasets", "paging") if name in values}
            settings = connector.settings.parse(
                {**own, "openapi": place, "base_url": server.url, "auth": {"bearer": TOKEN}}, connection
            )
            if not isinstance(settings, Endpoint):
                raise InvalidPlanError(f"{connector.name} cannot be pretended", path=connection)
            yield Target(connection, connector, settings, document, pretend, writes=True, sandbox=True)

    def _raw(self, connection: str) -> tuple[Mapping[str, Any], Connector]:
        """A connection's values as they stand in the project, and its connector."""
        if is_url(connection) or whole_reference(connection):
            end = self.ends.end(connection)
            return {"openapi": getattr(end.settings, "openapi", "")}, end.connector
        project = self.project()
        raw = project.connection(connection)
        return rooted(raw, project.folder), connector_of(raw)

    def document_of(self, connection: str) -> Document | None:
        """The document that a connection names; None if it names none. Nothing but the document is asked for, and no
        reference is resolved for a file."""
        values, _ = self._raw(connection)
        place = str(values.get("openapi") or "")
        if not is_url(place):
            return self._document(place, None)
        return self._document(place, self.ends.end(connection).settings)

    def _document(self, place: str, settings: Endpoint | None) -> Document | None:
        from tongqu.kit.http.settings import HttpSettings

        if not place:
            return None
        if not is_url(place):
            return read_document(text_of(place), Path(place).name)
        http = None
        if isinstance(settings, HttpSettings):
            http = settings.model_copy(update={"base_url": settings.base_url or place, "record": None})
        with learnt():
            return read_document(text_of(place, http), place.partition("?")[0])
