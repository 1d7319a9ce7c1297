"""Which format a file has, before anything of it is read."""

from __future__ import annotations

from tongqu.connectors.file.settings import FileSettings
from tongqu.kit.files import Found

DOCUMENTS = ("json", "jsonl", "xml")
"""The formats of records that may be nested."""


def form(found: Found, settings: FileSettings) -> str:
    """The format of a file: as set, by its extension, fixed width if a layout is given, else CSV."""
    if settings.format:
        return settings.format
    if settings.layout and found.format in (None, "csv", "fixed"):
        return "fixed"
    return found.format or "csv"
