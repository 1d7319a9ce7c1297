"""`python -m bench.two_way`: what two-way sync spares readers beside last-write-wins, and that sagas lose no cent.

Prints one JSON document. `reads`: people who edit the same records in 5 systems at once; fails below 92 %. `bank`:
transfers between 5 systems while processes die; fails if the sum of all accounts is another one than before.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from tongqu.testing.bank import OPENING, Bank
from tongqu.testing.concurrent_edits import People, measure

LEAST = 0.92


def main() -> int:
    """Run one of the two; 1 if it does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("reads", "bank"))
    parser.add_argument("--operations", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    with TemporaryDirectory() as folder:
        if told.what == "reads":
            found = measure(People(told.operations or 10_000, told.seed), Path(folder))
            print(json.dumps({**asdict(found), "fall": round(found.fall, 4)}, indent=2))
            return 0 if found.fall >= LEAST and found.same else 1
        bank, began = Bank(Path(folder), told.seed, accounts=1000, together=500, deaths=0.002), monotonic()
        bank.run(told.operations or 1_000_000)
        wanted = bank.systems * bank.accounts * OPENING
        numbers = {name: getattr(bank, name) for name in ("done", "taken_back", "died", "stuck", "total", "lowest")}
        print(json.dumps({**numbers, "wanted": wanted, "seconds": round(monotonic() - began, 1)}, indent=2))
        return 0 if bank.total == wanted and bank.lowest >= 0 else 1


if __name__ == "__main__":
    raise SystemExit(main())
