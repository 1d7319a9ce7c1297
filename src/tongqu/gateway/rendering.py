"""Rows with related rows inside, as the bytes of a format."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from tongqu.core.server import Format
from tongqu.kit.serving.texts import dumps


def rendered(
    rows: Sequence[dict[str, Any]], names: tuple[str, ...], format: Format
) -> tuple[bytes, Sequence[Sequence[Any]]]:
    """The bytes, and for `rows` the values instead. In CSV what is nested is written as JSON."""
    if format == "rows":
        return b"", [[row[name] for name in names] for row in rows]
    if format == "json":
        return dumps(list(rows)), ()
    lines = [",".join(_quoted(name) for name in names)]
    lines += [",".join(_cell(row[name]) for name in names) for row in rows]
    return ("\r\n".join(lines) + "\r\n").encode(), ()


def _cell(value: Any) -> str:
    """A null is nothing, an empty text is `""`."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f") if isinstance(value, Decimal) else _quoted(dumps(value).decode())


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if not text or any(sign in text for sign in ',"\r\n') else text
