"""Keys change while secrets are read; a rotation that was killed anywhere loses nothing and is finished by the next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import pytest

from tongqu.core.errors import SecretError
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber
from tongqu.store.secrets.envelope import AES, SM4, Key
from tongqu.store.secrets.keys import Keys
from tongqu.store.secrets.rotation import rotate, unfinished
from tongqu.store.secrets.sealed import Secrets

COUNT = 7
ROTATE = """
import sys
from pathlib import Path
from tongqu.store.home import Home
from tongqu.store.scrub import Scrubber
from tongqu.store.secrets.keys import Keys
from tongqu.store.secrets.rotation import rotate
from tongqu.store.secrets.sealed import Secrets

home = Home(Path(sys.argv[1]))
rotate(Secrets(home, Keys(home, Scrubber(), {})), at_once=2)
"""


def made(folder: Path, algorithm: str = AES, **environ: str) -> Secrets:
    home = Home(folder)
    store = Secrets.made(home, Keys(home, Scrubber(), environ), algorithm)
    if not store.list():
        for number in range(COUNT):
            store.set(f"s{number}", f"value {number}")
    return store


def again(folder: Path) -> Secrets:
    home = Home(folder)
    return Secrets(home, Keys(home, Scrubber(), {}))


def values(store: Secrets) -> list[str | None]:
    return [store.get(f"s{number}") for number in range(COUNT)]


EXPECTED = [f"value {number}" for number in range(COUNT)]


def test_both_keys_change_and_the_old_ones_are_gone(tmp_path: Path) -> None:
    store = made(tmp_path)
    before = store.keys.load().current.id, store.data_key().id
    done = rotate(store)
    assert (done.resumed, done.rewrapped, done.resealed, sorted(done.retired)) == (False, 1, COUNT, sorted(before))
    assert (done.key, done.data_key) != before
    assert [key.id for key in store.keys.load().keys] == [done.key]
    assert {one.key for one in store.list()} == {done.data_key}
    assert values(store) == EXPECTED
    store.close()


@pytest.mark.parametrize(("key", "data"), [(True, False), (False, True)])
def test_one_of_them_changes(tmp_path: Path, key: bool, data: bool) -> None:
    store = made(tmp_path)
    before = store.keys.load().current.id, store.data_key().id
    done = rotate(store, key=key, data=data)
    assert (done.key != before[0], done.data_key != before[1]) == (key, data)
    assert values(store) == EXPECTED
    store.close()


def test_the_algorithm_changes_with_the_keys(tmp_path: Path) -> None:
    store = made(tmp_path)
    rotate(store, data=False, algorithm=SM4)
    assert {one.algorithm for one in store.list()} == {AES}  # AES records under a data key that SM4 seals
    assert values(store) == EXPECTED
    with pytest.raises(SecretError, match="data keys are for the algorithm of their key"):
        rotate(store, key=False, algorithm=AES)
    rotate(store)
    assert {one.algorithm for one in store.list()} == {SM4}
    assert values(store) == EXPECTED
    store.close()


POINTS = ["after_new_key", *(f"mid_rotation:{n}" for n in range(1, 6)), "before_retire", "in_retire"]


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_loses_nothing_and_the_next_rotation_finishes(tmp_path: Path, point: str) -> None:
    store = made(tmp_path)
    died = subprocess.run(
        [sys.executable, "-c", ROTATE, str(tmp_path)], env={**os.environ, "TONGQU_CRASH_AT": point}, check=False
    )
    assert died.returncode == -9
    assert values(store) == EXPECTED  # the reader of before
    next_one = again(tmp_path)
    assert values(next_one) == EXPECTED
    assert next_one.set("s0", "value 0").key == next_one.data_key().id
    assert unfinished(next_one, next_one.keys.load())
    done = rotate(next_one)
    assert done.resumed
    assert not unfinished(next_one, next_one.keys.load())
    assert len(next_one.keys.load().keys) == len(next_one.data_keys()) == 1
    assert values(next_one) == values(store) == EXPECTED
    store.close()
    next_one.close()


def test_reading_and_setting_go_on_during_rotations(tmp_path: Path) -> None:
    made(tmp_path).close()
    done, read = Event(), 0
    wrong: list[str | None] = []

    def reader() -> None:
        nonlocal read
        store = again(tmp_path)
        while not done.is_set():
            wrong.extend(value for value in values(store) if value not in EXPECTED)
            read += 1
        store.close()

    def writer() -> None:
        store = again(tmp_path)
        while not done.is_set():
            store.set("s3", "value 3")
        store.close()

    threads = [Thread(target=reader), Thread(target=writer)]
    for thread in threads:
        thread.start()
    store = again(tmp_path)
    try:
        for _ in range(5):
            rotate(store, at_once=2)
    finally:
        done.set()
    for thread in threads:
        thread.join()
    store.close()
    assert wrong == []
    assert read > 0


def test_a_second_rotation_at_the_same_time_is_refused(tmp_path: Path) -> None:
    store = made(tmp_path)
    with store.keys.alone(), pytest.raises(SecretError, match="another process is changing the keys"):
        rotate(store)
    store.close()


def test_keys_from_outside_change_when_a_new_one_is_put_before_the_old(tmp_path: Path) -> None:
    old, new = Key.fresh(AES), Key.fresh(SM4)
    made(tmp_path, TONGQU_SECRET_KEY=old.text).close()
    both = made(tmp_path, TONGQU_SECRET_KEY=f"{new.text},{old.text}")
    assert values(both) == EXPECTED
    done = rotate(both)
    assert (done.key, list(done.removable)) == (new.id, [old.id])
    both.close()
    alone = made(tmp_path, TONGQU_SECRET_KEY=new.text)
    assert values(alone) == EXPECTED
    with pytest.raises(SecretError, match="there is no newer one to change to"):
        rotate(alone, data=False)
    assert rotate(alone).resealed == COUNT  # the data key can change at any time
    alone.close()
