"""Files on a WebDAV server (RFC 4918): Nextcloud, SharePoint's and IIS's folders, Apache, NAS boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tongqu.core.errors import CallRefusedError, NotFoundError, WriteError
from tongqu.kit.egress.dial import Egress
from tongqu.kit.http.call import Call, Repeat
from tongqu.kit.places.place import MISSING, Entry, Place, parent, temporary_of
from tongqu.kit.places.settings import Address, PlaceSettings
from tongqu.kit.places.web import client, content, instant, named
from tongqu.kit.places.xml_reply import Node, parse

MOST = 1 << 30
"""Largest file that is sent: WebDAV takes it as one request, which is made in memory."""
_ASK = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/>'
    b"<getlastmodified/><getetag/></prop></propfind>"
)


class WebdavPlace(Place):
    """Files below a server's root."""

    def __init__(self, address: Address, settings: PlaceSettings, egress: Egress):
        super().__init__(address.shown)
        self._base = f"{'https' if address.scheme == 'davs' else 'http'}://{_authority(address)}"
        self._http = client(self._base, address, settings, egress, login=True)
        self._start = parent(address.path) if "." in address.path.rpartition("/")[2] else address.path

    def stages(self) -> Iterator[str]:
        """`dns`, `tcp`, `tls` with davs, `login`."""
        yield from self._http.stages(self._base)
        self._found(self._start.partition("*")[0].rpartition("/")[0] if "*" in self._start else self._start, "0")
        yield "login"

    def entries(self, folder: str) -> list[Entry]:
        """See Place.entries."""
        found = [one for one in self._found(folder, "1") if one.path != folder]
        return sorted(found, key=lambda one: one.path)

    def look(self, path: str) -> Entry:
        """See Place.look."""
        found = self._found(path, "0")
        if not found:
            raise NotFoundError(f"no such file: {self.shown(path)}", path=self.shown(path), hint=MISSING)
        return Entry(path, found[0].size, found[0].mtime, found[0].etag, found[0].folder)

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """See Place.read."""
        with named(self.shown(path)):
            yield from content(self._http, Call("GET", self._url(path)), offset, self.shown(path))

    def put(self, path: str, source: Path) -> Entry:
        """See Place.put: a temporary name, then MOVE. Raises WriteError for a file beyond 1 GiB."""
        size = source.stat().st_size
        if size > MOST:
            raise WriteError(
                f"{self.shown(path)} would have {size} bytes; webdav files are sent whole, up to 1 GiB",
                path=self.shown(path),
                hint="write several files (a folder with partition), or use sftp, smb or s3",
            )
        temporary = temporary_of(path)
        self._do("PUT", temporary, body=source.read_bytes())
        self.verified(temporary, size)
        self.rename(temporary, path)
        return self.look(path)

    def rename(self, path: str, new: str) -> None:
        """See Place.rename."""
        self._do("MOVE", path, headers={"Destination": self._url(new), "Overwrite": "T"})

    def copy(self, path: str, new: str) -> None:
        """See Place.copy: the server copies."""
        self._do("COPY", path, headers={"Destination": self._url(new), "Overwrite": "T"})

    def delete(self, path: str) -> None:
        """See Place.delete."""
        self._do("DELETE", path, accepts=(404,))

    def make_folder(self, path: str) -> None:
        """See Place.make_folder."""
        if not path or self.there(path) is not None:
            return
        self.make_folder(parent(path))
        self._do("MKCOL", f"{path}/", accepts=(405,))

    def delete_folder(self, path: str) -> None:
        """See Place.delete_folder."""
        self._do("DELETE", f"{path}/", accepts=(404,))

    def close(self) -> None:
        """See Place.close."""
        self._http.close()

    def _found(self, path: str, depth: str) -> list[Entry]:
        headers = {"Depth": depth, "Content-Type": "application/xml; charset=utf-8"}
        reply = self._do("PROPFIND", path, headers=headers, body=_ASK)
        return [_entry(one) for one in parse(reply, self.shown(path)).all("response")]

    def _do(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes = b"",
        accepts: tuple[int, ...] = (),
    ) -> bytes:  # fmt: skip
        call = Call(method, self._url(path), (), headers or {}, body, Repeat.SAFE, accepts=accepts)
        with named(self.shown(path)):
            try:
                return self._http.send(call).content
            except CallRefusedError as error:
                if error.status == 409:  # a folder above is missing
                    raise NotFoundError(f"no such folder: {self.shown(parent(path))}", path=self.shown(path)) from error
                raise

    def _url(self, path: str) -> str:
        return f"{self._base}/{quote(path)}"


def _authority(address: Address) -> str:
    """Host and port as http has them."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def _entry(response: Node) -> Entry:
    path = unquote(urlsplit(response.value("href")).path).strip("/")
    properties = [one.find("prop") for one in response.all("propstat") if " 200 " in f"{one.value('status')} "]
    told = next((one for one in properties if one is not None), Node("prop"))
    folder = told.find("resourcetype", "collection") is not None
    size = told.value("getcontentlength")
    return Entry(
        path, int(size) if size.isdigit() and not folder else -1, instant(told.value("getlastmodified")),
        "" if folder else told.value("getetag"), folder,
    )  # fmt: skip
