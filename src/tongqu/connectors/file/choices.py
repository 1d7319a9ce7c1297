"""Choices about a messy file that are kept in a mapping sheet, so that they are in no code and no connection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tongqu.connectors.file.settings import FileSettings
from tongqu.core.errors import InvalidSettingsError, NotFoundError
from tongqu.kit import files

_SHEETS = ("options", "选项")
_HEADINGS = ("option", "选项")


def chosen(settings: FileSettings) -> FileSettings:
    """The settings with those of the sheet `options` (选项) of the workbook `choices`: two columns, name and value,
    several values with `|` between. What the connection says itself wins. Raises InvalidSettingsError for an unknown
    name or value, NotFoundError if there is no such workbook or sheet."""
    if not settings.choices:
        return settings
    from tongqu.kit.formats.sheet_table import as_cell_text
    from tongqu.kit.formats.workbook import Workbook

    path = Path(settings.choices)
    with files.translated(path):
        book = Workbook(path)
        book.check()
        sheet = next((name for name in book.sheets(hidden=True) if name.lower() in _SHEETS), None)
        if sheet is None:
            raise NotFoundError(
                f"{path} has no sheet called {' or '.join(_SHEETS)}", path=f"file:{path}", hint="see choices="
            )
        rows = [cells for _, cells, _ in book.sheet(sheet).rows()]
    values: dict[str, Any] = {}
    for cells in rows:
        texts = ["" if cell is None else as_cell_text(cell).strip() for cell in cells]
        if len(texts) > 1 and texts[0] and texts[0] not in _HEADINGS:
            values[texts[0]] = _value(texts[0], texts[1], path)
    if wrong := {"path", "choices"} & set(values):
        raise InvalidSettingsError(f"{wrong.pop()} is no choice about a file's content", path=f"{path}:{sheet}")
    own = {name: getattr(settings, name) for name in settings.model_fields_set}
    return FileSettings.parse(values | own, path=f"{path}:{sheet}")


def _value(name: str, text: str, path: Path) -> Any:
    if text[:1] in "[{" and text:
        try:
            return json.loads(text)
        except ValueError as error:
            raise InvalidSettingsError(f"{name}: {text!r} is no JSON", path=f"file:{path}") from error
    return text.split("|") if name in ("sheet", "null", "parent_key") else text
