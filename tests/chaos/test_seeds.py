"""Seeded chaos in small: in every world a few faults, one after the other, and then all promises have held.

`make chaos` goes on with new seeds for hours. What fails here prints the command that repeats it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tongqu.testing.chaos import World, open_world
from tongqu.testing.services import Postgres, start_postgres

ROUNDS = {"files": 6, "files_append": 5, "duckdb": 5, "postgres": 6, "postgres_cdc": 6, "postgres_cdc_file": 5}
SEEDS = [("files", 11), ("files_append", 12), ("duckdb", 13), ("postgres", 14), ("postgres_cdc", 16),
         ("postgres_cdc", 17), ("postgres_cdc_file", 18)]  # fmt: skip


@pytest.fixture(scope="module")
def victim() -> Iterator[Postgres]:
    """A server of our own, to be killed."""
    with start_postgres() as server:
        yield server


def held(world: World, seed: int, rounds: int, only: tuple[str, ...] = ()) -> None:
    document = world.drill(seed, rounds=rounds, only=only)
    wrong = [one for one in document["invariants"] if not one["ok"]]
    assert document["ok"], f"{wrong}, healed: {document['healed']}; repeat: {world.again(seed, rounds)}"
    assert document["operations"]["ok"] > 0
    assert sum(fault["struck"] for fault in document["faults"]) == rounds


@pytest.mark.parametrize(("name", "seed"), SEEDS)
def test_whatever_befalls_it_every_promise_holds(
    name: str, seed: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    @contextmanager
    def started() -> Iterator[Postgres]:
        server: Postgres = request.getfixturevalue("victim")
        server.mend()
        yield server

    with open_world(name, tmp_path, started) as world:
        held(world, seed, ROUNDS[name])


@pytest.mark.parametrize("fault", ["lost-reply", "sink-hang", "sink-slow", "source-reset", "server-kill"])
def test_one_fault_again_and_again(fault: str, victim: Postgres, tmp_path: Path) -> None:
    @contextmanager
    def started() -> Iterator[Postgres]:
        victim.mend()
        yield victim

    with open_world("postgres_cdc", tmp_path, started) as world:
        held(world, 20, 2, (fault,))
