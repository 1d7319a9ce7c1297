"""Reads the entity sets of an OData service as datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tongqu.connectors.odata.lists import lists
from tongqu.connectors.odata.service import Service
from tongqu.connectors.odata.settings import ODataSettings
from tongqu.core.data import Dataset, Position
from tongqu.core.errors import AnswerError, SchemaError
from tongqu.kit.answers.selecting import looked_up, parsed, written
from tongqu.kit.http.call import Call, Repeat
from tongqu.kit.lists.catalog import Catalog, Listed
from tongqu.kit.lists.source import ListSource


def opened(settings: ODataSettings, folder: Path | None) -> tuple[Catalog, Service]:
    """The datasets and the service, which is asked for its metadata."""
    service = Service(settings, folder)
    try:
        return Catalog(lists(service.model, settings), service), service
    except BaseException:
        service.close()
        raise


class ODataSource(ListSource):
    """See ListSource. The greatest cursor is asked for by `$orderby` and `$top`, and not looked for."""

    def __init__(self, settings: ODataSettings):
        super().__init__(settings.identity())
        self._settings = settings

    def open(self) -> Catalog:
        """See ListSource.open."""
        return opened(self._settings, self.folder)[0]

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """See ListSource.horizon."""
        listed = self._need(dataset.name)
        marks = self._cursor(listed, dataset, cursor)
        if not marks.scans:
            return super().horizon(dataset, cursor, after, ties=ties)
        last, before = self._end(listed, cursor, "desc"), after["cursor"] if after else None
        if last is not None:
            self._end(listed, cursor, "asc")
        if last is None or (before is not None and not marks.greater(marks.stored(last), before)):
            return None if before is None or not ties else {"cursor": before}
        return {"cursor": marks.stored(last)}

    def _end(self, listed: Listed, cursor: str, order: str) -> Any:
        """The first cursor in an order; None if there is no entity. Nulls come first in one order or the other: raises
        SchemaError for an entity without cursor, which would never be read."""
        settings, service = listed.endpoint.settings, self._catalog.http
        kept = [(name, str(value)) for name, value in settings.params.items() if name not in ("$orderby", "$expand")]
        params = [*kept, ("$orderby", f"{cursor} {order}"), ("$top", "1")]
        headers = {name: value for name, value in settings.headers.items() if name != "Prefer"}
        reply = service.send(Call("GET", service.url(settings.path), params, headers, b"", Repeat.SAFE, keep_seconds=0))
        try:
            found: Any = looked_up(parsed(reply.content), settings.records or "")
        except ValueError:
            found = None
        if not isinstance(found, list):
            raise AnswerError(f"{listed.endpoint.where}: the answer has no records", path=listed.endpoint.where)
        if not found:
            return None
        rows, bad = self._catalog.rows(listed).parse(written(found[0]).encode() + b"\n")
        value = None if bad else rows.column(cursor)[0].as_py()
        if value is None:
            raise SchemaError(
                f"at least 1 entity of {listed.name} has no {cursor!r} and would never be read", field=cursor,
                hint="choose another cursor, or mode full",
            )  # fmt: skip
        return value
