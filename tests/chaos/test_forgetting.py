"""Power is lost at many moments of whatever we do, and the disk forgets what was not synced: nothing that was told is
lost, nothing is torn, and the next run goes on. `make chaos` draws new moments."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tongqu.testing.chaos.workbench import Workbench, survivors
from tongqu.testing.forgetting.deeds import DEEDS
from tongqu.testing.forgetting.disk import HOWS, How
from tongqu.testing.forgetting.moves import MOVES
from tongqu.testing.services import ForgettingDisk, ServiceMissingError
from tongqu.testing.services.gateway import Gateway
from tongqu.testing.services.guard import find, kill_tree

SEED = 23
PROJECT = """
project: plant
connections:
  db: {type: sqlite, path: lots.db}
  events: {type: queue, path: events.queue}
apis:
  lots:
    source: {connection: db, dataset: lots}
    access: {public: true, write_roles: [anonymous]}
    write: {insert: true, ingest: true}
    limit: {requests: 1000000, per: second}
hooks:
  code: {verify: token, secret: "${env:CODE}", show: {header: X-Token}, to: {connection: events, topic: pushes}}
gateway: {limits: {address: {requests: 1000000, per: second}}}
"""


def needed(error: ServiceMissingError) -> None:
    """In CI there must be such a disk."""
    if os.environ.get("CI") == "true" or os.environ.get("TONGQU_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{error}; {error.hint}", pytrace=False)
    pytest.skip(f"{error}; {error.hint}")


@pytest.fixture(scope="module")
def bench() -> Iterator[Workbench]:
    try:
        with Workbench() as made:
            yield made
    except ServiceMissingError as error:
        needed(error)


@pytest.fixture
def disk() -> Iterator[ForgettingDisk]:
    try:
        with ForgettingDisk() as made:
            yield made
    except ServiceMissingError as error:
        needed(error)


# ---- the disk itself


def inside(disk: ForgettingDisk, code: str) -> str:
    """What a program prints that runs where the disk is."""
    command = disk.inside(sys.executable, "-c", f"import os, json, sqlite3\nos.chdir({str(disk.mounted)!r})\n{code}")
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


WRITES = """
def put(name, text, *synced):
    with open(name, "w") as file:
        file.write(text)
        file.flush()
        if "file" in synced:
            os.fsync(file.fileno())
    if "folder" in synced:
        folder = os.open(".", os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

put("both", "1", "file", "folder")
put("name", "2", "folder")
put("content", "3", "file")
os.rename("both", "renamed")
"""


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ("nothing", {"both": "1", "name": ""}),
        ("everything", {"renamed": "1", "name": "2", "content": "3"}),
        ("contents", {"both": "1", "name": "2"}),
    ],
)
def test_what_was_synced_is_left_and_no_more(disk: ForgettingDisk, how: How, left: dict[str, str]) -> None:
    inside(disk, WRITES)
    disk.lose(how)
    assert {path.name: path.read_text() for path in disk.folder.iterdir()} == left


def test_a_moment_can_be_gone_back_to_again_and_again(disk: ForgettingDisk) -> None:
    inside(disk, WRITES)
    disk.mark("told")
    inside(disk, "os.unlink('renamed')")
    recording = disk.record()
    ((moment, _),) = recording.marks
    for _ in range(2):
        assert [recording.told(at) for at in (moment, moment + 1)] == [[], ["told"]]
        recording.go_back(moment + 1, "everything")
        assert (disk.folder / "renamed").read_text() == "1"
        recording.go_back(recording.length, "everything")
        assert not (disk.folder / "renamed").exists()


SQLITE = """
db = sqlite3.connect("a.db", isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute("PRAGMA synchronous = {how}")
db.execute("CREATE TABLE told (n INTEGER)")
for n in range(50):
    db.execute("INSERT INTO told VALUES (?)", (n,))
    os.setxattr(".", "user.tongqu.mark", b"told")
os._exit(0)
"""
COUNTS = """
db = sqlite3.connect("a.db")
there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'told'").fetchone()
print(db.execute("SELECT count(*) FROM told").fetchone()[0] if there else 0)
"""


@pytest.mark.parametrize(("how", "lost"), [("FULL", False), ("NORMAL", True)])
def test_sqlite_keeps_what_it_syncs(disk: ForgettingDisk, how: str, lost: bool) -> None:
    """NORMAL promises no more than that the file is whole: if that lost nothing, this disk would prove nothing."""
    inside(disk, SQLITE.format(how=how))
    recording = disk.record()
    missing = 0
    for number, at in enumerate(recording.moments(20, SEED)):
        told = len(recording.told(at))
        recording.go_back(at, HOWS[number % len(HOWS)], number)
        if told:
            missing += max(0, told - int(inside(disk, COUNTS)))
    assert (missing > 0) is lost


# ---- what we promise


@pytest.mark.parametrize("deed", DEEDS)
def test_what_was_told_is_there_after_power_was_lost(bench: Workbench, deed: str) -> None:
    proof = bench.prove(deed, 40, SEED)
    assert not proof.wrong
    assert proof.told > 0


@pytest.mark.parametrize("deed", MOVES)
def test_the_next_run_goes_on_after_power_was_lost(bench: Workbench, deed: str) -> None:
    proof = bench.prove(deed, 6, SEED, survivors(deed))
    assert not proof.wrong
    assert proof.told > 0


@pytest.mark.parametrize("deed", [*DEEDS, "append-sqlite", "replace-parquet"])
def test_a_sync_that_fails_is_never_told_as_done(bench: Workbench, deed: str) -> None:
    for sync in (1, 2, 3, 5, 8, 13, 21):
        assert not bench.prove_failing(deed, sync).wrong


class Inside(Gateway):
    """`tongqu serve` of a project on the disk."""

    def __init__(self, disk: ForgettingDisk):
        super().__init__(disk.mounted, environ={"CODE": "shared-secret-1"})
        self._command = disk.inside(*self._command)

    def cut(self) -> None:
        """It is gone with all its processes, as when power goes."""
        root = find(self.pid)
        assert root is not None
        assert kill_tree(root, 60)
        self.stop(signal.SIGKILL)


def test_what_serve_has_accepted_is_there_after_power_was_lost(disk: ForgettingDisk) -> None:
    (disk.folder / "tongqu.yaml").write_text(PROJECT)
    inside(disk, "sqlite3.connect('lots.db').execute('CREATE TABLE lots (id INTEGER, weight INTEGER)')")
    disk.lose("everything")
    accepted: dict[str, list[int]] = {"/ingest/lots": [], "/hooks/code": []}
    lock = threading.Lock()

    def send(gateway: Gateway, path: str, start: int, enough: threading.Event) -> None:
        for number in range(start, start + 100_000):
            try:
                status = gateway.ask(path, "POST", {"id": number, "weight": 1}, [("x-token", "shared-secret-1")]).status
            except OSError:
                return
            assert status in (200, 202)
            with lock:
                accepted[path].append(number)
                if all(len(numbers) >= 40 * (start // 10_000_000 + 1) for numbers in accepted.values()):
                    enough.set()

    hows: tuple[How, ...] = ("nothing", "torn")
    for number, how in enumerate(hows):
        enough = threading.Event()
        with Inside(disk) as gateway:
            lanes = [
                threading.Thread(target=send, args=(gateway, path, number * 10_000_000 + lane * 1_000_000, enough))
                for lane, path in enumerate([*accepted, *accepted])
            ]
            for lane in lanes:
                lane.start()
            assert enough.wait(120), gateway.errors
            gateway.cut()
            for lane in lanes:
                lane.join()
        disk.lose(how, SEED)
    count = "db.execute('SELECT count(*) FROM sent').fetchone()[0]"
    with Inside(disk) as gateway:
        waiting = f"db = sqlite3.connect('home/intake.db'); print({count})"
        gateway.until(lambda _: inside(disk, waiting).strip() == "0", seconds=120)
        assert gateway.stop() == 0
    written = json.loads(inside(disk, "print(json.dumps([n for n, in sqlite3.connect('lots.db').execute("
                                      "'SELECT id FROM lots')]))"))  # fmt: skip
    assert len(set(written)) == len(written)
    assert set(accepted["/ingest/lots"]) <= set(written)
    read = (
        "from tongqu.kit.queue.queue import Queue\nq = Queue('events.queue')\n"
        "found = [body for one in q.read(['pushes'], q.position(0), waits=False) if one is not None"
        " for body in one.rows.column('body').to_pylist()]\nq.close()\n"
        "print(json.dumps([json.loads(body)['id'] for body in found]))"
    )
    pushed = json.loads(inside(disk, read))
    assert set(accepted["/hooks/code"]) <= set(pushed)
