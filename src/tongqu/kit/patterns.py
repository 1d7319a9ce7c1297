"""Chooses datasets by name: exact names, globs, and `!glob` to leave some out."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from tongqu.kit.ledger import PREFIX


def wanted(name: str, patterns: Sequence[str] | None) -> bool:
    """Whether a dataset's name is chosen. No pattern means all; only exclusions means all but those.

    Tables of Tongqu's own (`_tongqu_*`) never are.
    """
    if name.rpartition(".")[2].startswith(PREFIX):
        return False
    takes = [p for p in patterns or () if not p.startswith("!")]
    leaves = [p[1:] for p in patterns or () if p.startswith("!")]
    if any(name == p or fnmatchcase(name, p) for p in leaves):
        return False
    return not takes or any(name == p or fnmatchcase(name, p) for p in takes)


def nearest(name: str, names: Sequence[str], count: int = 3) -> str:
    """The most similar names, for a hint; empty if there are none."""
    from difflib import get_close_matches

    found = get_close_matches(name, names, n=count, cutoff=0.5) or list(names)[:count]
    return ", ".join(found)
