"""Limits as people write them: a count of rows or a share of them."""

from __future__ import annotations


def share(limit: int | str | None) -> tuple[int | None, float | None]:
    """A limit as count or share: `100` → (100, None), `1%` → (None, 0.01). Raises ValueError."""
    if limit is None:
        return None, None
    text = str(limit).strip()
    if text.endswith("%"):
        value = float(text[:-1]) / 100
        if not 0 <= value <= 1:
            raise ValueError(text)
        return None, value
    count = int(text)
    if count < 0:
        raise ValueError(text)
    return count, None
