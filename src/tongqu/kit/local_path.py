"""Turns the URL of an embedded database into the path of its file."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from tongqu.core.errors import InvalidSettingsError, NotFoundError, PrivilegeError

FULL_DISK = "the disk is full: free space and run the same command again"
"""The next step when a file cannot grow."""


def local_path(url: str) -> tuple[str, dict[str, str]]:
    """Path and query parameters of `scheme:rel`, `scheme:///abs` or `scheme:////abs`.

    Raises InvalidSettingsError for two slashes (which would name a host) and for an empty path.
    """
    scheme, _, rest = url.partition(":")
    place, _, query = rest.partition("?")
    slashes = len(place) - len(place.lstrip("/"))
    if slashes == 2:
        raise InvalidSettingsError(
            f"{scheme}://{place[2:]} names a host, and a {scheme} database is a file",
            path="url",
            hint=f"write {scheme}:{place[2:]} for a relative path, {scheme}:///{place[2:]} for an absolute one",
        )
    path = unquote("/" + place.lstrip("/") if slashes else place)
    if not path.strip("/"):
        raise InvalidSettingsError(f"{scheme}: names no file", path="url", hint=f"write {scheme}:data.db")
    return path, dict(parse_qsl(query, keep_blank_values=True))


def absolute(path: str) -> str:
    """The path as seen from the current directory, links and `..` resolved: one file has one such text."""
    return str(Path(path).expanduser().resolve())


def sink_folder(path: str) -> Path:
    """The folder a file is to be created in; NotFoundError if it is missing, PrivilegeError if it is not ours."""
    folder = Path(absolute(path)).parent
    if not folder.is_dir():
        raise NotFoundError(f"there is no folder {folder}", hint="create it, or correct the path")
    if not Path(absolute(path)).exists() and not os.access(folder, os.W_OK | os.X_OK):
        raise PrivilegeError(f"no file can be created in {folder}", hint="check the rights on the folder")
    return folder
