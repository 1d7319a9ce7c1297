"""Reads what has changed since the last time by the delta links of a service: OData 4 (Protocol 4.01, §11.3), and
version 2 as SAP has them (`__delta`, `!deltatoken`)."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urljoin

from tongqu.connectors.odata.lists import REMOVED
from tongqu.connectors.odata.service import Service
from tongqu.connectors.odata.settings import ODataSettings
from tongqu.connectors.odata.source import ODataSource
from tongqu.core.data import Batch, Dataset, Mode, Position, Read
from tongqu.core.errors import AnswerError, InvalidPlanError, LostPositionError, NotFoundError
from tongqu.core.removing import Removing
from tongqu.kit.answers.cutting import Cutting
from tongqu.kit.answers.paging import Pager
from tongqu.kit.answers.selecting import selection
from tongqu.kit.http.call import Call, Grant
from tongqu.kit.lists.catalog import Listed
from tongqu.kit.lists.endpoint import Bounds

_LINK = "link"
_GONE = re.compile(
    rb'"@(?:odata\.)?removed"|"@(?:odata\.)?context"\s*:\s*"[^"]*\$deletedEntity"|"deleted"\s*:\s*true\b'
)
_AGAIN = "again"
_PART = re.compile(r"(?:(\w+)=)?(\w*'(?:[^']|'')*'|[^,']+)(?:,|$)")
_MARK = re.compile(r"^(-?\d+(?:\.\d+)?)[LlMmDdFf]$")
_QUOTED = re.compile(r"\w*'(.*)'", re.DOTALL)
_log = logging.getLogger(__name__)


class DeltaSource(ODataSource, Removing):
    """Each incremental read begins at the delta link that the last one came to, the first one with all entities. What
    was deleted comes as a row with `@removed`. Where the service forgot a link, all entities are read again and the
    run is told why (`notices`); rows that do not merge by key cannot come again: then LostPositionError is raised."""

    tracks = True
    learns = True
    removed = REMOVED

    def __init__(self, settings: ODataSettings):
        super().__init__(settings)
        self.notices: dict[str, LostPositionError] = {}

    def horizon(self, dataset: Dataset, cursor: str, after: Position | None, *, ties: bool = True) -> Position | None:
        """See Source.horizon: where the read begins."""
        del ties
        if cursor:
            raise InvalidPlanError(
                f"the service tells by itself what is new ({dataset.name} by {cursor})", hint="leave the cursor out"
            )
        return {_LINK: after.get(_LINK) if after else None}

    def read(self, read: Read) -> Iterator[Batch]:
        """See Source.read. An incremental read can be cut after any page."""
        if read.mode is not Mode.INCREMENTAL or (read.after is not None and read.after.get("end")):
            yield from super().read(read)
            return
        listed = self._need(read.dataset.name)
        begun = read.after or read.split.spec.get("after") or {}
        link, again = begun.get(_LINK), bool(begun.get(_AGAIN)) and read.after is not None
        if again:
            self.notices.setdefault(read.dataset.name, _lost(listed, again=True))
        version = self._catalog.http.model.version if isinstance(self._catalog.http, Service) else 4
        number = 0
        while not read.stop.is_set():
            try:
                lines, envelope, url = self._page(listed, link, read, version)
            except NotFoundError as error:
                if link is None:
                    raise
                if not read.ties:
                    raise _lost(listed, again=False) from error
                self.notices[read.dataset.name] = _lost(listed, again=True)
                _log.warning("%s", self.notices[read.dataset.name].message)
                link, again = None, True
                continue
            following = envelope.get("__next" if version == 2 else "@odata.nextLink")
            last = following is None
            link = following or envelope.get("__delta" if version == 2 else "@odata.deltaLink")
            if not isinstance(link, str):
                where = listed.endpoint.where
                raise AnswerError(
                    f"{where}: the last page has no delta link", path=where,
                    hint="the service does not track changes of this entity set; read it by a cursor, without `delta`",
                )  # fmt: skip
            link = urljoin(url, link)
            rows, bad = self._catalog.rows(listed).parse(_settled(lines, listed), number, texts=False)
            number += rows.num_rows + len(bad)
            rows = rows.select(list(read.columns or read.dataset.schema.names))
            position: Position = {_LINK: link, **({"end": True} if last else {}), **({_AGAIN: True} if again else {})}
            yield Batch(read.dataset.name, rows, position, bad=bad)
            if last:
                return

    def _page(self, listed: Listed, link: str | None, read: Read, version: int) -> tuple[bytes, dict[str, Any], str]:
        """A page's entities as lines, what stands around them, and where it came from."""
        endpoint, http = listed.endpoint, self._catalog.http
        prefer = ", ".join(filter(None, (endpoint.settings.headers.get("Prefer"), "odata.track-changes")))
        headers = {**endpoint.settings.headers, "Prefer": prefer}
        pager = Pager(endpoint.paging, endpoint.where)
        call: Call = replace(endpoint.call(pager.first(), Bounds(), pager), headers=headers, stop=read.stop)
        if link is not None:
            call = replace(call, url=link, params=(), grant=Grant.DATA)
        reply = http.send(replace(call, keep_seconds=0))
        cut = Cutting([reply.content], selection("d.results" if version == 2 else "value"), endpoint.where)
        lines = b"".join(cut)
        envelope: Any = cut.envelope
        if version == 2 and isinstance(envelope, dict):
            envelope = envelope.get("d")
        return lines, envelope if isinstance(envelope, dict) else {}, reply.url


