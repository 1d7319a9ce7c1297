"""Files as data: which ones a path means, what they are called, and how local ones change without tearing."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Literal, Protocol, cast
from urllib.parse import unquote

from tongqu.core.errors import BusyError, ConnectorError, NotFoundError, PrivilegeError, WriteError
from tongqu.kit import lasting
from tongqu.kit.local_path import FULL_DISK

COMPRESSIONS = {".gz": "gz", ".zst": "zst"}
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".xml": "xml",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
    ".xls": "xlsx",
    ".xlsb": "xlsx",
    ".ods": "xlsx",
    ".dat": "fixed",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}
"""File extension to format; `.arrow` files may be IPC files or streams, which their first bytes tell."""
_HIDDEN = (".", "_", "~$")
"""How names begin that are never data; `~$` are what office programs leave beside an open file."""
_SEALED = (".pgp", ".gpg", ".asc")
_ARCHIVE = re.compile(r"\.(zip|tar|tar\.gz|tgz|tar\.zst|tar\.bz2|tbz2|tar\.xz|txz)$", re.IGNORECASE)
_GLOB = re.compile(r"[*?\[]")
_HIVE = re.compile(r"^([^=/]+)=(.*)$")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_EXCHANGE = 2
_HERE = -100


class File(Protocol):
    """What a format needs of a file that it reads from the beginning on; `pathlib.Path` is one."""

    @property
    def name(self) -> str:
        """The last part of its path."""
        ...

    @property
    def suffixes(self) -> list[str]:
        """The name's endings: `.csv`, `.gz`."""
        ...

    def open(self, mode: Literal["rb"]) -> Any:
        """Its content as a binary file that can be sought forward."""
        ...

    def stat(self) -> Any:
        """`st_size` and `st_mtime_ns`."""
        ...

    def absolute(self) -> Any:
        """The same file, whatever the current directory is."""
        ...

    def __hash__(self) -> int: ...


class Elsewhere(File, Protocol):
    """A file that is not on this machine."""

    def local(self) -> Path:
        """A copy here, for formats that must be sought."""
        ...

    def identity(self) -> dict[str, Any]:
        """What it is right now; JSON."""
        ...


def local(file: File) -> Path:
    """The file itself, or a copy of one that is elsewhere."""
    return file if isinstance(file, Path) else cast(Elsewhere, file).local()


def address(file: object) -> str:
    """Where a file is, for errors: `file:PATH`, or the URL it shows itself by."""
    return str(file) if "://" in str(file) else f"file:{file}"


@dataclass(frozen=True)
class Found:
    """One data file. `label` is its path below the searched folder; `partitions` are the `key=value` folders in it."""

    path: File
    label: str
    format: str | None
    compression: str | None
    partitions: Mapping[str, str | None] = field(default_factory=dict)
    inside: tuple[str, ...] = ()
    """The sheet of a workbook, or the names that lead to nested records of a document."""


def kind(path: File | PurePath) -> tuple[str | None, str | None]:
    """(format, compression) by extension; None where the extension says nothing."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _SEALED:
        suffixes.pop()
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    return (FORMATS.get(suffixes[-1]) if suffixes else None), compression


def stem(path: File | PurePath) -> str:
    """The file's name without the extensions that say format, compression, archive and encryption."""
    name = _ARCHIVE.sub("", unsealed(path.name))
    for table in (COMPRESSIONS, FORMATS):
        ending = Path(name).suffix
        if ending.lower() in table and ending != name:
            name = name[: -len(ending)]
    return name


def is_sealed(name: str) -> bool:
    """Whether a file's name says that it is encrypted with OpenPGP."""
    return name.lower().endswith(_SEALED)


def unsealed(name: str) -> str:
    """The name without the ending that says encrypted."""
    return name[: name.rindex(".")] if is_sealed(name) else name


def is_archive(name: str) -> bool:
    """Whether a file's name says that it is a zip or tar archive."""
    return bool(_ARCHIVE.search(name))


def is_glob(path: str) -> bool:
    """Whether the path has wildcards."""
    return bool(_GLOB.search(path))


def find(path: str) -> dict[str, list[Found]]:
    """Dataset names with their files, in order of name.

    A file is one dataset named by its stem. A glob is one dataset named after the last folder without wildcards.
    A folder with `key=value` folders, or whose files are all `part-…`, is one dataset named after the folder; any
    other folder holds one dataset a file and one a sub-folder. Two files with the same stem keep their extensions.
    Names that begin with `.`, `_` or `~$` are never data. Raises NotFoundError if nothing is there.
    """
    if is_glob(path):
        root = _fixed_part(path)
        files = sorted(
            p for p in root.glob(str(Path(path).relative_to(root)) if root != Path() else path) if p.is_file()
        )
        matches = {root.absolute().name or "files": [_found(p, root) for p in files if _is_data(p, root)]}
    elif Path(path).is_dir():
        matches = _folder(Path(path))
    elif Path(path).is_file():
        file = Path(path)
        matches = {stem(file): [_found(file, file.parent)]}
    else:
        raise NotFoundError(
            f"no such file or folder: {path}", path=f"file:{path}", hint="check the path, or use a glob"
        )
    matches = {name: files for name, files in matches.items() if files}
    if not matches:
        raise NotFoundError(
            f"no data file matches {path}", path=f"file:{path}", hint=f"known endings: {' '.join(FORMATS)}"
        )
    return matches


