"""The files of one connection: found, opened by the path that a split remembers, unsealed and unpacked on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from tongqu.connectors.file.settings import FileSettings
from tongqu.core.errors import NotFoundError
from tongqu.kit import files
from tongqu.kit.files import File, Found
from tongqu.kit.places import sealed
from tongqu.kit.places.file import Files, PlaceFile
from tongqu.kit.places.finding import find as find_elsewhere
from tongqu.kit.places.place import Place
from tongqu.kit.places.spool import Spool

INSIDE = "!/"
"""What stands between an archive and its member in names that are shown."""


class Shelf:
    """Opens nothing and connects nowhere until it is asked."""

    def __init__(self, settings: FileSettings):
        self.settings = settings
        self.place: Place | None = None
        """Where the files are; None if they are on this machine."""
        self._lodging: Path | None = None
        address = settings.elsewhere
        if address is not None:
            from tongqu.kit.places.opening import open_place

            egress = settings.egress((address.host, address.port)) if address.scheme != "s3" else settings.egress()
            self.place = open_place(address, settings, egress)
            self.path = address.path
        else:
            self.path = settings.path

    def lodge(self, folder: Path) -> None:
        """Where copies are kept while they are needed."""
        self._lodging = folder

    @cached_property
    def spool(self) -> Spool:
        """Copies of files that must be sought, and what was unsealed or unpacked."""
        return Spool(self._lodging / "spool" if self._lodging else None, self.settings.spool_mb << 20)

    @cached_property
    def files(self) -> Files:
        """The files of the place elsewhere."""
        assert self.place is not None  # noqa: S101  # only asked where there is one
        return Files(self.place, self.spool)

    def find(self) -> dict[str, list[Found]]:
        """Dataset names with their files (see `files.find`), archives replaced by what is in them: of a single archive
        each member is a dataset, of several in one dataset all members are in it."""
        listed = files.find(self.path) if self.place is None else find_elsewhere(self.files, self.path)
        found: dict[str, list[Found]] = {}
        for name, group in listed.items():
            opened = [replace(one, path=self._unsealed(one.path)) for one in group if not self._is_put_away(one)]
            packed = [one for one in opened if files.is_archive(one.path.name)]
            if not packed:
                found[name] = opened
            elif len(opened) == 1:
                for member in self._members(opened[0]):
                    found.setdefault(files.stem(PurePosixPath(member.label)), []).append(member)
            else:
                found[name] = [part for one in opened for part in (self._members(one) if one in packed else [one])]
        found = {name: group for name, group in found.items() if group}
        if not found:
            raise NotFoundError(
                f"no data file in {self.settings.display()}", path=self.settings.display(),
                hint=f"known endings: {' '.join(files.FORMATS)}",
            )  # fmt: skip
        return found

    def file(self, path: str, member: str = "") -> File:
        """The file of a path as `path_of` gives it."""
        base: File = Path(path) if self.place is None else self.files.file(path)
        opened = self._unsealed(base)
        return self._unsealed(_Member(opened, member, self)) if member else opened

    @staticmethod
    def path_of(found: Found) -> str:
        """The path of a file, or of the archive that it is in."""
        return path_of(found.path)[0]

    def _unsealed(self, file: File) -> File:
        return _Sealed(file, self) if files.is_sealed(file.name) else file

    def _members(self, found: Found) -> list[Found]:
        from tongqu.kit.places import archive

        globs = self.settings.members
        parts = []
        for one in archive.members(plain(found.path, self), self.settings.unpacked_mb << 20):
            label = PurePosixPath(one.name)
            known = files.kind(label)[0] not in (None, "fixed")
            wanted = any(fnmatchcase(one.name, glob) or fnmatchcase(label.name, glob) for glob in globs)
            if files.is_hidden(label) or not (wanted if globs else known):
                continue
            member = self._unsealed(_Member(found.path, one.name, self))
            parts.append(Found(member, f"{found.label}{INSIDE}{one.name}", *files.kind(label), found.partitions))
        return parts

    def _is_put_away(self, found: Found) -> bool:
        """Whether a file is in a folder that read files are moved to."""
        if self.settings.after != "move":
            return False
        asked = PurePosixPath(self.settings.archive)
        folder = PurePosixPath(path_of(found.path)[0]).parent
        if asked.is_absolute():
            return folder.is_relative_to(asked if self.place is None else asked.relative_to("/"))
        start = PurePosixPath(Path(self.path).absolute() if self.place is None else self.path)
        depth = next((at for at, part in enumerate(start.parts) if files.is_glob(part)), len(start.parts))
        wanted = tuple(part for part in asked.parts if part != "..")
        below = folder.parts[depth:]
        return bool(wanted) and below[-len(wanted) :] == wanted

    @property
    def opener(self) -> sealed.Opener:
        """What opens encrypted files."""
        secret = self.settings.pgp_password
        return sealed.Opener(self.settings.pgp_key_file, secret.get_secret_value() if secret else "")

    def close(self) -> None:
        """Let go of connections and copies; may be called twice."""
        if self.place is not None:
            self.place.close()
        if "spool" in self.__dict__:
            self.spool.close()
        if "files" in self.__dict__:
            self.files.forget()


def path_of(file: File) -> tuple[str, str]:
    """The path and member by which `Shelf.file` finds a file again."""
    if isinstance(file, _Sealed):
        return path_of(file.base)
    if isinstance(file, _Member):
        return path_of(file.base)[0], file.member
    return (file.path, "") if isinstance(file, PlaceFile) else (str(file.absolute()), "")


def plain(file: File, shelf: Shelf) -> Path:
    """An archive on this machine whose members can be sought: a compressed tar is inflated."""
    from tongqu.kit.places import archive

    path = files.local(file)
    if not archive.needs_plain(path.name):
        return path
    key = f"{file} {files.identity(file)} plain"
    return shelf.spool.copy(key, files.stem(path) + ".tar", lambda: archive.inflated(path))


class _Derived:
    """A file that is made of another one; it exists as a copy in the spool."""

    def __init__(self, base: File, shelf: Shelf):
        self.base, self._shelf = base, shelf

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def suffixes(self) -> list[str]:
        return PurePosixPath(self.name).suffixes

    def open(self, mode: str = "rb") -> Any:
        assert mode == "rb", mode  # noqa: S101  # formats only read
        return self.local().open("rb")

    def stat(self) -> Any:
        return self.local().stat()

    def absolute(self) -> _Derived:
        return self

    def is_file(self) -> bool:
        return bool(getattr(self.base, "is_file", lambda: True)())

    def identity(self) -> dict[str, Any]:
        return files.identity(self.base)

    def local(self) -> Path:
        raise NotImplementedError

    def _own(self) -> Sequence[str]:
        """What tells it from others of the same class."""
        return (str(self.base),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Derived) and type(other) is type(self) and self._own() == other._own()

    def __hash__(self) -> int:
        return hash((type(self), self._own()))

    def __str__(self) -> str:
        return str(self.base)


class _Sealed(_Derived):
    """A file that is encrypted with OpenPGP."""

    @property
    def name(self) -> str:
        return files.unsealed(self.base.name)

    def local(self) -> Path:
        def opened(target: Path) -> None:
            self._shelf.opener.open(files.local(self.base), target)

        return self._shelf.spool.made(f"{self.base} {files.identity(self.base)} opened", self.name, opened)


class _Member(_Derived):
    """A file in an archive."""

    def __init__(self, base: File, member: str, shelf: Shelf):
        super().__init__(base, shelf)
        self.member = member

    @property
    def name(self) -> str:
        return PurePosixPath(self.member).name

    def local(self) -> Path:
        from tongqu.kit.places import archive

        key = f"{self.base} {files.identity(self.base)} {self.member}"
        return self._shelf.spool.copy(
            key, self.name, lambda: archive.content(plain(self.base, self._shelf), self.member)
        )

    def _own(self) -> Sequence[str]:
        return (str(self.base), self.member)

    def __str__(self) -> str:
        return f"{self.base}{INSIDE}{self.member}"