def _lost(listed: Listed, *, again: bool) -> LostPositionError:
    said = f"{listed.endpoint.where}: the service no longer knows the delta link of the last run"
    if again:
        return LostPositionError(
            f"{said}; all entities were read again", path=listed.name,
            hint="what was deleted since then is still in the target: run once with --mode full (write replace), or "
            "compare with `tongqu diff --repair`",
        )  # fmt: skip
    return LostPositionError(said, path=listed.name, hint="read everything again with --restart")


def _settled(lines: bytes, listed: Listed) -> bytes:
    """The lines, those of entities that are gone with their key and the reason."""
    if not _GONE.search(lines):
        return lines
    key = tuple(listed.endpoint.settings.key)
    return b"".join(
        _gone(line, key, listed) if _GONE.search(line) else line for line in lines.splitlines(keepends=True)
    )


def _gone(line: bytes, key: tuple[str, ...], listed: Listed) -> bytes:
    told: dict[str, Any] = json.loads(line)
    meta: Any = told.get("__metadata") if isinstance(told.get("__metadata"), dict) else {}
    removed = told.get("@removed", told.get("@odata.removed"))
    deleted = any("$deletedEntity" in str(told.get(name, "")) for name in ("@odata.context", "@context"))
    if removed is None and not deleted and meta.get("deleted") is not True:
        return line
    reason = removed.get("reason") if isinstance(removed, dict) else told.get("reason")
    found = {name: told[name] for name in key if name in told}
    if len(found) < len(key):
        named = (told.get("@id"), told.get("@odata.id"), told.get("id"), meta.get("uri"), meta.get("id"))
        found = _key(next((str(one) for one in named if one), ""), key)
    if len(found) < len(key):
        where = listed.endpoint.where
        raise AnswerError(f"{where}: a deleted entity does not say its key", path=where)
    return json.dumps({**found, REMOVED: str(reason or "deleted")}, ensure_ascii=False).encode() + b"\n"


def _key(identifier: str, key: tuple[str, ...]) -> dict[str, Any]:
    """The key out of an entity's address: `Orders(5)`, `Lines(Order='A',Line=2)`."""
    inside = unquote(identifier.rpartition("/")[2]).partition("(")[2].removesuffix(")")
    found: dict[str, Any] = {}
    for name, value in _PART.findall(inside):
        inner = _QUOTED.fullmatch(value)
        found[name or key[0]] = inner[1].replace("''", "'") if inner else _MARK.sub(r"\1", value)
    return {name: found[name] for name in key if name in found}
