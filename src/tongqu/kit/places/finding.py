"""Which files of a place a path means, and what their datasets are called: as `kit.files` does for local ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from urllib.parse import unquote

from tongqu.core.errors import InvalidPlanError, NotFoundError, ReadError
from tongqu.kit import files
from tongqu.kit.files import FORMATS, Found
from tongqu.kit.places.file import Files
from tongqu.kit.places.place import Entry, Place, joined

_UNREAD = re.compile("[\ud800-\udfff]")
"""What stands for bytes of a name that are nothing in the encoding of names."""


def find(held: Files, path: str) -> dict[str, list[Found]]:
    """Dataset names with their files, by the rules of `files.find`. Raises NotFoundError if nothing is there."""
    place = held.place
    if place.lists and files.is_glob(path):
        root, pattern = _parted(path)
        listed = [_found(held, one, root) for one in sorted(_matching(place, root, pattern), key=lambda e: e.path)]
        matches = {PurePosixPath(root).name or "files": [one for one in listed if not _hidden(one)]}
    else:
        entry = place.look(path) if path else Entry("", folder=True)
        if entry.folder:
            matches = _folder(held, path)
        else:
            name = PurePosixPath(path if place.lists else unquote(path))
            matches = {files.stem(name): [_found(held, entry, str(name.parent) if len(name.parts) > 1 else "")]}
    matches = {name: listed for name, listed in matches.items() if listed}
    if not matches:
        shown = place.shown(path)
        raise NotFoundError(f"no data file matches {shown}", path=shown, hint=f"known endings: {' '.join(FORMATS)}")
    return matches


def _parted(path: str) -> tuple[str, list[str]]:
    """The folder before the first wildcard, and the rest part by part."""
    parts = path.split("/")
    first = next(number for number, part in enumerate(parts) if files.is_glob(part))
    return "/".join(parts[:first]), parts[first:]


def _matching(place: Place, folder: str, pattern: list[str]) -> Iterator[Entry]:
    first, rest = pattern[0], pattern[1:]
    if first == "**" and not rest:
        yield from place.walk(folder)
        return
    if not files.is_glob(first):
        here = place.there(joined(folder, first))
        if here is not None and (here.folder if rest else not here.folder):
            yield from _matching(place, here.path, rest) if rest else [here]
        return
    entries = place.entries(folder)
    if first == "**":
        yield from _matching(place, folder, rest)
        for one in entries:
            if one.folder:
                yield from _matching(place, one.path, pattern)
        return
    for one in entries:
        if fnmatchcase(one.name, first):
            if rest and one.folder:
                yield from _matching(place, one.path, rest)
            elif not rest and not one.folder:
                yield one


def _folder(held: Files, folder: str) -> dict[str, list[Found]]:
    place = held.place
    if not place.lists:
        raise InvalidPlanError(f"{place.shown(folder)} is no file", hint="name one file")
    entries = [one for one in place.entries(folder) if not files.is_hidden(PurePosixPath(one.name))]
    folders = [one for one in entries if one.folder]
    listed = [one for one in entries if not one.folder and files.is_named(PurePosixPath(one.name))]
    if any(files.is_partition(one.name) for one in folders) or (
        listed and all(one.name.startswith("part-") for one in listed)
    ):
        return {PurePosixPath(folder).name or "files": _below(held, folder, folder)}
    stems = [files.stem(PurePosixPath(one.name)) for one in listed]
    found = {
        (stem if stems.count(stem) == 1 else one.name): [_found(held, one, folder)]
        for one, stem in zip(listed, stems, strict=True)
    }
    for one in folders:
        found.setdefault(one.name, []).extend(_below(held, one.path, one.path))
    return found


def _below(held: Files, folder: str, root: str) -> list[Found]:
    listed = [_found(held, one, root) for one in sorted(held.place.walk(folder), key=lambda e: e.path)]
    return [one for one in listed if files.is_named(PurePosixPath(one.label)) and not _hidden(one)]


def _found(held: Files, entry: Entry, root: str) -> Found:
    label = entry.path[len(root) :].lstrip("/") if root else entry.path
    if _UNREAD.search(entry.path):
        shown = held.place.shown(_UNREAD.sub("\N{REPLACEMENT CHARACTER}", entry.path))
        raise ReadError(
            f"the name of {shown} is in another encoding", path=shown,
            hint="set name_encoding to the server's, for example gb18030",
        )  # fmt: skip
    return files.data_file(held.file(entry.path, entry), PurePosixPath(label))


def _hidden(one: Found) -> bool:
    return files.is_hidden(PurePosixPath(one.label))
