"""Members of zip and tar archives: listed and unpacked within bounds, whatever the archive says of itself."""

from __future__ import annotations

import bz2
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongqu.core.errors import AuthError, NotFoundError, ReadError
from tongqu.kit.files import address, is_archive
from tongqu.kit.formats import compression
from tongqu.kit.places.place import BLOCK

_MOST = 100_000
_HEADER = 1 << 20
"""Largest header of a tar member that is taken (long names, PAX): a real one has a few hundred bytes."""
_UTF8_FLAG = 0x800
_TAR_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
                tarfile.GNUTYPE_LONGLINK)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file in an archive; `name` as it is shown, `stamp` changes when the content does."""

    name: str
    size: int
    stamp: int


def needs_plain(name: str) -> bool:
    """Whether it is a compressed tar, which is inflated before its members are looked for."""
    return is_archive(name) and not name.lower().endswith((".zip", ".tar"))


def inflated(path: Path) -> Iterator[bytes]:
    """The plain tar in a compressed one; raises ReadError if it is damaged."""
    low = path.name.lower()
    if low.endswith((".gz", ".tgz", ".zst")):
        yield from compression.inflate(path, "zst" if low.endswith(".zst") else "gz")
        return
    form: Any = bz2.BZ2File if low.endswith(("bz2", "tbz2")) else lzma.LZMAFile
    with _damaged(path), form(path) as file:
        while data := file.read(BLOCK):
            yield data


def members(path: Path, limit: int) -> list[Member]:
    """The files in a zip or plain tar archive, in their order; of several with one name the last, which replaces the
    others wherever such an archive is unpacked. Links, devices and folders are left out. Raises
    ReadError for a damaged archive, one with more than 100,000 files, one whose files are larger than `limit` bytes
    together, and names that lead out of it."""
    with _damaged(path):
        found = list(_zip(path)) if path.suffix.lower() == ".zip" else list(_tar(path))
    found = list({one.name: one for one in found}.values())  # of several with one name the last is meant
    total = sum(one.size for one in found)
    if total > limit:
        raise ReadError(
            f"{path.name} unpacks to {total >> 20} MB; the limit is {limit >> 20}",
            path=address(path),
            hint="raise unpacked_mb if this archive is right",
        )
    return found


def content(path: Path, member: str) -> Iterator[bytes]:
    """A member's bytes: never more than were announced. Raises NotFoundError, AuthError for one with a password,
    ReadError if it is damaged."""
    with _damaged(path):
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                for info in reversed(archive.infolist()):
                    if not info.is_dir() and _safe(_decoded(info), path) == member:
                        if info.flag_bits & 1:
                            raise AuthError(f"{path.name}: {member} has a password", path=address(path))
                        with archive.open(info) as file:
                            yield from _blocks(file)
                        return
        else:
            with tarfile.open(path, "r:", tarinfo=_Bounded) as tar:
                for one in reversed(tar.getmembers()):
                    if one.isfile() and _safe(one.name, path) == member:
                        yield from _blocks(tar.extractfile(one))
                        return
    raise NotFoundError(f"{path.name} has no file {member!r}", path=address(path))


class _Bounded(tarfile.TarInfo):
    """A header that is never larger than a header is."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Bounded:
        found = super().frombuf(buf, encoding, errors)
        if found.type in _TAR_HEADERS and found.size > _HEADER:
            raise ReadError(f"the archive has a header of {found.size} bytes", hint="ask who made it")
        return found


def _zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        _bounded(len(infos), path)
        for info in infos:
            if not info.is_dir():
                yield Member(_safe(_decoded(info), path), info.file_size, info.CRC)


def _tar(path: Path) -> Iterator[Member]:
    with tarfile.open(path, "r:", tarinfo=_Bounded) as tar:
        for number, one in enumerate(tar, 1):
            _bounded(number, path)
            if one.isfile():
                yield Member(_safe(one.name, path), one.size, int(one.mtime))


def _bounded(count: int, path: Path) -> None:
    if count > _MOST:
        raise ReadError(f"{path.name} has more than {_MOST} members", path=address(path), hint="unpack it first")


def _decoded(info: zipfile.ZipInfo) -> str:
    """The name; where the archive does not say in which encoding it is, UTF-8 or else GB18030 if it can be that."""
    if info.flag_bits & _UTF8_FLAG:
        return info.filename
    raw = info.filename.encode("cp437", "replace")
    for name in ("utf-8", "gb18030"):
        try:
            return raw.decode(name)
        except UnicodeDecodeError:
            continue
    return info.filename


def _safe(name: str, path: Path) -> str:
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if plain.startswith("/") or ".." in parts or (parts and parts[0][1:2] == ":") or not parts:
        raise ReadError(
            f"{path.name} has a file whose name leads out of it: {name!r}",
            path=address(path),
            hint="nothing was unpacked; ask who made it",
        )
    return "/".join(parts)


def _blocks(file: Any) -> Iterator[bytes]:
    while data := file.read(BLOCK):
        yield data


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, EOFError, OSError, zlib.error,
            NotImplementedError) as error:  # fmt: skip
        raise ReadError(
            f"{path.name} is a damaged archive: {error}", path=address(path), hint="fetch the file again"
        ) from error
