"""Chaos: drills with faults of servers and networks too, over and over with new seeds, and a soak that lasts hours.

`python -m tongqu.testing.chaos drill --seeds 20` · `… drill --seed 7 --world postgres_cdc` repeats one ·
`… soak --seconds 3600 --folder DIR`.
"""

from tongqu.testing.chaos.worlds import WORLDS, World, open_world

__all__ = ["WORLDS", "World", "open_world"]
