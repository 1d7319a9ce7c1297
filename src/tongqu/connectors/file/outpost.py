"""Targets elsewhere: what a run has put together on this machine becomes what readers of the place see.

The ledger, the parts and the new content are in the connector's folder at home, so a crash anywhere is gone on after
by the next run. A note beside the target (`.NAME.tongqu.json`) says whose run writes it: another home's run takes it
over, and who has lost it stops before it changes anything visible.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tongqu.connectors.file.assembly import MANIFEST
from tongqu.connectors.file.target import Target
from tongqu.core.errors import BusyError, ConnectError, FencedError, NotFoundError
from tongqu.kit.faults import crash_point
from tongqu.kit.places.place import TEMPORARY, Entry, Place, beside, joined, parent

Store = Callable[[dict[str, Any]], None]
"""Stores the stream's document."""


@dataclass(frozen=True)
class Outpost:
    """One target at a place; `target.path` is its image on this machine."""

    place: Place
    target: Target
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def path(self) -> str:
        """Where the target is at the place."""
        return self.target.remote

    @property
    def previous(self) -> str:
        """The content before the last replace."""
        return beside(self.path, f".{self._name}.previous")

    @property
    def _name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def _note(self) -> str:
        return beside(self.path, f".{self._name}.tongqu.json")

    # ---- beginning

    def take(self, run: str) -> None:
        """Write the note that this run writes the target; its folder is made if it is missing. What others have sent
        of it and not completed is removed: it is of a run that died, or that has lost the target now."""
        self.place.make_folder(parent(self.path))
        if self.place.renames_folders:  # elsewhere nothing has a temporary name
            for one in self.place.entries(parent(self.path)):
                if one.name.startswith(f".{self._name}.") and one.name.endswith(TEMPORARY):
                    self.place.delete(one.path)
        with tempfile.NamedTemporaryFile(prefix="tongqu-note-") as file:
            file.write(json.dumps({"token": self.token, "run": run}).encode())
            file.flush()
            self.place.put(self._note, Path(file.name))

    def hold(self, stream: str) -> None:
        """Raises FencedError unless the note is still ours."""
        if not self._holds():
            raise FencedError(
                f"another process has taken over {self.place.shown(self.path)}; nothing visible was changed",
                hint="let the other process finish, or stop it and run this sync again",
                params={"stream": stream},
            )

    def _holds(self) -> bool:
        if self.place.there(self._note) is None:
            return False
        return self.token.encode() in b"".join(self.place.read(self._note))

    def leave(self) -> None:
        """Remove the note, unless it is another run's by now."""
        if self._holds():
            self.place.delete(self._note)

    def fetch(self) -> dict[str, Any] | None:
        """Bring what is there to this machine, to be gone on after; its identity, None if nothing is there. Raises
        ConnectError if not all of it arrived."""
        there = self.place.there(self.path)
        self.target.path.parent.mkdir(parents=True, exist_ok=True)
        self.target.path.unlink(missing_ok=True)
        if there is None:
            return None
        with self.target.path.open("wb") as file:
            for block in self.place.read(self.path):
                file.write(block)
            size = file.tell()
        if there.size not in (size, -1):
            shown = self.place.shown(self.path)
            raise ConnectError(f"{shown}: {size} bytes arrived of {there.size}", path=shown)
        return dict(there.identity)

    # ---- becoming visible

    def publish(self, document: dict[str, Any], store: Store, append: bool, stream: str) -> None:
        """Put the image in the target's place. What is noted in the document makes a repetition after a crash end the
        same way. Raises BusyError if somebody else has changed a target that is appended to, FencedError if another
        run has taken it over."""
        self.hold(stream)
        if self.target.partition:
            self._publish_folder(document, store, append)
        else:
            self._publish_file(document, store, append, stream)

    def _publish_file(self, document: dict[str, Any], store: Store, append: bool, stream: str) -> None:
        there = self.place.there(self.path)
        size = self.target.path.stat().st_size
        pushed: dict[str, Any] = document.get("pushed") or {}
        if append and not _is(there, document.get("base")) and not (pushed and there and there.size == size):
            raise BusyError(
                f"{self.place.shown(self.path)} was changed by somebody else while this run went on",
                hint="this run had begun to send: see whether its rows are there already before you run with --restart"
                if pushed
                else "run again with --restart: it goes on after what is there now",
            )
        if not pushed:
            if there is not None and not append:
                self.place.copy(self.path, self.previous)
            document["pushed"] = {"size": size}
            store(document)
        crash_point("in_finish")
        try:
            self.place.put(self.path, self.target.path)
        except NotFoundError:
            self.hold(stream)  # who has taken the target over has removed what was sent of it
            raise

    def _publish_folder(self, document: dict[str, Any], store: Store, append: bool) -> None:
        image = self.target.path
        listed: list[str] = json.loads((image / MANIFEST).read_bytes())["files"]
        if append or not self.place.renames_folders:
            self._upload(self.path, listed)
            if not append:
                self._remove_others({*listed, MANIFEST})
            return
        new = beside(self.path, f".{self._name}.tongqu-new")
        if not document.get("pushed"):
            self.place.delete_tree(new)
            self._upload(new, listed)
            self.place.delete_tree(self.previous)
            document["pushed"] = {"files": len(listed)}
            store(document)
        crash_point("in_finish")
        if self.place.there(new) is None:
            return  # cut off after the last of the two names was given
        if self.place.there(self.path) is not None:
            self.place.rename(self.path, self.previous)
        self.place.rename(new, self.path)

    def _upload(self, folder: str, listed: list[str]) -> None:
        made: set[str] = set()
        for name in [*listed, MANIFEST]:
            path = joined(folder, name)
            if parent(path) not in made:
                self.place.make_folder(parent(path))
                made.add(parent(path))
            self.place.put(path, self.target.path / name)

    def _remove_others(self, kept: set[str]) -> None:
        for entry in list(self.place.walk(self.path)):
            if entry.path[len(self.path) :].lstrip("/") not in kept:
                self.place.delete(entry.path)

    # ---- undo

    def is_kept(self) -> bool:
        """Whether there is content from before the last replace."""
        return self.place.there(self.previous) is not None or self.place.there(self._aside) is not None

    def put_back(self) -> None:
        """Exchange the content with the kept one. A file's name always shows one or the other; a folder's is missing
        for a moment. An undo that was cut off is completed by the next."""
        place, folder = self.place, bool(self.target.partition)
        if place.there(self._aside) is not None:
            if place.there(self.previous) is None:
                place.rename(self._aside, self.previous)
                return
            if place.there(self.path) is None:
                place.rename(self.previous, self.path)
                place.rename(self._aside, self.previous)
                return
            place.delete(self._aside)
        if folder:
            if place.there(self.path) is not None:
                place.rename(self.path, self._aside)
        elif place.there(self.path) is not None:
            place.copy(self.path, self._aside)
        place.rename(self.previous, self.path)
        crash_point("in_undo")
        if place.there(self._aside) is not None:
            place.rename(self._aside, self.previous)

    @property
    def _aside(self) -> str:
        return beside(self.path, f".{self._name}.tongqu-undo")


def _is(there: Entry | None, noted: Mapping[str, Any] | None) -> bool:
    return there is None if noted is None else there is not None and dict(there.identity) == dict(noted)
