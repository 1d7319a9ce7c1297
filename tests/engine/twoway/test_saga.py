"""Money is neither made nor lost by transfers between systems, whenever processes die."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.testing.bank import OPENING, Bank
from tongqu.testing.concurrent_edits import People, measure


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_sum_of_all_accounts_stays(tmp_path: Path, seed: int) -> None:
    bank = Bank(tmp_path, seed, accounts=60, together=20, deaths=0.05)
    bank.run(600)
    assert (bank.total, bank.lowest >= 0) == (5 * 60 * OPENING, True)
    assert bank.done > 100
    assert bank.taken_back > 20
    assert bank.died > 5


def test_readers_are_given_the_newest_approved_version(tmp_path: Path) -> None:
    found = measure(People(edits=500, seed=7, records=100), tmp_path)
    assert found.last_write_wins.bad > 500
    assert found.fall >= 0.92, found
    assert found.same
    assert found.two_way.unapproved == found.two_way.divergent == 0
