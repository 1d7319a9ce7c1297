"""The port to a place that keeps files: list, read from an offset, put in one step, rename, copy, delete."""

from __future__ import annotations

import secrets
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tongqu.core.errors import NotFoundError, WriteError

TEMPORARY = ".tongqu-tmp"
"""How the names of content end that is not complete yet."""
_OURS = secrets.token_hex(4)
BLOCK = 1 << 20
"""Bytes that are read or sent at once."""


@dataclass(frozen=True)
class Entry:
    """A file or folder as the place lists it."""

    path: str
    """From the place's root, `/` between the parts, none before the first."""
    size: int = -1
    """Bytes; -1 where the place does not tell."""
    mtime: int = 0
    """Time of the last change in nanoseconds since 1970; 0 where the place does not tell."""
    etag: str = ""
    """What the place calls this content, if it has such names."""
    folder: bool = False

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def identity(self) -> dict[str, int | str]:
        """What changes when the content does; JSON."""
        found: dict[str, int | str] = {"size": self.size, "mtime": self.mtime}
        return found | {"etag": self.etag} if self.etag else found


MISSING = "check the path and the spelling of its parts"
"""The next step when a file is not there."""
RIGHTS = "ask the server's operator for the right, or use another login"
"""The next step when a login may not."""


class Place(ABC):
    """One connection's files. Safe to be used by several threads; connects at the first question, and again after a
    connection was lost.

    Raises NotFoundError, PrivilegeError, AuthError, ConnectError (worth another try), WriteError for a full disk.
    """

    writes: bool = True
    """Whether files can be put, renamed and deleted."""
    lists: bool = True
    """Whether folders can be listed."""
    renames_folders: bool = True
    """Whether a folder is renamed in one step; object stores have no folders."""

    def __init__(self, url: str):
        self.url = url
        """The place's root for messages and identities, without credentials: `sftp://user@host:22`."""

    def shown(self, path: str) -> str:
        """A file's address fit for messages."""
        return f"{self.url}/{path}"

    @abstractmethod
    def stages(self) -> Iterator[str]:
        """Connect stage by stage, yielding each that passed (dns, tcp, tls or host key, login)."""

    @abstractmethod
    def entries(self, folder: str) -> list[Entry]:
        """What is directly in a folder, in order of name."""

    @abstractmethod
    def look(self, path: str) -> Entry:
        """One file or folder; raises NotFoundError."""

    @abstractmethod
    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """The file's bytes from an offset on, in blocks; closing the iterator ends the transfer. Raises ConnectError
        if the connection is lost in the middle."""

    @abstractmethod
    def put(self, path: str, source: Path) -> Entry:
        """Make a local file the content of a path: readers see the old content or all of the new one. The folder is
        there. Raises WriteError if the size that arrived is another one."""

    @abstractmethod
    def rename(self, path: str, new: str) -> None:
        """Give a file another name, over what has that name; or a folder, where `renames_folders`, whose new name is
        free."""

    def copy(self, path: str, new: str) -> None:
        """Make a path have the content of another, over what has that name; through this machine unless the place can
        do it by itself."""
        self._copy_through(path, new)

    @abstractmethod
    def delete(self, path: str) -> None:
        """Remove a file; nothing happens if there is none."""

    @abstractmethod
    def make_folder(self, path: str) -> None:
        """Make a folder and those above it; nothing happens if it is there."""

    @abstractmethod
    def delete_folder(self, path: str) -> None:
        """Remove an empty folder; nothing happens if there is none."""

    @abstractmethod
    def close(self) -> None:
        """Let go of all connections; may be called twice."""

    # ---- made of the above

    def bundle(self, path: str) -> str:
        """What goes when a file is deleted or renamed: all paths with the same bundle go together."""
        return path

    def _copy_through(self, path: str, new: str) -> None:
        with tempfile.NamedTemporaryFile(prefix="tongqu-copy-") as file:
            for block in self.read(path):
                file.write(block)
            file.flush()
            self.put(new, Path(file.name))

    def there(self, path: str) -> Entry | None:
        """As `look`; None if there is none."""
        try:
            return self.look(path)
        except NotFoundError:
            return None

    def walk(self, folder: str) -> Iterator[Entry]:
        """All files below a folder, folder by folder."""
        found = self.entries(folder)
        yield from (one for one in found if not one.folder)
        for one in found:
            if one.folder:
                yield from self.walk(one.path)

    def delete_tree(self, folder: str) -> None:
        """Remove a folder with all that is in it; nothing happens if there is none."""
        if self.there(folder) is None:
            return
        for one in self.entries(folder):
            if one.folder:
                self.delete_tree(one.path)
            else:
                self.delete(one.path)
        self.delete_folder(folder)

    def verified(self, path: str, size: int) -> Entry:
        """The entry of what was put; raises WriteError if it has not that size."""
        found = self.look(path)
        if found.size not in (size, -1):
            raise WriteError(
                f"{self.shown(path)}: {found.size} bytes arrived of {size}",
                path=self.shown(path),
                hint="the name shows the content it had before; run the same command again",
            )
        return found


def joined(*parts: str) -> str:
    """Parts of a path put together, empty ones left out."""
    return "/".join(part.strip("/") for part in parts if part.strip("/"))


def parent(path: str) -> str:
    """The folder a path is in; empty for the root."""
    return path.rpartition("/")[0]


def beside(path: str, name: str) -> str:
    """Another name in the same folder."""
    return joined(parent(path), name)


def temporary_of(path: str) -> str:
    """The name under which this process sends what becomes the content of a path."""
    return beside(path, f".{PurePosixPath(path).name}.{_OURS}{TEMPORARY}")


def blocks(source: Path) -> Iterator[bytes]:
    """A local file's bytes."""
    with source.open("rb") as file:
        while data := file.read(BLOCK):
            yield data
