"""Ids of requests never come twice, whatever their size and whoever was forked."""

from __future__ import annotations

import subprocess
import sys

from tongqu.gateway.ids import Ids

FORKED = """
import os
from tongqu.gateway.ids import Ids
ids = Ids()
ids()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(ids(), flush=True)
"""


def test_ids_have_their_size_and_differ() -> None:
    ids = Ids()
    found = [ids(size) for size in (8, 16) * 5000]
    assert len(set(found)) == len(found)
    assert {len(one) for one in found} == {16, 32} and all(int(one, 16) >= 0 for one in found)
    assert len(ids(10_000)) == 20_000


def test_a_forked_process_gives_others() -> None:
    told = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=True).stdout.split()
    assert len(told) == len(set(told)) == 2
