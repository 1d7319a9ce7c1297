"""Which files are new (by name, size, time, tag), which are ready (marker, age), and where they go at the end."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from threading import Event
from typing import Any

from tongqu.connectors.file.layout import Part
from tongqu.connectors.file.settings import FileSettings
from tongqu.connectors.file.shelf import Shelf, path_of
from tongqu.core.data import Position
from tongqu.core.errors import LostPositionError
from tongqu.kit import files
from tongqu.kit.files import File, Found
from tongqu.kit.places.file import PlaceFile
from tongqu.kit.places.local import LocalPlace
from tongqu.kit.places.place import Entry, Place, joined

_HALF = 8
_UNTOLD = Entry("").identity
SEEN, PARTS, COUNT = "seen", "parts", "files"
"""What a position holds: 16 bytes a file (of its name and of its size, time and tag) as base64; the parts that a run
reads, what they have in common written once; the number of files."""


class Known(dict[bytes, bytes]):
    """Files by their names, both as 8 bytes of a hash."""

    @classmethod
    def of(cls, position: Position | None) -> Known:
        """Those that a position holds."""
        raw = base64.b64decode((position or {}).get(SEEN, ""))
        return cls((raw[at : at + _HALF], raw[at + _HALF : at + 2 * _HALF]) for at in range(0, len(raw), 2 * _HALF))

    def to_text(self) -> str:
        """The opposite of `of`."""
        return base64.b64encode(b"".join(name + version for name, version in sorted(self.items()))).decode()


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_HALF).digest()


def versions(shelf: Shelf, found: Iterable[Found]) -> dict[str, tuple[bytes, bytes]]:
    """Each file's path with the hashes of its name and version; an archive is one file."""
    listed: dict[str, tuple[bytes, bytes]] = {}
    for one in found:
        path = path_of(one.path)[0]
        if path not in listed:
            listed[path] = _version(path, entry_of(shelf, one.path))
    return listed


def _version(path: str, entry: Entry) -> tuple[bytes, bytes]:
    return _hash(path), _hash(json.dumps(entry.identity, sort_keys=True))


def entry_of(shelf: Shelf, file: File) -> Entry:
    """What the list told of a file, or of the archive or encrypted file that it is in."""
    while (base := getattr(file, "base", None)) is not None:
        file = base
    return file.entry if isinstance(file, PlaceFile) else place_of(shelf).look(path_of(file)[0])


def place_of(shelf: Shelf) -> Place:
    """Where the files are renamed and deleted."""
    return shelf.place or LocalPlace()


def fresh(shelf: Shelf, found: Sequence[Found], known: Known, shown: str) -> list[Found]:
    """The files that are new or, by the setting `changed`, have changed; one of which the place tells neither size nor
    time nor tag may have. Raises LostPositionError for one that has changed where that is an error."""
    wanted = []
    listed = versions(shelf, found)
    for one in found:
        name, version = listed[path_of(one.path)[0]]
        before = known.get(name)
        other = before != version or entry_of(shelf, one.path).identity == _UNTOLD
        if before is None or (other and shelf.settings.changed == "again"):
            wanted.append(one)
        elif before != version and shelf.settings.changed == "error":
            raise LostPositionError(
                f"{one.label} of {shown} has changed since it was read",
                path=files.address(one.path),
                hint="set changed: again to read it once more as a whole, or ignore to leave it out",
            )
    return wanted


def ready(shelf: Shelf, groups: Mapping[str, list[Found]], stop: Event) -> dict[str, list[Found]]:
    """The files that whoever writes them has finished, by `marker`, `min_age_seconds` and `stable_seconds`."""
    settings = shelf.settings
    if not (settings.marker or settings.min_age_seconds or settings.stable_seconds):
        return dict(groups)
    latest = time.time_ns() - int(settings.min_age_seconds * 1_000_000_000)
    before = {name: versions(shelf, found) for name, found in groups.items()} if settings.stable_seconds else {}
    if before:
        stop.wait(settings.stable_seconds)
        groups = {name: found for name, found in shelf.find().items() if name in before}
    folders: dict[str, set[str]] = {}
    chosen: dict[str, list[Found]] = {}
    for name, found in groups.items():
        now = versions(shelf, found) if before else {}
        for one in found:
            path = path_of(one.path)[0]
            if before and before[name].get(path) != now[path]:
                continue
            if settings.min_age_seconds and entry_of(shelf, one.path).mtime > latest:
                continue
            if settings.marker and not _marked(shelf, path, folders):
                continue
            chosen.setdefault(name, []).append(one)
    return chosen


