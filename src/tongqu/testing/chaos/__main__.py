"""The command line of chaos: many seeds in all worlds, one seed again, or a soak."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tongqu.testing.chaos.forgetting import NAME, lose_power
from tongqu.testing.chaos.soak import soak
from tongqu.testing.chaos.worlds import WORLDS, open_world
from tongqu.testing.services import start_postgres


def main() -> int:
    """0: all promises held."""
    parser = argparse.ArgumentParser(prog="python -m tongqu.testing.chaos")
    commands = parser.add_subparsers(dest="command", required=True)
    drill = commands.add_parser("drill")
    drill.add_argument("--world", choices=[*WORLDS, NAME], action="append")
    drill.add_argument("--seed", type=int, help="repeat this one")
    drill.add_argument("--seeds", type=int, default=3, help="new seeds in each world")
    drill.add_argument("--rounds", type=int, default=12, help="faults a seed")
    drill.add_argument("--seconds", type=float, default=0, help="go on with new seeds for so long")
    long = commands.add_parser("soak")
    long.add_argument("--seconds", type=float, default=3600)
    long.add_argument("--folder", type=Path, default=Path("soak"))
    long.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.command == "soak":
        return 0 if soak(asked.folder, asked.seconds, asked.seed, _say) else 1
    return _drills(asked)


def _drills(asked: argparse.Namespace) -> int:
    worlds = asked.world or [*WORLDS, NAME]
    end = time.monotonic() + asked.seconds
    failed: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="tongqu-chaos-"))
    while True:
        if NAME in worlds:
            for seed in [asked.seed] if asked.seed is not None else _seeds(1):
                if lose_power(seed, 10 * asked.rounds, _say):
                    again = f"drill --world {NAME} --seed {seed} --rounds {asked.rounds}"
                    failed.append(f"python -m tongqu.testing.chaos {again}")
        for name in worlds:
            if name == NAME:
                continue
            with open_world(name, folder, start_postgres) as world:
                seeds = [asked.seed] if asked.seed is not None else _seeds(asked.seeds)
                for seed in seeds:
                    document = world.drill(seed, rounds=asked.rounds)
                    said = "ok" if document["ok"] else "BROKEN"
                    _say(f"{name} seed {seed}: {said}, {document['operations']['ok']} operations, {document['runs']}")
                    if not document["ok"]:
                        failed.append(world.again(seed, asked.rounds))
                        for one in document["invariants"]:
                            _say(f"  {one['name']}: {one['wrong']}") if not one["ok"] else None
                        _say(f"  repeat: {failed[-1]}\n  kept in {folder}")
        if time.monotonic() >= end:
            break
    _say("\n".join(["broken:", *failed]) if failed else "every promise held")
    return 1 if failed else 0


def _seeds(many: int) -> list[int]:
    return [random.SystemRandom().randrange(1 << 31) for _ in range(many)]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
