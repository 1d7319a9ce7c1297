"""The process that mounts the disk that forgets, in a namespace of its own, and does what its parent asks on stdin.

A request and its answer are one line of JSON each; the first line it says is `mounted`, or why it could not.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import sys
from typing import Any

from tongqu.testing.forgetting.disk import Disk, Marked, Named, Step, Synced
from tongqu.testing.forgetting.kernel import LONGEST, Files

_NO_SUID, _NO_DEVICES, _DETACH = 2, 4, 2


class Recording:
    """What happened from a state on, and the disk at the last moment that was asked for."""

    def __init__(self, begin: Disk, steps: list[Step]):
        self._begin = begin
        self.steps = steps
        self._at = 0
        self._disk = begin.left("everything")

    def disk(self, at: int) -> Disk:
        """The disk after so many steps."""
        if at < self._at:
            self._at, self._disk = 0, self._begin.left("everything")
        for step in self.steps[self._at : at]:
            self._disk.take(step)
        self._at = at
        return self._disk

    def told(self) -> dict[str, Any]:
        """Its marks, and the moments before which something was made safe or a name changed."""
        marks = [(at, step.label) for at, step in enumerate(self.steps) if isinstance(step, Marked)]
        turns = [at for at, step in enumerate(self.steps) if isinstance(step, Synced | Named)]
        return {"length": len(self.steps), "marks": marks, "turns": turns}


class Holder:
    """The mount, what it records now, and earlier recordings by number."""

    def __init__(self, mounted: str):
        self._mounted = mounted
        self._system = ctypes.CDLL(None, use_errno=True)
        self._recordings: list[Recording] = []
        self._buffer = bytearray(LONGEST + 8192)
        self._fuse = -1
        self._mount(Disk())

    def serve(self) -> None:
        """Until the parent closes stdin."""
        while True:
            ready, _, _ = select.select([self._fuse, 0], [], [])
            if self._fuse in ready:
                self._answer()
            elif 0 in ready:
                line = sys.stdin.buffer.readline()
                if not line:
                    return
                say(json.dumps(self._do(json.loads(line))))

    def _answer(self) -> None:
        length = os.readv(self._fuse, [self._buffer])
        answer = self._files.answer(bytes(memoryview(self._buffer)[:length]))
        if answer is not None:
            try:
                os.write(self._fuse, answer)
            except FileNotFoundError:  # the caller was killed meanwhile
                return

    def _do(self, asked: dict[str, Any]) -> dict[str, Any]:
        match asked["do"]:
            case "keep":
                kept = Recording(self._begin, self._files.log)
                self._recordings.append(kept)
                self._mount(self._files.disk.left("everything"))
                return {"number": len(self._recordings) - 1, **kept.told()}
            case "lose":
                self._mount(self._left(asked))
            case "fail":
                self._files.failing = asked["at"]
            case "empty":
                self._recordings.clear()
                self._mount(Disk())
            case other:
                raise ValueError(other)
        return {}

    def _left(self, asked: dict[str, Any]) -> Disk:
        number = asked["number"]
        disk = self._files.disk if number is None else self._recordings[number].disk(asked["at"])
        return disk.left(asked["how"], asked["seed"])

    def _mount(self, disk: Disk) -> None:
        """Show this disk instead of the one before, of which the kernel forgets everything."""
        if self._fuse >= 0:
            os.close(self._fuse)  # ends the connection: nothing that the kernel still holds is written back
            self._call(self._system.umount2(self._mounted.encode(), _DETACH))
        self._begin, self._files = disk.left("everything"), Files(disk, [])
        self._fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fuse},rootmode=40000,user_id=0,group_id=0,default_permissions".encode()
        flags = _NO_SUID | _NO_DEVICES
        self._call(self._system.mount(b"forgetting", self._mounted.encode(), b"fuse", flags, options))

    def _call(self, failed: int) -> None:
        if failed:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def say(text: str) -> None:
    """One line to the parent."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """0: the parent has closed stdin."""
    try:
        holder = Holder(sys.argv[1])
    except OSError as error:
        say(f"{error.strerror} ({error.filename or 'mount of type fuse'})")
        return 1
    say("mounted")
    holder.serve()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