def _fixed_part(path: str) -> Path:
    fixed: list[str] = []
    for part in Path(path).parts:
        if is_glob(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _folder(root: Path) -> dict[str, list[Found]]:
    entries = sorted(p for p in root.iterdir() if not p.name.startswith(_HIDDEN))
    folders = [p for p in entries if p.is_dir()]
    files = [p for p in entries if p.is_file() and is_named(p)]
    if any(_HIVE.match(p.name) for p in folders) or (files and all(p.name.startswith("part-") for p in files)):
        return {root.absolute().name: _below(root)}
    stems = [stem(p) for p in files]
    found = {(stem(p) if stems.count(stem(p)) == 1 else p.name): [_found(p, root)] for p in files}
    for folder in folders:
        found.setdefault(folder.name, []).extend(_below(folder))
    return found


def _below(root: Path) -> list[Found]:
    return [_found(p, root) for p in sorted(root.rglob("*")) if p.is_file() and is_named(p) and _is_data(p, root)]


def is_named(path: PurePath) -> bool:
    """Whether the extension alone says that it is data; `.dat` may be anything."""
    return kind(path)[0] not in (None, "fixed") or is_archive(unsealed(path.name))


def _is_data(path: Path, root: Path) -> bool:
    return not is_hidden(path.relative_to(root))


def is_hidden(label: PurePath) -> bool:
    """Whether a path below the searched folder is never data."""
    return any(part.startswith(_HIDDEN) for part in label.parts)


def is_partition(name: str) -> bool:
    """Whether a folder's name is `key=value`."""
    return bool(_HIVE.match(name))


def _found(path: Path, root: Path) -> Found:
    return data_file(path, path.relative_to(root))


def data_file(path: File, label: PurePath) -> Found:
    """A data file with what its name and folders tell; `label` is its path below the searched folder."""
    pairs = [match for part in label.parts[:-1] if (match := _HIVE.match(part))]
    partitions = {unquote(m[1]): None if m[2] == _HIVE_NULL else unquote(m[2]) for m in pairs}
    return Found(path, label.as_posix(), *kind(label), partitions)


def identity(path: File) -> dict[str, Any]:
    """What a file is right now: size, mtime in ns and a hash of its first 4 KiB, or what its place tells; JSON."""
    if not isinstance(path, Path):
        return cast(Elsewhere, path).identity()
    with translated(path):
        stat = path.stat()
        with path.open("rb") as file:
            head = hashlib.sha256(file.read(4096)).hexdigest()[:16]
    return {"size": stat.st_size, "mtime": stat.st_mtime_ns, "head": head}


@contextmanager
def translated(path: File) -> Iterator[None]:
    """Raises the system's errors about a path as ours: NotFoundError, PrivilegeError, WriteError (full disk)."""
    try:
        yield
    except ConnectorError:
        raise
    except FileNotFoundError as error:
        raise NotFoundError(f"no such file: {path}", path=address(path)) from error
    except PermissionError as error:
        raise PrivilegeError(f"no right to use {path}: {error.strerror}", path=address(path)) from error
    except OSError as error:
        hint = FULL_DISK if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise WriteError(f"{path}: {error.strerror or error}", path=address(path), hint=hint) from error


def write_atomically(path: Path, content: bytes) -> None:
    """`lasting.put`, with the system's errors as ours."""
    with translated(path):
        lasting.put(path, content)


def append_file(source: Path, target: Any, buffer: int = 1 << 20) -> int:
    """Copy a whole file to the end of an open binary file; the number of bytes."""
    with source.open("rb") as file:
        shutil.copyfileobj(file, target, buffer)
        return file.tell()


def exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step (Linux `renameat2`); False where system or file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    done: bool = rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0
    if done:
        lasting.sync(one.parent)
        lasting.sync(other.parent)
    return done


class Lock:
    """An exclusive lock on a file, held until `release` or the end of the process; never waits."""

    def __init__(self, path: Path, what: str):
        """Raises BusyError if somebody else holds it; `what` is named in the message."""
        with translated(path):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip()
            os.close(self._handle)
            raise BusyError(
                f"{what} is being written by another process{f' (pid {owner})' if owner else ''}",
                hint="wait for it to end; only one process writes a file",
            ) from error
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let go; may be called twice."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
