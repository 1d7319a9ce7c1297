"""The audit trail: what was written is there, and whatever is changed in it is found."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.errors import AuditError, NotFoundError
from tongqu.store.audit.chain import Chain
from tongqu.store.audit.reading import Wanted, newest
from tongqu.store.audit.trail import Keeping, Trail, place_of
from tongqu.store.audit.verify import Verdict, verify
from tongqu.store.home import Home

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Now:
    """A clock that stands until it is moved."""

    def __init__(self, at: datetime = NOON):
        self.at = at

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def opened(home: Home, clock: Callable[[], datetime] = lambda: NOON, profile: str = "standard") -> Trail:
    return Trail.open(home, Keeping(profile=profile), clock)


def filled(home: Home, profile: str = "standard") -> Trail:
    """Two days, two processes (one still running), actions between them."""
    now = Now()
    trail = opened(home, now, profile)
    with trail.action("user:li", "client.add", "mes"):
        pass
    one, two = trail.begin("c-1"), trail.begin("c-2")
    for step in range(3):
        one.append(now().date().isoformat(), [trail.body("call", who="client:mes", n=n) for n in range(4)])
        two.append(now().date().isoformat(), [trail.body("call", who="client:erp", n=n) for n in range(2)])
        if step == 1:
            trail.anchor(one)
            trail.anchor(two)
            now.at += timedelta(days=1)
    trail.end(one)
    two.close()
    return trail


def checked(home: Home) -> Verdict:
    return verify(place_of(home, make=False))


@pytest.mark.parametrize("profile", ["standard", "gm"])
def test_a_trail_that_nobody_touched_is_good(home: Home, profile: str) -> None:
    filled(home, profile).close()
    found = checked(home)
    assert found.to_json() == {"ok": True, "records": 2 + 2 + 2 + 1 + (1 + 12 + 1 + 1) + (1 + 6 + 1), "first_bad": None,
                               "chains": 3, "gaps": []}  # fmt: skip


def test_a_trail_goes_on_with_the_hash_it_was_written_with(home: Home) -> None:
    opened(home, profile="gm").note("action", what="sm3")
    opened(home, profile="").note("action", what="sm3 too")
    opened(home).note("action", what="sha-256")
    assert [line.split(b" ")[0] for line in _lines(home.audit / "2026-03-01" / "main.log")] == [b"s3", b"s3", b"s2"]
    assert checked(home).ok


def test_an_action_is_on_disk_before_it_is_done_and_its_outcome_after(home: Home) -> None:
    trail = opened(home)
    with pytest.raises(NotFoundError), trail.action("user:li", "client.remove", "mes", reason="left") as told:
        assert [r["outcome"] for r in newest(trail.place, Wanted(what="client.remove"), 9)] == ["begun"]
        told["secrets"] = 2
        raise NotFoundError("no such client")
    last, begun = newest(trail.place, Wanted(), 2)
    assert (last["outcome"], last["secrets"], last["begun"]) == ("connector.not_found", 2, 0)
    assert (begun["who"], begun["what"], begun["on"], begun["reason"]) == ("user:li", "client.remove", "mes", "left")
    trail.close()


def test_what_cannot_be_written_down_is_not_done(home: Home) -> None:
    trail = opened(home)
    trail.note("action", what="first")
    (home.audit / "heads" / "main").write_bytes(b"s2 0 changed")
    done = []
    with pytest.raises(AuditError), trail.action("user:li", "client.add", "mes"):
        done.append(1)
    assert done == []
    trail.close()


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def _edit(path: Path, at: int, random: random.Random) -> None:
    lines = _lines(path)
    line = bytearray(lines[at])
    place = random.randrange(len(line))
    line[place] = line[place] ^ random.choice([1, 2, 4, 8, 16, 32, 64, 128])
    path.write_bytes(b"".join([*lines[:at], bytes(line), *lines[at + 1 :]]))


def _remove(path: Path, at: int, random: random.Random) -> None:
    del random
    lines = _lines(path)
    path.write_bytes(b"".join([*lines[:at], *lines[at + 1 :]]))


def _reorder(path: Path, at: int, random: random.Random) -> None:
    lines = _lines(path)
    other = random.randrange(len(lines))
    if other == at:
        other = (at + 1) % len(lines)
    lines[at], lines[other] = lines[other], lines[at]
    if len(lines) == 1:
        lines = []
    path.write_bytes(b"".join(lines))


def _truncate(path: Path, at: int, random: random.Random) -> None:
    del random
    path.write_bytes(b"".join(_lines(path)[:at]))


def _cut_bytes(path: Path, at: int, random: random.Random) -> None:
    del at
    size = path.stat().st_size
    os.truncate(path, size - random.randrange(1, min(size, 700)))


def _repeat(path: Path, at: int, random: random.Random) -> None:
    lines = _lines(path)
    lines.insert(random.randrange(len(lines) + 1), lines[at])
    path.write_bytes(b"".join(lines))


def _whole_file(path: Path, at: int, random: random.Random) -> None:
    del at, random
    path.unlink()


def _swap_files(path: Path, at: int, random: random.Random) -> None:
    """Another chain's file in its place."""
    del at
    other = random.choice([p for p in path.parent.glob("*.log") if p != path])
    path.write_bytes(other.read_bytes())


