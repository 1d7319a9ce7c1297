"""`python -m bench`: starts private servers, runs the scenarios, prints the table and writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import kept
from bench.report import Measured, Stage, line, page
from bench.scenarios import (
    cdc,
    cdc_latency,
    diff,
    files,
    gateway,
    gateway_attack,
    gateway_zipf,
    governed,
    kafka,
    mariadb,
    mariadb_cdc,
    memory,
    mongodb,
    planning,
    postgres,
    quarantine,
    queue,
    rest,
    state,
    volume,
    whole,
)
from bench.scenarios.scenario import Scenario
from bench.world import World

SCENARIOS: list[Scenario] = [
    *postgres.SCENARIOS, *mariadb.SCENARIOS, *files.SCENARIOS, *whole.SCENARIOS, *memory.SCENARIOS,
    *diff.SCENARIOS, *quarantine.SCENARIOS, *planning.SCENARIOS, *rest.SCENARIOS, *mongodb.SCENARIOS,
    *cdc.SCENARIOS, *cdc_latency.SCENARIOS, *mariadb_cdc.SCENARIOS,
    *gateway.SCENARIOS, *gateway_zipf.SCENARIOS, *gateway_attack.SCENARIOS,
    *queue.SCENARIOS, *kafka.SCENARIOS, *governed.SCENARIOS,
    *state.SCENARIOS,
]  # fmt: skip
BY_NAME: list[Scenario] = [*volume.SCENARIOS]
"""Those that take hours: run only where they are named by `--only`."""
ALL: list[Scenario] = [*SCENARIOS, *BY_NAME]
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
KEPT = PAGE.with_suffix(".json")


def main() -> int:
    """Run what was asked for; 1 if a scenario could not be run or is a defect."""
    arguments = _arguments()
    wanted = arguments.only.split(",")
    chosen = [s for s in ALL if s.name in wanted or (not arguments.only and s not in BY_NAME)]
    measured: list[Measured] = []
    failed = False
    with World(arguments.rows, arguments.rounds) as world:
        for scenario in chosen:
            print(f"{scenario.name}: {scenario.title}", flush=True)
            before = os.getloadavg()[0]
            try:
                rows = scenario.run(world)
            except RuntimeError as error:
                print(f"  failed: {error}", file=sys.stderr)
                failed = True
                continue
            load = (before, os.getloadavg()[0])
            day = f"{datetime.now(UTC):%Y-%m-%d}"
            measured.append(Measured(scenario, rows, load, day, world.rounds, world.rows))
            for row in rows:
                print(f"  {line(scenario, row)}", flush=True)
        stage = Stage.of(world)
    if measured and not arguments.quick and not arguments.dry:
        everything = kept.merged(kept.load(KEPT, ALL), measured, ALL)
        kept.save(KEPT, everything, stage)
        PAGE.write_text(page(everything, stage), encoding="utf-8")
        print(f"written: {PAGE}")
    return 1 if failed or any(m.worst == "defect" for m in measured) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=0, help="rows of the table (default 1,000,000)")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each comparison (default 5)")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(s.name for s in ALL)}")
    parser.add_argument("--quick", action="store_true", help="100,000 rows, 2 rounds; the page is not written")
    parser.add_argument("--dry", action="store_true", help="do not write the page")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows or (100_000 if arguments.quick else 1_000_000)
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
