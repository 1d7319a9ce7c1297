"""Answers the kernel's FUSE requests (protocol 7.31, linux/fuse.h) out of the model, and records what changes it.

One request after the other, in one thread. The kernel keeps what it has read until the mount ends, and writes through:
what a program has written or mapped and synced is here before the program goes on.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
from collections.abc import Callable

from tongqu.testing.forgetting.disk import (
    ROOT,
    Attributed,
    Disk,
    Failed,
    Made,
    Marked,
    Named,
    Sized,
    Step,
    Synced,
    Wrote,
)

MARK = "user.tongqu.mark"
"""Setting this attribute of any file records a mark."""
LONGEST = 1 << 20
"""The most bytes of one write."""
_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_AWHILE = 3600
_FOREVER = 1 << 32
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_KEEP_CACHE = 1 << 1
_SET_MODE, _SET_SIZE, _SET_MTIME, _SET_MTIME_NOW = 1 << 0, 1 << 3, 1 << 5, 1 << 8
_NO_REPLACE, _EXCHANGE = 1, 2

Answer = bytes | int | None
"""Bytes, an errno, or None where the kernel wants no answer."""


class Files:
    """The disk as the kernel sees it; `log` is what happened to it so far."""

    def __init__(self, disk: Disk, log: list[Step]):
        self.disk = disk
        self.log = log
        self._next = max(disk.nodes) + 1
        self._listings: dict[int, list[tuple[str, int]]] = {}
        self._handle = 0
        self.failing = 0
        """The so-manieth sync of a file from now on fails; 0: none does."""
        self._handlers: dict[int, Callable[[int, memoryview], Answer]] = {
            1: self._lookup, 2: _nothing, 3: self._attributes, 4: self._set, 5: self._read_link, 6: self._symlink,
            8: self._make_node, 9: self._make_folder, 10: self._unlink, 11: self._remove_folder, 12: self._rename_old,
            13: self._link, 14: self._open, 15: self._read, 16: self._write, 17: self._statistics, 18: _done,
            20: self._sync, 21: self._set_extra, 25: _done, 26: self._begin, 27: self._open_folder, 28: self._list,
            29: self._close_folder, 30: self._sync, 35: self._create, 36: _nothing, 42: _nothing, 45: self._rename,
        }  # fmt: skip

    def answer(self, request: bytes) -> bytes | None:
        """The answer to a request, as it goes back to the kernel."""
        _, operation, unique, node, *_ = _IN.unpack_from(request)
        handler = self._handlers.get(operation)
        answer = errno.ENOSYS if handler is None else handler(node, memoryview(request)[_IN.size :])
        if answer is None:
            return None
        body, failure = (b"", answer) if isinstance(answer, int) else (answer, 0)
        return _OUT.pack(_OUT.size + len(body), -failure, unique) + body

    def _happen(self, *steps: Step) -> None:
        for step in steps:
            self.log.append(step)
            self.disk.take(step)

    def _begin(self, _: int, body: memoryview) -> Answer:
        _, _, ahead, flags = struct.unpack_from("<4I", body)
        wanted = flags & (_BIG_WRITES | _MAX_PAGES)
        return struct.pack("<4I2H2I2HI28x", 7, 31, ahead, wanted, 64, 48, LONGEST, 1, LONGEST // 4096, 0, 0)

    def _shown(self, number: int) -> bytes:
        node = self.disk.nodes[number]
        size = 4096 if node.is_folder else len(node.target.encode()) or len(node.content)
        seconds, nanos = divmod(node.modified, 10**9)
        links = node.links + node.is_folder
        return _ATTRIBUTES.pack(
            number, size, (size + 511) // 512, seconds, seconds, seconds, nanos, nanos, nanos, node.mode, links,
            0, 0, node.device, 4096, 0,
        )  # fmt: skip

    def _entry(self, number: int) -> bytes:
        return struct.pack("<4Q2I", number, 0, _AWHILE, _AWHILE, 0, 0) + self._shown(number)

    def _lookup(self, folder: int, body: memoryview) -> Answer:
        number = self.disk.nodes[folder].names.get(_text(body))
        return errno.ENOENT if number is None else self._entry(number)

    def _attributes(self, number: int, _: memoryview) -> Answer:
        return struct.pack("<QII", _AWHILE, 0, 0) + self._shown(number)

    def _set(self, number: int, body: memoryview) -> Answer:
        valid, _, _, size, _, _, seconds, _, _, nanos, _, mode = struct.unpack_from("<IIQQQQQQIIII", body)
        if valid & _SET_SIZE:
            self._happen(Sized(number, size), Attributed(number, modified=time.time_ns()))
        if valid & _SET_MODE:
            self._happen(Attributed(number, mode=mode))
        if valid & (_SET_MTIME | _SET_MTIME_NOW):
            at = time.time_ns() if valid & _SET_MTIME_NOW else seconds * 10**9 + nanos
            self._happen(Attributed(number, modified=at))
        return self._attributes(number, body)

    def _read_link(self, number: int, _: memoryview) -> Answer:
        return self.disk.nodes[number].target.encode()

    def _made(self, folder: int, name: str, mode: int, device: int = 0, target: str = "") -> int | bytes:
        if name in self.disk.nodes[folder].names:
            return errno.EEXIST
        number, self._next = self._next, self._next + 1
        now = time.time_ns()
        self._happen(
            Made(number, mode, device, target),
            Attributed(number, modified=now),
            Named(((folder, name, number),)),
            Attributed(folder, modified=now),
        )
        return self._entry(number)

    def _symlink(self, folder: int, body: memoryview) -> Answer:
        name, target = bytes(body).split(b"\0")[:2]
        return self._made(folder, os.fsdecode(name), stat.S_IFLNK | 0o777, target=os.fsdecode(target))

    def _make_node(self, folder: int, body: memoryview) -> Answer:
        mode, device, umask, _ = struct.unpack_from("<4I", body)
        return self._made(folder, _text(body[16:]), mode & ~umask, device)

    def _make_folder(self, folder: int, body: memoryview) -> Answer:
        mode, umask = struct.unpack_from("<2I", body)
        return self._made(folder, _text(body[8:]), stat.S_IFDIR | (mode & ~umask))

    def _create(self, folder: int, body: memoryview) -> Answer:
        _, mode, umask, _ = struct.unpack_from("<4I", body)
        made = self._made(folder, _text(body[16:]), stat.S_IFREG | (mode & ~umask & 0o7777))
        return made if isinstance(made, int) else made + _opened()

    def _unlink(self, folder: int, body: memoryview) -> Answer:
        name = _text(body)
        if name not in self.disk.nodes[folder].names:
            return errno.ENOENT
        self._happen(Named(((folder, name, None),)), Attributed(folder, modified=time.time_ns()))
        return b""

    def _remove_folder(self, folder: int, body: memoryview) -> Answer:
        number = self.disk.nodes[folder].names.get(_text(body))
        if number is not None and self.disk.nodes[number].names:
            return errno.ENOTEMPTY
        return self._unlink(folder, body)

    def _rename_old(self, folder: int, body: memoryview) -> Answer:
        (to,) = struct.unpack_from("<Q", body)
        return self._renamed(folder, to, 0, body[8:])

    def _rename(self, folder: int, body: memoryview) -> Answer:
        to, flags = struct.unpack_from("<QI", body)
        return self._renamed(folder, to, flags, body[16:])

    def _renamed(self, folder: int, to: int, flags: int, body: memoryview) -> Answer:
        old, new = (os.fsdecode(name) for name in bytes(body).split(b"\0")[:2])
        nodes = self.disk.nodes
        moved, there = nodes[folder].names.get(old), nodes[to].names.get(new)
        if moved is None or (flags & _EXCHANGE and there is None):
            return errno.ENOENT
        if flags & ~(_NO_REPLACE | _EXCHANGE):
            return errno.EINVAL
        if flags & _EXCHANGE:
            self._happen(Named(((folder, old, there), (to, new, moved))))
            return b""
        if there is not None and flags & _NO_REPLACE:
            return errno.EEXIST
        if there is not None and nodes[there].names:
            return errno.ENOTEMPTY
        if there != moved:
            self._happen(Named(((folder, old, None), (to, new, moved))))
        return b""

    def _link(self, folder: int, body: memoryview) -> Answer:
        (number,) = struct.unpack_from("<Q", body)
        name = _text(body[8:])
        if name in self.disk.nodes[folder].names:
            return errno.EEXIST
        self._happen(Named(((folder, name, number),)))
        return self._entry(number)

    def _open(self, number: int, _: memoryview) -> Answer:
        return _opened()

    def _read(self, number: int, body: memoryview) -> Answer:
        _, at, size = struct.unpack_from("<QQI", body)
        return bytes(self.disk.nodes[number].content[at : at + size])

    def _write(self, number: int, body: memoryview) -> Answer:
        _, at, size = struct.unpack_from("<QQI", body)
        self._happen(Wrote(number, at, bytes(body[40 : 40 + size])), Attributed(number, modified=time.time_ns()))
        return struct.pack("<II", size, 0)

    def _statistics(self, _: int, __: memoryview) -> Answer:
        return struct.pack("<5Q4I24x", _FOREVER, _FOREVER, _FOREVER, _FOREVER, _FOREVER, 4096, 255, 4096, 0)

    def _sync(self, number: int, _: memoryview) -> Answer:
        self.failing -= not self.disk.nodes[number].is_folder
        if self.failing == 0 and not self.disk.nodes[number].is_folder:
            self._happen(Failed(number))
            return errno.EIO
        self._happen(Synced(number))
        return b""

    def _set_extra(self, _: int, body: memoryview) -> Answer:
        (size,) = struct.unpack_from("<I", body)
        name = _text(body[8:])
        if name != MARK:
            return errno.ENOTSUP
        begin = 8 + len(name.encode()) + 1
        self._happen(Marked(bytes(body[begin : begin + size]).decode()))
        return b""

    def _open_folder(self, _: int, __: memoryview) -> Answer:
        self._handle += 1
        return _opened(self._handle)

    def _close_folder(self, _: int, body: memoryview) -> Answer:
        self._listings.pop(struct.unpack_from("<Q", body)[0], None)
        return b""

    def _list(self, number: int, body: memoryview) -> Answer:
        handle, offset, size = struct.unpack_from("<QQI", body)
        if offset == 0 or handle not in self._listings:  # names that change meanwhile must not shift the others
            self._listings[handle] = [(".", number), ("..", ROOT), *self.disk.nodes[number].names.items()]
        out = b""
        for place, (name, found) in enumerate(self._listings[handle][offset:], start=offset + 1):
            text = os.fsencode(name)
            kind = stat.S_IFMT(self.disk.nodes[found].mode) >> 12
            entry = struct.pack("<QQII", found, place, len(text), kind) + text
            entry += bytes(-len(entry) % 8)
            if len(out) + len(entry) > size:
                break
            out += entry
        return out


def _opened(handle: int = 0) -> bytes:
    return struct.pack("<QIi", handle, _KEEP_CACHE, 0)


def _text(body: memoryview) -> str:
    return os.fsdecode(bytes(body).split(b"\0", 1)[0])


def _done(_: int, __: memoryview) -> Answer:
    return b""


def _nothing(_: int, __: memoryview) -> Answer:
    return None