TAMPERS = (_edit, _remove, _reorder, _truncate, _cut_bytes, _repeat, _whole_file, _swap_files)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("trail") / "home")
    filled(home).close()
    return home


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1 << 32), how=st.sampled_from(TAMPERS))
def test_whatever_is_changed_is_found(
    original: Home, how: Callable[[Path, int, random.Random], None], seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  # which record is changed
    home = Home(original.path.parent / "changed")
    shutil.rmtree(home.path, ignore_errors=True)
    shutil.copytree(original.path, home.path)
    path = chance.choice(sorted(home.audit.glob("2*/*.log")))
    how(path, chance.randrange(len(_lines(path))), chance)
    found = checked(home)
    assert not found.ok, (how.__name__, path.name)


@pytest.mark.parametrize("gone", ["heads/c-2", "heads/c-1", "heads/main"])
def test_a_head_that_is_gone_is_found(home: Home, gone: str) -> None:
    filled(home).close()
    (home.audit / gone).unlink()
    assert not checked(home).ok


def test_a_line_made_without_the_key_is_found(home: Home) -> None:
    filled(home).close()
    home.audit_key.chmod(0o600)
    kept = home.audit_key.read_text()
    home.audit_key.write_text("00" * 32)
    with pytest.raises(AuditError):
        opened(home).note("action", what="forged")
    home.audit_key.write_text(kept)
    assert checked(home).ok


def test_the_first_bad_record_is_named(home: Home) -> None:
    filled(home).close()
    path = home.audit / "2026-03-01" / "c-1.log"
    path.write_bytes(path.read_bytes().replace(b'"n":2', b'"n":3', 1))
    assert checked(home).first_bad == {"chain": "c-1", "day": "2026-03-01", "seq": 3, "reason": "hash"}


def test_records_are_kept_at_least_180_days(home: Home) -> None:
    with pytest.raises(AuditError, match="at least 180 days"):
        Trail.open(home, Keeping(keep_days=90))
    now = Now()
    trail = opened(home, now)
    trail.note("action", what="old")
    with pytest.raises(AuditError, match="must be kept"):
        trail.remove("2026-03-01")
    now.at += timedelta(days=180)
    with pytest.raises(AuditError, match="must be kept"):
        trail.remove("2026-03-01")
    assert trail.purge() == []
    trail.close()


def test_days_whose_time_is_over_go_and_the_rest_still_verifies(home: Home) -> None:
    now = Now()
    trail = opened(home, now)
    chain = trail.begin("c-1")
    for _ in range(4):
        chain.append(now().date().isoformat(), [trail.body("call")])
        trail.anchor(chain)
        now.at += timedelta(days=1)
    now.at = NOON + timedelta(days=182)
    assert trail.purge() == ["2026-03-01", "2026-03-02"]
    assert trail.place.days()[0] == "2026-03-03"
    assert checked(home).ok
    chain.append(now().date().isoformat(), [trail.body("call")])
    trail.end(chain)
    now.at = NOON + timedelta(days=600)
    trail.note("action", what="later")
    trail.purge()
    assert checked(home).ok
    path = home.audit / trail.place.days()[0] / "main.log"
    path.write_bytes(path.read_bytes().replace(b'"later"', b'"never"').replace(b"purge", b"pure!"))
    assert not checked(home).ok
    trail.close()


def test_the_first_record_after_a_purge_cannot_be_changed(home: Home) -> None:
    now = Now()
    trail = opened(home, now)
    trail.note("action", what="old")
    now.at += timedelta(days=1)
    trail.note("action", what="young")
    now.at = NOON + timedelta(days=181)
    assert trail.purge() == ["2026-03-01"]
    trail.close()
    path = home.audit / "2026-03-02" / "main.log"
    path.write_bytes(path.read_bytes().replace(b"young", b"yount"))
    assert checked(home).first_bad == {"chain": "main", "day": "2026-03-02", "seq": 1, "reason": "hash"}


KILLED = """
import os, signal, sys
from pathlib import Path
from tongqu.store.audit.trail import Trail
from tongqu.store.home import Home
trail = Trail.open(Home(Path(sys.argv[1])))
chain = trail.begin("c-killed")
chain.append("2026-03-01", [trail.body("call", n=n) for n in range(5)])
path = trail.place.segments("c-killed")[-1][1]
with path.open("ab") as stream:
    stream.write(b"s2 6 half a li")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_kill_the_next_start_records_the_gap(home: Home) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(home.path)], check=False)
    assert done.returncode == -signal.SIGKILL
    trail = opened(home)
    trail.begin("c-next").close()
    trail.close()
    found = checked(home)
    assert found.ok
    gap = found.gaps[0]
    assert (gap["chain"], gap["seq"], gap["torn"]) == ("c-killed", 5, 14)
    path = trail.place.segments("c-killed")[-1][1]
    path.write_bytes(b"".join(_lines(path)[:-2]))
    assert checked(home).first_bad == {"chain": "c-killed", "day": path.parent.name, "seq": 5, "reason": "cut"}


def test_processes_that_write_at_the_same_time_make_one_chain(home: Home) -> None:
    code = (
        "import sys; from pathlib import Path; from tongqu.store.audit.trail import Trail; "
        "from tongqu.store.home import Home; trail = Trail.open(Home(Path(sys.argv[1])))\n"
        "for n in range(20): trail.note('action', what='x', n=n)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(home.path)]) for _ in range(3)]
    assert [one.wait(30) for one in running] == [0, 0, 0]
    assert (checked(home).ok, checked(home).records) == (True, 60)


def test_text_of_a_caller_cannot_make_a_line_or_look_like_another(home: Home) -> None:
    trail = opened(home)
    trail.note("action", what="a\r\nb\x1b[31m\u2028c\u202e\ud800", more={"k\n": ["v\x00"]}, long="x" * 10_000)
    path = trail.place.segments("main")[0][1]
    assert path.read_bytes().count(b"\n") == 1
    record = newest(trail.place, Wanted(), 1)[0]
    assert record["what"] == "a\\u000d\\u000ab\\u001b[31m\\u2028c\\u202e\\ud800"
    assert record["more"] == {"k\\u000a": ["v\\u0000"]}
    assert len(record["long"]) == 512
    trail.close()


def test_a_full_disk_leaves_whole_lines_and_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = opened(home)
    chain = trail.begin("c-1")
    link = chain.link

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", full)
        with pytest.raises(AuditError, match="No space left"):
            chain.append("2026-03-01", [trail.body("call")])
    assert chain.link == link
    chain.append("2026-03-01", [trail.body("call")])
    trail.end(chain)
    assert checked(home).ok
    trail.close()


def test_a_chain_of_the_same_name_is_refused(home: Home) -> None:
    trail = opened(home)
    trail.begin("c-1").close()
    with pytest.raises(AuditError, match="already a chain"):
        Chain(trail.place, "c-1")
    trail.close()
