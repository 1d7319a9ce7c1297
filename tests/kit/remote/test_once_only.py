"""Whatever dies and whatever fails: where the peer honours keys or can be read back, every effect happens once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tongqu.core.data import WriteMode
from tongqu.core.errors import ConnectError
from tongqu.kit.remote import sending, session, sink
from tongqu.kit.remote.effect import Op
from tongqu.kit.remote.manner import Manner
from tongqu.kit.remote.writer import Keyed
from tongqu.testing.remote_peer import Peer, PeerSink, run

POINTS = ["before_call", "after_call", "mid_write", "in_commit", "in_finish", "after_swap"]
PROMISES = [(Keyed.CALL, False), (Keyed.ROW, False), (Keyed.NO, True)]
APPENDED = {1, 2, 3, 4, 5, 6, 7, 8}
WHOLE = frozenset({Op.CREATE, Op.UPSERT})


def die(peer: Path, mode: WriteMode, point: str, *, keyed: Keyed, looks: bool) -> int:
    """Pour in a process of its own that is killed at a point; its exit code."""
    command = [
        sys.executable,
        "-m",
        "tongqu.testing.remote_peer",
        str(peer),
        mode,
        keyed,
        "looks" if looks else "blind",
    ]
    environment = {**os.environ, "TONGQU_CRASH_AT": point}
    return subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False).returncode


@pytest.mark.parametrize(("keyed", "looks"), PROMISES, ids=str)
@pytest.mark.parametrize("point", ["before_call:2", "after_call:4", "in_commit:2"])
def test_a_killed_process_goes_on_without_repeating_a_call(
    tmp_path: Path, point: str, keyed: Keyed, looks: bool
) -> None:
    place = tmp_path / "peer.db"
    assert die(place, WriteMode.APPEND, point, keyed=keyed, looks=looks) == -signal.SIGKILL
    peer = Peer(place, keyed=keyed, looks=looks)
    counts = run(peer, WriteMode.APPEND)
    assert created(peer) == Counter(APPENDED)
    assert (counts.read, counts.inserted, counts.quarantined) == (8, 8, 0)


def test_a_call_that_nobody_can_ask_about_is_set_aside(tmp_path: Path) -> None:
    place = tmp_path / "peer.db"
    assert die(place, WriteMode.APPEND, "after_call:2", keyed=Keyed.NO, looks=False) == -signal.SIGKILL
    peer = Peer(place, keyed=Keyed.NO)
    counts = run(peer, WriteMode.APPEND)
    kept = PeerSink(peer).quarantined()
    assert {row["code"] for row in kept} == {"call.unknown"}
    assert counts.inserted + counts.quarantined == 8
    assert max(created(peer).values()) == 1, "nothing was repeated blindly"
    gone = {json.loads(row["original"])["id"] for row in kept}
    assert APPENDED - set(created(peer)) <= gone, "a row that is missing at the peer is in quarantine"


def test_unknown_repeat_sends_it_again(tmp_path: Path) -> None:
    place = tmp_path / "peer.db"
    assert die(place, WriteMode.APPEND, "after_call:2", keyed=Keyed.NO, looks=False) == -signal.SIGKILL
    peer = Peer(place, keyed=Keyed.NO)
    counts = run(peer, WriteMode.APPEND, Manner(pause_seconds=0, unknown="repeat"))
    assert counts.inserted == 8
    assert set(created(peer)) == APPENDED


class Killed(BaseException):
    """Ends everything, as SIGKILL would."""


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    promise=st.sampled_from(PROMISES),
    mode=st.sampled_from([WriteMode.APPEND, WriteMode.UPSERT]),
    batch=st.sampled_from([1, 2, 3]),
    seed=st.integers(0, 10_000),
    kills=st.lists(st.tuples(st.sampled_from(POINTS), st.integers(1, 6)), min_size=1, max_size=3),
)
@example(promise=(Keyed.CALL, False), mode=WriteMode.APPEND, batch=3, seed=0, kills=[("after_call", 1)])
@example(promise=(Keyed.NO, True), mode=WriteMode.UPSERT, batch=2, seed=0, kills=[("after_call", 2)])
def test_random_deaths_and_failures_leave_every_effect_once(  # noqa: PLR0917  # hypothesis gives them by name
    tmp_path_factory: pytest.TempPathFactory,
    promise: tuple[Keyed, bool],
    mode: WriteMode,
    batch: int,
    seed: int,
    kills: list[tuple[str, int]],
) -> None:
    keyed, looks = promise
    place = tmp_path_factory.mktemp("peer") / "peer.db"
    peer = Peer(place, keyed=keyed, looks=looks, ops=WHOLE, lose=0.05, drop=0.05, seed=seed)
    peer.batch = batch
    dice = Random(seed)  # noqa: S311  # decides who dies
    for point, count in kills:
        with pytest.MonkeyPatch.context() as patch:
            armed(patch, point, count)
            try:
                run(peer, mode)
            except Killed:
                continue
            except ConnectError:
                peer.drop = peer.lose = dice.choice([0.0, 0.05])
    peer.drop = peer.lose = 0.0
    counts = run(peer, mode)
    if mode is WriteMode.APPEND:
        assert created(peer) == Counter(APPENDED)
        assert counts.inserted == 8
    else:
        written = [(key, body) for _, key, body in peer.effects()]
        assert Counter(written) == Counter(dict.fromkeys(written, 1))
        assert len(written) == 9, "key 5 has two versions"
        assert counts.inserted + counts.updated == 9
    assert counts.quarantined == 0


def armed(patch: pytest.MonkeyPatch, point: str, count: int) -> None:
    """Die when a point is reached for the n-th time; calls in flight end at the peer all the same."""
    left = [count]

    def reached(name: str) -> None:
        if name == point:
            left[0] -= 1
            if left[0] == 0:
                raise Killed

    for module in (sending, session, sink):
        patch.setattr(module, "crash_point", reached)


def created(peer: Peer) -> Counter[int]:
    """How often each id was created."""
    return Counter(json.loads(body)["id"] for op, _, body in peer.effects() if op == "create")
