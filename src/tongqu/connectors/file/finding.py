"""Which datasets a path holds: one a file, and more where files hold several (sheets, nested records)."""

from __future__ import annotations

from dataclasses import replace

from tongqu.connectors.file.forms import DOCUMENTS, form
from tongqu.connectors.file.layout import look_limit
from tongqu.connectors.file.settings import FileSettings
from tongqu.connectors.file.shelf import Shelf
from tongqu.core.errors import InvalidPlanError, NotFoundError
from tongqu.kit import files
from tongqu.kit.files import Found


def find(shelf: Shelf) -> dict[str, list[Found]]:
    """Dataset names with their files. See `Shelf.find`; and:

    a workbook is one dataset a sheet, `stem.sheet`, or `stem` if it has one only (hidden and empty sheets do not count
    unless named); with `nested: children` each array in a document is a dataset of its own, `stem.items`, below its
    parent's name.
    """
    settings = shelf.settings
    found: dict[str, list[Found]] = {}
    for name, group in shelf.find().items():
        books = [one for one in group if form(one, settings) == "xlsx"]
        others = [one for one in group if one not in books]
        if others:
            found[name] = others
            if settings.nested == "children":
                found |= _children(name, others, settings)
        if books:
            for sheet, held in _sheets(name, books, settings).items():
                found.setdefault(sheet, []).extend(held)
    return found


def _sheets(name: str, books: list[Found], settings: FileSettings) -> dict[str, list[Found]]:
    listed = [(one, _wanted(one, settings)) for one in books]
    single = all(len(sheets) == 1 for _, sheets in listed)
    held: dict[str, list[Found]] = {}
    for one, sheets in listed:
        for sheet in sheets:
            held.setdefault(name if single else f"{name}.{sheet}", []).append(replace(one, inside=(sheet,)))
    if not held:
        raise NotFoundError(
            f"{books[0].path} has no visible sheet with a cell in it",
            path=files.address(books[0].path),
            hint="name a hidden one with sheet=",
        )
    return held


def _wanted(found: Found, settings: FileSettings) -> list[str]:
    from tongqu.kit.formats.workbook import Workbook

    with files.translated(found.path):
        book = Workbook(files.local(found.path))
        book.check()
        if not settings.sheet:
            return book.sheets()
        known = book.sheets(hidden=True)
        missing = [sheet for sheet in settings.sheet if sheet not in known]
        if missing:
            raise NotFoundError(
                f"{found.path} has no sheet {missing[0]!r}",
                path=files.address(found.path),
                hint=f"sheets: {', '.join(known)}",
            )
        return list(settings.sheet)


def _children(name: str, group: list[Found], settings: FileSettings) -> dict[str, list[Found]]:
    from tongqu.connectors.file.documents import Document

    held: dict[str, list[Found]] = {}
    limit = look_limit(group, settings)
    for one in group:
        if form(one, settings) not in DOCUMENTS:
            continue
        with files.translated(one.path):
            document = Document.of(one, settings.of(name), limit)
        for child in document.dropped:
            held.setdefault(f"{name}.{child}", []).append(replace(one, inside=(*one.inside, child)))
    if held and len(group) > 1 and not settings.of(name).parent_key:
        raise InvalidPlanError(
            f"{name} is {len(group)} files: the number of a record in its file does not tell its children's parent",
            path=settings.display(),
            hint="name the columns that do with parent_key=",
        )
    deeper: dict[str, list[Found]] = {}
    for child, found in held.items():
        deeper |= _children(child, found, settings)
    return held | deeper
