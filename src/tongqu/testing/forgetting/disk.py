"""The model of a disk with a cache: what is there, what of it is safe, and what may be left when power goes.

After LazyFS (Ramos et al., VLDB 2024) and ALICE (Pillai et al., OSDI 2014): contents are safe when their file was
synced, names when their folder was synced; a rename is never half done. POSIX promises no more.
"""

from __future__ import annotations

import random
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

How = Literal["nothing", "everything", "names", "contents", "shuffled", "torn"]
"""What is left of that which was not synced: nothing of it; all (a kill of processes only); names in their order, but
contents not (a file may then have its size and be zeros); contents, but not names; or, drawn by a seed, names up to
some moment and any writes in any order: each whole (`shuffled`), or any pages of them, whole or cut at a sector."""

HOWS: tuple[How, ...] = ("nothing", "everything", "names", "contents", "shuffled", "torn")
ROOT = 1
PAGE = 4096
SECTOR = 512

Change = tuple[int, str, int | None]
"""(folder, name, node that it names from now on, or None)."""


@dataclass(frozen=True)
class Made:
    """A node came to be; no name leads to it yet."""

    node: int
    mode: int
    device: int = 0
    target: str = ""
    """Where a symbolic link leads to."""


@dataclass(frozen=True)
class Named:
    """Names changed, all in one step."""

    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Wrote:
    """Bytes were written."""

    node: int
    at: int
    data: bytes


@dataclass(frozen=True)
class Sized:
    """A file was cut or prolonged with zeros."""

    node: int
    size: int


@dataclass(frozen=True)
class Synced:
    """A file's content, or a folder's names, were made safe."""

    node: int


@dataclass(frozen=True)
class Failed:
    """A file could not be synced: what was not safe never will be, although it can still be read (as on Linux, where
    pages that could not be written count as clean)."""

    node: int


@dataclass(frozen=True)
class Attributed:
    """Rights or times changed; those are never forgotten here."""

    node: int
    mode: int | None = None
    modified: int | None = None


@dataclass(frozen=True)
class Marked:
    """Somebody was told something from which on it must hold."""

    label: str


Step = Made | Named | Wrote | Sized | Synced | Failed | Attributed | Marked


@dataclass
class Node:
    """A file, folder, link or special file."""

    mode: int
    device: int = 0
    target: str = ""
    modified: int = 0
    content: bytearray = field(default_factory=bytearray)
    safe: bytearray = field(default_factory=bytearray)
    """The content as of the last sync."""
    pending: list[Wrote | Sized] = field(default_factory=list)
    """What happened to the content since."""
    names: dict[str, int] = field(default_factory=dict)
    safe_names: dict[str, int] = field(default_factory=dict)
    links: int = 0

    @property
    def is_folder(self) -> bool:
        """Whether it has names below it."""
        return stat.S_ISDIR(self.mode)


class Disk:
    """Nodes by number, and the names that are not safe yet in the order of their changes."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {ROOT: Node(stat.S_IFDIR | 0o700, links=1)}
        self.unsafe: list[Named] = []

    def take(self, step: Step) -> None:
        """Let it happen."""
        match step:
            case Made():
                self.nodes[step.node] = Node(step.mode, step.device, step.target)
            case Named():
                self.unsafe.append(step)
                for change in step.changes:
                    self._name(change)
            case Wrote() | Sized():
                node = self.nodes[step.node]
                _apply(node.content, step)
                node.pending.append(step)
            case Synced():
                self._sync(step.node)
            case Failed():
                self.nodes[step.node].pending.clear()
            case Attributed():
                node = self.nodes[step.node]
                node.mode = node.mode if step.mode is None else stat.S_IFMT(node.mode) | stat.S_IMODE(step.mode)
                node.modified = node.modified if step.modified is None else step.modified
            case Marked():
                pass

    def left(self, how: How, seed: int = 0) -> Disk:
        """What a loss of power leaves: a new disk, all of it safe."""
        draw = random.Random(seed)  # noqa: S311 - repeatable
        disk = Disk()
        for number, node in self.nodes.items():
            content = _content(node, how, draw)
            made = Node(node.mode, node.device, node.target, node.modified, content, bytearray(content))
            made.safe_names = dict(node.safe_names)
            disk.nodes[number] = made
        drawn = draw.randint(0, len(self.unsafe))
        cut = {"nothing": 0, "contents": 0, "shuffled": drawn, "torn": drawn}.get(how, len(self.unsafe))
        for named in self.unsafe[:cut]:
            for folder, name, to in named.changes:
                _rename(disk.nodes[folder].safe_names, name, to)
        for node in disk.nodes.values():
            node.names = dict(node.safe_names)
            for number in node.names.values():
                disk.nodes[number].links += 1
        disk.nodes[ROOT].links = 1
        return disk

    def _name(self, change: Change) -> None:
        folder, name, number = change
        names = self.nodes[folder].names
        before = names.get(name)
        if before is not None:
            self.nodes[before].links -= 1
        _rename(names, name, number)
        if number is not None:
            self.nodes[number].links += 1

    def _sync(self, number: int) -> None:
        node = self.nodes[number]
        for step in node.pending:
            _apply(node.safe, step)
        node.pending.clear()
        if not node.is_folder:
            return
        waiting: list[Named] = []
        for named in self.unsafe:
            if any(folder == number for folder, _, _ in named.changes):
                for folder, name, to in named.changes:
                    _rename(self.nodes[folder].safe_names, name, to)
            else:
                waiting.append(named)
        self.unsafe = waiting


def _rename(names: dict[str, int], name: str, number: int | None) -> None:
    names.pop(name, None)
    if number is not None:
        names[name] = number


def _write(content: bytearray, at: int, data: bytes) -> None:
    if at > len(content):
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _apply(content: bytearray, step: Wrote | Sized) -> None:
    if isinstance(step, Wrote):
        _write(content, step.at, step.data)
    else:
        _resize(content, step.size)


def _content(node: Node, how: How, draw: random.Random) -> bytearray:
    """What is left of a file's content."""
    if how in ("everything", "contents"):
        return bytearray(node.content)
    left = bytearray(node.safe)
    if how == "names" and draw.random() < 0.5 and len(node.content) > len(left):
        _resize(left, len(node.content))
    for step in node.pending if how in ("shuffled", "torn") else ():
        if how == "torn" and isinstance(step, Wrote):
            for at, data in _pages(step, draw):
                _write(left, at, data)
        elif draw.random() < 0.5:
            _apply(left, step)
    return left


def _pages(step: Wrote, draw: random.Random) -> Sequence[tuple[int, bytes]]:
    """The pages of a write that reached the disk; of some only the first sectors."""
    kept: list[tuple[int, bytes]] = []
    begin = 0
    while begin < len(step.data):
        end = min(len(step.data), begin + PAGE - (step.at + begin) % PAGE)
        fate = draw.random()
        if fate < 0.1:
            kept.append((step.at + begin, step.data[begin : min(end, begin + SECTOR * draw.randint(1, 7))]))
        elif fate < 0.55:
            kept.append((step.at + begin, step.data[begin:end]))
        begin = end
    return kept
