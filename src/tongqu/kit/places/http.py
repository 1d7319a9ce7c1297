"""One file at an http or https address; it is only read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from tongqu.core.errors import CallRefusedError, InvalidPlanError
from tongqu.kit.egress.dial import Egress
from tongqu.kit.http.call import Call
from tongqu.kit.places.place import Entry, Place
from tongqu.kit.places.settings import Address, PlaceSettings
from tongqu.kit.places.web import PLAIN, client, content, entry_of, named


class HttpPlace(Place):
    """The file that an address means. There are no lists and nothing is written."""

    writes = False
    lists = False

    def __init__(self, address: Address, settings: PlaceSettings, egress: Egress):
        super().__init__(f"{address.scheme}://{address.authority}")
        self._base = self.url
        self._query = f"?{address.query}" if address.query else ""
        self._path = address.path
        self._http = client(self._base, address, settings, egress, login=True)

    def stages(self) -> Iterator[str]:
        """`dns`, `tcp`, `tls`."""
        yield from self._http.stages(self._url())

    def entries(self, folder: str) -> list[Entry]:
        """Raises InvalidPlanError: HTTP has no lists."""
        raise InvalidPlanError(
            f"{self.shown(folder)}: http cannot list files", hint="name one file, or use webdav:// or s3://"
        )

    def look(self, path: str) -> Entry:
        """See Place.look; a server that refuses HEAD is asked for the first byte."""
        with named(self.shown(path)):
            try:
                reply = self._http.send(Call("HEAD", self._url(), headers=PLAIN))
            except CallRefusedError as error:
                if error.status not in (400, 405):
                    raise
                with self._http.stream(Call("GET", self._url(), headers={**PLAIN, "Range": "bytes=0-0"})) as stream:
                    told = dict(stream.headers)
                whole = told.get("content-range", "").rpartition("/")[2]
                told["content-length"] = whole if stream.status == 206 else told.get("content-length", "")
                return entry_of(path, told)
            return entry_of(path, reply.headers)

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """See Place.read."""
        with named(self.shown(path)):
            yield from content(self._http, Call("GET", self._url()), offset, self.shown(path))

    def _url(self) -> str:
        return f"{self._base}/{self._path}{self._query}"

    def shown(self, path: str) -> str:
        """The address without its query, which may hold a key."""
        return f"{self.url}/{unquote(path)}"

    def put(self, path: str, source: Path) -> Entry:
        """Raises InvalidPlanError."""
        del source
        raise self._only_read(path)

    def rename(self, path: str, new: str) -> None:
        """Raises InvalidPlanError."""
        del new
        raise self._only_read(path)

    def delete(self, path: str) -> None:
        """Raises InvalidPlanError."""
        raise self._only_read(path)

    def make_folder(self, path: str) -> None:
        """Raises InvalidPlanError."""
        raise self._only_read(path)

    def delete_folder(self, path: str) -> None:
        """Raises InvalidPlanError."""
        raise self._only_read(path)

    def _only_read(self, path: str) -> InvalidPlanError:
        return InvalidPlanError(f"{self.shown(path)}: http files are only read", hint="write to webdav:// or s3://")

    def close(self) -> None:
        """See Place.close."""
        self._http.close()