def _marked(shelf: Shelf, path: str, folders: dict[str, set[str]]) -> bool:
    marker = marker_of(shelf.settings, path)
    folder, _, name = marker.rpartition("/")
    if folder not in folders:
        folders[folder] = {
            entry.name for entry in place_of(shelf).entries(folder or ("." if shelf.place is None else ""))
        }
    return name in folders[folder]


def marker_of(settings: FileSettings, path: str) -> str:
    """The path of the file that says that another is complete."""
    plain = PurePosixPath(path)
    name = settings.marker.replace("{name}", plain.name).replace("{stem}", files.stem(plain))
    return _beside(path, name)


def put_away(shelf: Shelf, paths: Iterable[str], known: Known) -> None:
    """Delete or move files whose rows are committed and visible, and their markers; one that is no longer what `known`
    tells stays. Done again after a crash it finishes what was begun."""
    settings, place = shelf.settings, place_of(shelf)
    for path in paths:
        there = place.there(path)
        name, version = _version(path, there) if there is not None else (b"", b"")
        if there is None or known.get(name) != version:
            continue
        if settings.after == "delete":
            place.delete(path)
        else:
            _move(shelf, place, path)
        if "{name}" in settings.marker or "{stem}" in settings.marker:
            place.delete(marker_of(settings, path))


def _move(shelf: Shelf, place: Place, path: str) -> None:
    held = place.look(path)
    folder = _archive(shelf, path)
    place.make_folder(folder)
    name = PurePosixPath(path)
    new, number = _below(shelf, folder, name.name), 0
    while (there := place.there(new)) is not None and not _same(place, held, there):
        number += 1
        new = _below(shelf, folder, f"{files.stem(name)}.{number}{name.name[len(files.stem(name)) :]}")
    place.rename(path, new)


def _same(place: Place, one: Entry, other: Entry) -> bool:
    """Whether two files hold the same bytes: then one is the copy that a move which was cut off has left."""
    return one.size == other.size and _digest(place, one.path) == _digest(place, other.path)


def _digest(place: Place, path: str) -> bytes:
    found = hashlib.sha256()
    for block in place.read(path):
        found.update(block)
    return found.digest()


def _archive(shelf: Shelf, path: str) -> str:
    asked = shelf.settings.archive
    if asked.startswith("/"):
        return asked if shelf.place is None else asked.strip("/")
    parts = (PurePosixPath(path).parent / asked).parts
    kept: list[str] = []
    for part in parts:
        if part == ".." and kept and kept[-1] not in ("/", ".."):
            kept.pop()
        else:
            kept.append(part)
    return str(PurePosixPath(*kept))


def _below(shelf: Shelf, folder: str, name: str) -> str:
    return str(PurePosixPath(folder) / name) if shelf.place is None else joined(folder, name)


def _beside(path: str, name: str) -> str:
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}{name}"


def packed(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Parts with what neighbours have in common written once: `{"common": {...}, "own": [[...], ...]}`."""
    groups: list[dict[str, Any]] = []
    for part in parts:
        values = part.to_json()
        own = [values.pop(name) for name in _OWN]
        common = json.dumps(values, sort_keys=True, default=list)
        if not groups or groups[-1]["key"] != common:
            groups.append({"key": common, "common": values, "own": []})
        groups[-1]["own"].append(own)
    return [{"common": group["common"], "own": group["own"]} for group in groups]


def unpacked(groups: Sequence[Mapping[str, Any]]) -> list[Part]:
    """The opposite of `packed`."""
    return [
        Part.from_json({**group["common"], **dict(zip(_OWN, own, strict=True))})
        for group in groups
        for own in group["own"]
    ]


_OWN = ("path", "label", "identity", "member", "partitions")
