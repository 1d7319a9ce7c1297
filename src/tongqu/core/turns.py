"""How soon a busy thread lets another go on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SECONDS = 0.0005


@contextmanager
def short_turns() -> Iterator[None]:
    """While it is open, a busy thread lets another go on after half a millisecond, not five: what a source has just
    sent, or a caller has just asked, is worth more than a block that is worked off without a pause."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
