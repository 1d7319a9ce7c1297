"""Folders on test servers as the file connector is given them: one URL form for SFTP, FTP, SMB, WebDAV and S3."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tongqu.connectors.file.settings import FileSettings, from_url
from tongqu.connectors.file.shelf import Shelf
from tongqu.kit.places.place import Place, joined
from tongqu.testing.services import S3, Samba, Service, Sshd, Vsftpd, Webdav


@dataclass(frozen=True)
class Drop:
    """An empty folder on a server. `shown` is where the server keeps it on this machine, if it does."""

    base: str
    query: dict[str, str]
    shown: Path | None = None

    def url(self, path: str = "", **settings: str) -> str:
        """The URL of a path in it, with settings of the connector."""
        asked = "&".join(f"{name}={quote(value, safe='/:')}" for name, value in {**self.query, **settings}.items())
        return f"{self.base}/{quote(path, safe='/*[]!')}?{asked}"

    def settings(self, path: str = "", **settings: str) -> FileSettings:
        """The connector's settings for a path in it."""
        return from_url(self.url(path, **settings))

    def place(self) -> tuple[Place, str]:
        """The place, and the folder's path in it."""
        shelf = Shelf(self.settings())
        assert shelf.place is not None
        return shelf.place, shelf.path

    def put(self, name: str, content: bytes, scratch: Path) -> None:
        """Make a file in it, its folders too."""
        place, folder = self.place()
        source = scratch / "drop-content"
        source.write_bytes(content)
        try:
            path = joined(folder, name)
            place.make_folder(path.rpartition("/")[0])
            place.put(path, source)
        finally:
            place.close()


def drop(service: Service, scheme: str = "") -> Drop:
    """A new empty folder on a server; `scheme` chooses where a server speaks several (`ftps`, `http`)."""
    base, _, query = service.database().partition("?")
    name = base.rstrip("/").rpartition("/")[2]
    own = dict(pair.split("=", 1) for pair in query.split("&") if pair)
    if isinstance(service, Sshd):
        own |= {"key_file": str(service.key_file), "host_key": service.fingerprint}
    if isinstance(service, Vsftpd):
        own |= {"tls.ca_file": str(service.ca_file)}
    folder = service.folder_of(name) if isinstance(service, Sshd | Vsftpd | Samba | Webdav) else None
    if scheme:
        base = f"{scheme}://{base.partition('://')[2]}"
    if isinstance(service, S3):
        base = f"{base.rstrip('/')}/drop"
    return Drop(base.rstrip("/"), own, folder)
