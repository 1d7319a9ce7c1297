"""Which regular expressions callers may ask with: those that no engine, of any served database, works on for long."""

from __future__ import annotations

import re
import warnings

import pyarrow as pa
import pyarrow.compute as pc

LONGEST = 200
MOST_REPEATED = 255
"""What PostgreSQL repeats at most."""
HEAVIEST = 300
"""Positions of a pattern when its counted repetitions are written out: engines that make automata grow with them."""
_MOST_REPEATS = 10
"""Repetitions of one pattern: engines that go back try them against each other."""
_LITERAL = re.compile(r"\\.|\[\^?\]?[^\]]*\]", re.DOTALL)
_SPECIAL = re.compile(r"\(\?(?!:)")
_REPEATED = re.compile(r"\{([0-9]{1,9})(,?)([0-9]{0,9})\}")
"""RE2 has no looking around, PostgreSQL no named groups."""


class CostlyError(ValueError):
    """It may take long, however short the text it is compared with."""


class _Group:
    """What was read of a group so far: its weight, whether anything in it repeats, whether it may be empty."""

    def __init__(self) -> None:
        self.weight = 0
        self.repeats = False
        self.empty = True
        self._other = False

    def add(self, weight: int, *, repeats: bool, empty: bool) -> None:
        """One item behind the others."""
        self.weight += weight
        self.repeats = self.repeats or repeats
        self.empty = self.empty and empty

    def bar(self) -> None:
        """Another alternative begins."""
        self._other = self._other or self.empty
        self.empty = True

    @property
    def nothing(self) -> bool:
        """Whether it may match the empty text."""
        return self.empty or self._other


def checked(pattern: str) -> int:
    """The weight of a pattern: its positions with counted repetitions written out.

    Raises CostlyError for a repetition inside a repetition, a repeated group that may be empty, more than 10
    repetitions, or a weight beyond 300; ValueError, re.error, RecursionError and OverflowError for what is no
    regular expression that Python, RE2 and PostgreSQL know.
    """
    if len(pattern) > LONGEST or _SPECIAL.search(_LITERAL.sub("", pattern)):
        raise ValueError
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of sets that other engines read otherwise
        weight = _weighed(pattern)
        re.compile(pattern)
    pc.match_substring_regex(pa.scalar(""), pattern)  # RE2's, which some databases have and no other one lacks
    return weight


def _weighed(pattern: str) -> int:
    groups = [_Group()]
    at = repeats = 0
    while at < len(pattern):
        sign, inner = pattern[at], None
        if sign == "(":
            groups.append(_Group())
            at += 3 if pattern.startswith("(?:", at) else 1
            continue
        if sign == "|":
            groups[-1].bar()
            at += 1
            continue
        if sign == ")":
            if len(groups) == 1:
                raise ValueError
            inner = groups.pop()
            at += 1
        else:
            literal = _LITERAL.match(pattern, at)
            at = literal.end() if literal else at + 1
        least, most, at = _times(pattern, at)
        weight, inside, empty = (inner.weight, inner.repeats, inner.nothing) if inner else (1, False, False)
        if most > 1:
            repeats += 1
            if inside or empty or repeats > _MOST_REPEATS:
                raise CostlyError
        counted = least if most == _ENDLESS else most
        groups[-1].add(weight * max(counted, 1), repeats=inside or most > 1, empty=empty or least == 0)
        if groups[-1].weight > HEAVIEST:
            raise CostlyError
    if len(groups) > 1:
        raise ValueError
    return max(groups[0].weight, 1)


_ENDLESS = 1 << 30


def _times(pattern: str, at: int) -> tuple[int, int, int]:
    """How often what stands before `at` may come, least and most, and where the pattern goes on."""
    sign = pattern[at : at + 1]
    least = most = 1
    if sign in ("*", "+", "?") and sign:
        least, most = {"*": (0, _ENDLESS), "+": (1, _ENDLESS), "?": (0, 1)}[sign]
        at += 1
    elif found := _REPEATED.match(pattern, at):
        least = int(found[1])
        most = int(found[3]) if found[3] else _ENDLESS if found[2] else least
        if max(least, 0 if most == _ENDLESS else most) > MOST_REPEATED:
            raise ValueError
        at = found.end()
    else:
        return least, most, at
    if pattern[at : at + 1] == "?":  # as few as will do: the same set of texts
        at += 1
    return least, most, at
