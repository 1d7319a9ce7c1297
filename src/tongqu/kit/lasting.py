"""The one place where files, folders and their names are made to outlast a loss of power.

A file's content is safe after `fsync` of the file, its name only after `fsync` of the folder that holds it (POSIX says
nothing else; Pillai et al., OSDI 2014), and so on up to a folder that was there before.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def sync(path: Path) -> None:
    """Make a file's content, or a folder's names, safe."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Have the folder (with this mode if it is made) and those above it; what was missing is safe on return."""
    missing: list[Path] = []
    place = path
    while not place.is_dir():
        missing.append(place)
        place = place.parent
    for folder in reversed(missing):
        try:
            folder.mkdir(mode=mode if folder == path else 0o777)
        except FileExistsError:  # somebody else was quicker, and may not have come to syncing
            if not folder.is_dir():
                raise
        sync(folder.parent)


def replace(source: Path, target: Path) -> None:
    """Rename a finished file over the target, in one step; content and name are safe on return."""
    sync(source)
    source.replace(target)
    sync(target.parent)


def put(path: Path, content: bytes, mode: int | None = None) -> None:
    """Readers see the old content or the new, never a part; safe on return. Several may put the same file. Without a
    mode the file gets that of any new one."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        _written(fresh, content, mode)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync(path.parent)


def put_first(path: Path, content: bytes, mode: int | None = 0o600) -> bytes:
    """What the file holds; the content if nobody has made it yet, and whoever comes later finds it whole."""
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        try:
            _written(fresh, content, mode)
            with suppress(FileExistsError):
                os.link(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
        sync(path.parent)
    return path.read_bytes()


def append(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Add to the end of a file, made if it is not there; safe on return. A loss of power meanwhile may leave a part."""
    there = path.exists()
    with os.fdopen(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if not there:
        sync(path.parent)


def _written(path: Path, content: bytes, mode: int | None) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666 if mode is None else mode), "wb") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)  # whatever the umask says
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
