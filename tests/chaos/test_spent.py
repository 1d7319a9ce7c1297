"""`serve` on a machine that has run out of something: every part says so once, and goes on by itself when there is some
again; nothing is lost."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tongqu.testing.command_line import environment, make, query
from tongqu.testing.services import ServiceMissingError, SmallDisk

PROJECT = """
project: plant
connections: {erp: {type: sqlite, path: erp.db}, lake: {type: sqlite, path: lake.db}}
pipelines: {lots: {source: {connection: erp, dataset: lots}, sink: {connection: lake}, schedule: {every: 1s}}}
apis:
  lots:
    source: {connection: erp, dataset: lots}
    write: {insert: true, ingest: true}
    live: {cursor: id}
    access: {roles: [quality]}
    webhooks: {mes: {url: "http://127.0.0.1:9/in", as: mes, secret: "${env:HOOK}"}}
"""
_SECONDS = 90.0
HOOK = "whsec_" + "a" * 44
ALL = ("rows that were taken in cannot be written", "webhooks cannot be delivered", "cursors cannot be followed")


def eventually(true: Callable[[], bool], about: Callable[[], str]) -> None:
    until = time.monotonic() + _SECONDS
    while not true():
        assert time.monotonic() < until, about()
        time.sleep(0.1)  # a look at another process


def lots(folder: Path, table: str = "lake.db") -> int:
    try:
        return int(query(folder / table, "SELECT count(*) FROM lots")[0][0])
    except sqlite3.OperationalError:
        return 0


def put(folder: Path, id: int) -> None:
    with closing(sqlite3.connect(folder / "erp.db")) as erp, erp:
        erp.execute("INSERT INTO lots VALUES (?)", (id,))


@contextmanager
def serving(folder: Path, home: Path, before: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """`serve` and what it has said; at the end it stops in order, and has left no trace."""
    said = folder / "said"
    command = [
        *before,
        sys.executable,
        "-m",
        "tongqu",
        "serve",
        "--port",
        "0",
        "--project",
        str(folder),
        "--lang",
        "en",
    ]
    told = {**environment(folder, HOOK=HOOK), "TONGQU_HOME": str(home)}
    with said.open("wb") as err, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err, env=told) as process:
        try:
            yield process, lambda: said.read_text(encoding="utf-8")
            process.send_signal(signal.SIGTERM)
            assert process.wait(_SECONDS) == 0, said.read_text(encoding="utf-8")
        finally:
            process.kill()


def made(folder: Path, home: Path, before: list[str]) -> None:
    make(folder / "erp.db", "lots", "id INTEGER PRIMARY KEY", [(1,)])
    (folder / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    told = {**environment(folder, HOOK=HOOK), "TONGQU_HOME": str(home)}
    for words in (("client", "add", "mes", "--role", "quality"), ("apply",)):
        command = [*before, sys.executable, "-m", "tongqu", *words, "--project", str(folder)]
        subprocess.run(command, check=True, capture_output=True, env=told, timeout=_SECONDS)


@dataclass(frozen=True)
class Want:
    """What there is none of for a while: how it is spent and given back, and what parts of the server say of it."""

    spend: Callable[[], object]
    give: Callable[[], object]
    parts: tuple[str, ...]
    word: str


def held_up(folder: Path, said: Callable[[], str], want: Want) -> None:
    """Spend it, change something meanwhile, give it back: all parts told it once, and the change arrives."""
    eventually(lambda: lots(folder) == 1, said)
    want.spend()
    eventually(lambda: all(f"{part} at the moment: {want.word}" in said() for part in want.parts), said)
    eventually(lambda: "jobs cannot be looked after at the moment" in said(), said)
    put(folder, 2)
    want.give()
    eventually(lambda: lots(folder) == 2, said)
    eventually(lambda: "jobs are looked after again" in said(), said)
    eventually(lambda: all(f"{part} at the moment: over after" in said() for part in want.parts), said)
    assert "Traceback" not in said()
    for part in want.parts:
        assert said().count(f"{part} at the moment: {want.word}") == 1, said()


def test_a_full_disk(tmp_path: Path) -> None:
    try:
        disk = SmallDisk(64)
    except ServiceMissingError as error:
        if os.environ.get("CI") == "true" or os.environ.get("TONGQU_REQUIRE_SERVICES") == "1":
            pytest.fail(f"{error}; {error.hint}", pytrace=False)
        pytest.skip(f"{error}; {error.hint}")
    with disk:
        made(tmp_path, disk.mounted / "home", disk.inside())
        with serving(tmp_path, disk.mounted / "home", disk.inside()) as (process, said):
            rest = disk.mounted / "rest"

            def fill() -> None:
                disk.fill(1)
                subprocess.run(
                    disk.inside("dd", "if=/dev/zero", f"of={rest}", "bs=4096"), check=False, capture_output=True
                )

            def free() -> None:
                disk.make_room()
                subprocess.run(disk.inside("rm", rest), check=True)

            held_up(tmp_path, said, Want(fill, free, ALL, "the disk is full"))
            assert process.poll() is None


def test_no_more_open_files(tmp_path: Path) -> None:
    made(tmp_path, tmp_path / "home", [])
    with serving(tmp_path, tmp_path / "home", []) as (process, said):
        limit = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)

        few = partial(resource.prlimit, process.pid, resource.RLIMIT_NOFILE, (8, limit[1]))
        enough = partial(resource.prlimit, process.pid, resource.RLIMIT_NOFILE, limit)
        held_up(tmp_path, said, Want(few, enough, (), ""))  # most parts have their files open already
        assert process.poll() is None
