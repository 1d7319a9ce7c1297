"""Loss of power as chaos: every deed again and again, with new moments, and with a sync that fails."""

from __future__ import annotations

import random
from collections.abc import Callable

from tongqu.testing.chaos.workbench import Proof, Workbench, survivors
from tongqu.testing.forgetting.deeds import DEEDS
from tongqu.testing.forgetting.moves import MOVES

NAME = "power"
"""How this world is called beside the others."""


def lose_power(seed: int, moments: int, say: Callable[[str], None]) -> list[str]:
    """Every deed once, gone back to at so many moments; what was wrong. The same seed draws the same moments. Raises
    ServiceMissingError where there can be no such disk."""
    draw = random.Random(seed)  # noqa: S311 - repeatable
    wrong: list[str] = []

    def told(proof: Proof, how: str) -> None:
        wrong.extend(proof.wrong)
        say(f"{NAME} seed {seed}: {proof.deed} {how}: {'BROKEN' if proof.wrong else 'ok'}, {proof.told} told")
        for one in proof.wrong:
            say(f"  {one}")

    with Workbench() as bench:
        for deed in (*DEEDS, *MOVES):
            told(bench.prove(deed, moments, seed, survivors(deed)), f"at {moments} moments")
            sync = draw.randint(1, 40)
            told(bench.prove_failing(deed, sync), f"with sync {sync} failing")
    return wrong
