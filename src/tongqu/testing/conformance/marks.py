"""Notes on a check which abilities it needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any, TypeVar

from tongqu.core.connector import Can

ALL = "_needed_abilities"
F = TypeVar("F", bound=Callable[..., Any])


def needed(*abilities: Can) -> Callable[[F], F]:
    """The decorator behind `needs`."""

    def mark(check: F) -> F:
        setattr(check, ALL, reduce(or_, abilities, Can(0)))
        return check

    return mark
