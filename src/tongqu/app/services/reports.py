"""Writes what a command made for people to read: a page, a workbook, a list."""

from __future__ import annotations

from pathlib import Path

from tongqu.core.errors import WriteError


def write(path: Path, content: str | bytes) -> None:
    """Write the file, making its folder; text is UTF-8. Raises WriteError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    except OSError as error:
        raise WriteError(f"the report cannot be written: {error.strerror}", path=str(path)) from error
