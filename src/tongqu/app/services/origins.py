"""Where `serve` takes its configuration from: the applied version, or the files as they are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tongqu.app.project.load import Project, checked, find_files, load
from tongqu.app.project.places import Places
from tongqu.core.errors import NotFoundError, TongquError
from tongqu.store.scrub import HIDDEN
from tongqu.store.versions import Versions, shown

if TYPE_CHECKING:
    from tongqu.store.home import Home
    from tongqu.store.scrub import Scrubber


class Origin(Protocol):
    """A source of configuration that can change while it is served."""

    def stamp(self) -> Hashable:
        """Another value whenever the configuration is another; cheap enough for twice a second."""
        ...

    def load(self) -> tuple[Project, str]:
        """The project and the name of its version; raises ProblemsError and other TongquErrors."""
        ...


class Files:
    """The project's files as they are, for development."""

    def __init__(self, folder: Path, env: str):
        self._folder = folder
        self._env = env

    def stamp(self) -> Hashable:
        """Names, times and sizes of the files."""
        try:
            found = [*find_files(self._folder), *self._folder.glob("tongqu.*.yaml")]
            return tuple((path.name, told.st_mtime_ns, told.st_size) for path in found for told in (path.stat(),))
        except (OSError, TongquError):
            return ()

    def load(self) -> tuple[Project, str]:
        """The files, checked."""
        return load(self._folder, self._env), "files"


class Applied:
    """The version that counts in an environment. Passwords that stood in the files are not in it: they are taken from
    the files where those still say the same."""

    def __init__(self, folder: Path, env: str, home: Home, scrubber: Scrubber):
        self._folder = folder
        self._env = env
        self._home = home
        self._scrubber = scrubber

    def stamp(self) -> Hashable:
        """The number of the version that counts."""
        store = self._opened()
        try:
            head = store.head(self._env)
            return head.version if head else 0
        finally:
            store.close()

    def load(self) -> tuple[Project, str]:
        """The version that counts; raises NotFoundError before the first."""
        store = self._opened()
        try:
            head = store.head(self._env)
        finally:
            store.close()
        if head is None:
            raise NotFoundError(
                f"nothing was applied to {shown(self._env)} yet, so there is nothing to serve",
                hint="tongqu apply makes the first version; `tongqu serve --files` serves the files as they are",
            )
        files = find_files(self._folder)
        project = checked(self._folder, files, head.shared, head.overlay, Places(folder=self._folder.absolute()))
        connections = self.whole(project.connections)
        return replace(project, connections=connections), str(head.version)

    def _opened(self) -> Versions:
        return Versions.open(self._home)

    def whole(self, connections: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """Connections with their hidden parts as the files have them now; these are slow to read, and are not read
        where nothing is hidden."""
        if not _hides(connections):
            return dict(connections)
        try:
            now: Mapping[str, Any] = load(self._folder, self._env).connections
        except TongquError:
            now = {}
        return {name: self._restored(values, now.get(name)) for name, values in connections.items()}

    def _restored(self, stored: Any, now: Any) -> Any:
        """The stored value with the hidden parts as they are now, where hiding those gives the same again."""
        if isinstance(stored, Mapping):
            return {
                key: self._restored(value, now.get(key) if isinstance(now, Mapping) else None)
                for key, value in stored.items()
            }
        if isinstance(stored, list):
            others = now if isinstance(now, list) and len(now) == len(stored) else [None] * len(stored)
            return [self._restored(value, other) for value, other in zip(stored, others, strict=True)]
        if isinstance(stored, str) and isinstance(now, str) and self._scrubber.text(now) == stored:
            return now
        return stored


def _hides(stored: Any) -> bool:
    """Whether a value, or any in it, was written down with a part hidden."""
    if isinstance(stored, Mapping):
        return any(_hides(value) for value in stored.values())
    if isinstance(stored, list):
        return any(_hides(value) for value in stored)
    return isinstance(stored, str) and HIDDEN in stored
