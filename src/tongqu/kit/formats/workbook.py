"""Workbooks (.xlsx, .xls, .xlsb, .ods): sheets as rows of typed cells, with merged cells, errors and size limits told.

Read by calamine (Rust). Rules, the same in every workbook:

* a cell has the type the workbook gives it: a text stays a text (`00123`), a formula is its stored value;
* the value of a merged area is the value of each of its cells; in headings it is part of each column's name;
* a row without any cell of its own is no row; columns without heading and values are no columns;
* an error cell (`#N/A`, `#DIV/0!`) makes its row a bad row (.xlsx only: the other formats give it as an empty cell).
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tongqu.core.errors import AuthError, NotFoundError, ReadError
from tongqu.kit.drivers import driver

MOST_BYTES = 4 << 30
"""A workbook that unpacks to more is refused, whatever its directory says."""
MOST_CELLS = 50_000_000
"""A sheet that spans more cells is refused: it is held in memory while it is read."""
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_ERROR = re.compile(
    rb'<(?:\w+:)?c\b(?=[^<>]{0,400}\bt="e")[^<>]{0,400}\br="([A-Z]{1,3})([0-9]{1,7})"[^<>]{0,400}>'
    rb"(?:[^v]{0,1000}?<(?:\w+:)?v>([^<]*))?"
)
"""An error cell. Every repeat is bounded: a file made for it could keep the search busy for hours."""
_FAR = re.compile(rb'r="([A-Z]{2,3})[0-9]')
_ROW = re.compile(rb'r="[A-Z]{0,3}([0-9]{1,7})"')
_MOST_ROWS = 1_048_576
_VALUE = re.compile(rb"<(?:\w+:)?(?:v|t|f)[ >]")
_SHEET = re.compile(rb"<(?:\w+:)?sheet\b([^>]*)>")
_RELATION = re.compile(rb"<(?:\w+:)?Relationship\b([^>]*)>")
_PAIR = re.compile(rb"([\w:]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_BLOCK = 1 << 20

Cell = Any
"""A cell's value: None, str, float, int, bool, date, datetime, time or timedelta."""


@dataclass(frozen=True)
class Workbook:
    """One workbook file."""

    path: Path

    def check(self) -> None:
        """Raises ReadError if the file is no workbook or unpacks to more than 4 GiB, AuthError if it has a password."""
        with self.path.open("rb") as file:
            magic = file.read(8)
        if magic == _OLE:
            if _ENCRYPTED in self.path.read_bytes():
                raise AuthError(
                    f"{self.path} is protected by a password",
                    path=f"file:{self.path}",
                    hint="save a copy without the password (File, Info, Protect Workbook in Excel)",
                )
        elif magic[:4] == b"PK\x03\x04":
            _check_size(self.path)
        else:
            text = not any(byte < 9 for byte in magic)
            raise ReadError(
                f"{self.path} is no workbook" + (" but text" if text else ""),
                path=f"file:{self.path}",
                hint="name it .csv, or set format=csv" if text else "fetch the file again",
            )

    def sheets(self, hidden: bool = False) -> list[str]:
        """Names of the visible sheets that are not empty, or of all if `hidden`, in their order."""
        book = self._open()
        metas = [meta for meta in book.sheets_metadata if _kind(meta.typ) == "WorkSheet"]
        if hidden:
            return [meta.name for meta in metas]
        return [meta.name for meta in metas if _kind(meta.visible) == "Visible" and not self._is_empty(book, meta.name)]

    def _is_empty(self, book: Any, sheet: str) -> bool:
        if not zipfile.is_zipfile(self.path):
            return book.get_sheet_by_name(sheet).end is None
        with zipfile.ZipFile(self.path) as archive:
            part = _part(archive, sheet)
            if part is None:
                return book.get_sheet_by_name(sheet).end is None
            with archive.open(part) as file:
                return _VALUE.search(file.read(_BLOCK)) is None and len(file.read(1)) == 0

    def _open(self) -> Any:
        calamine = driver("python_calamine", "excel")
        try:
            return calamine.CalamineWorkbook.from_path(str(self.path))
        except calamine.PasswordError as error:
            raise AuthError(f"{self.path} is protected by a password", path=f"file:{self.path}") from error
        except calamine.CalamineError as error:
            raise ReadError(f"{self.path} cannot be read: {error}", path=f"file:{self.path}") from error

    def sheet(self, name: str) -> Sheet:
        """The sheet of that name. Raises NotFoundError with the names there are, ReadError if it is too large."""
        calamine = driver("python_calamine", "excel")
        book = self._open()
        if name not in book.sheet_names:
            raise NotFoundError(
                f"{self.path} has no sheet {name!r}",
                path=f"file:{self.path}",
                hint=f"sheets: {', '.join(book.sheet_names)}",
            )
        self._check_span(name, *self._span(name))  # before it is loaded: the library keeps every cell of the span
        try:
            found = book.get_sheet_by_name(name)
        except calamine.CalamineError as error:
            raise ReadError(f"{self.path}: sheet {name!r}: {error}", path=f"file:{self.path}") from error
        self._check_span(name, *(place + 1 for place in found.end or (-1, -1)))
        return Sheet(found, self._errors(name))

    def _check_span(self, name: str, height: int, width: int) -> None:
        if height * width > MOST_CELLS:
            raise ReadError(
                f"{self.path}: sheet {name!r} spans {height} rows and {width} columns, more than {MOST_CELLS:,} cells",
                path=f"file:{self.path}",
                hint="delete the empty formatted cells at its end, or export it as CSV",
            )

    def _span(self, sheet: str) -> tuple[int, int]:
        """Rows and columns that the cells' references reach to, where an .xlsx sheet is wide enough to matter."""
        width = max(map(column_number, self._references(sheet, _FAR)), default=-1) + 1
        if width * _MOST_ROWS <= MOST_CELLS:
            return 0, width
        return max(map(int, self._references(sheet, _ROW)), default=0), width

    def _references(self, sheet: str, wanted: re.Pattern[bytes]) -> Iterator[str]:
        """What the pattern finds in the sheet's member, most of it once."""
        if not zipfile.is_zipfile(self.path):
            return
        with zipfile.ZipFile(self.path) as archive:
            part = _part(archive, sheet)
            if part is None:
                return
            with archive.open(part) as file:
                rest = b""
                while block := file.read(_BLOCK):
                    yield from {found.decode() for found in wanted.findall(rest + block)}
                    rest = block[-16:]

    def _errors(self, sheet: str) -> dict[int, dict[int, str]]:
        """Row -> column -> error text, both from 0."""
        if not zipfile.is_zipfile(self.path):
            return {}
        with zipfile.ZipFile(self.path) as archive:
            part = _part(archive, sheet)
            if part is None:
                return {}
            found: dict[int, dict[int, str]] = {}
            with archive.open(part) as file:
                rest = b""
                while block := file.read(_BLOCK):
                    rest += block
                    if b't="e"' not in rest:
                        rest = rest[-4096:]
                        continue
                    end = rest.rfind(b"</")
                    for match in _ERROR.finditer(rest, 0, end):
                        column, row, text = match.groups()
                        found.setdefault(int(row) - 1, {})[column_number(column.decode())] = (text or b"#").decode()
                    rest = rest[max(end - 256, 0) :]
            return found


class Sheet:
    """A sheet that has been loaded."""

    def __init__(self, sheet: Any, errors: Mapping[int, Mapping[int, str]]):
        self._sheet = sheet
        self.errors = errors
        self._areas = [((r0, c0), (r1, c1)) for (r0, c0), (r1, c1) in sheet.merged_cell_ranges or ()]

    @property
    def areas(self) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """The merged areas: first and last (row, column), from 0."""
        return self._areas

    def rows(self) -> Iterator[tuple[int, list[Cell], list[Cell]]]:
        """(number from 0, the cells as stored, the cells with the values of merged areas) of each row; an empty cell
        is None. Both are the same list where no area touches the row."""
        starting: dict[int, list[tuple[int, int, int]]] = {}
        for (top, left), (bottom, right) in self._areas:
            starting.setdefault(top, []).append((left, bottom, right))
        active: list[tuple[int, int, int, Cell]] = []
        if self._sheet.height == 0:
            return
        for number, found in enumerate(self._sheet.iter_rows()):
            cells = [None if cell == "" else cell for cell in found]
            active = [area for area in active if area[1] >= number]
            active += [
                (left, bottom, right, cells[left] if left < len(cells) else None)
                for left, bottom, right in starting.get(number, ())
            ]
            if not active:
                yield number, cells, cells
                continue
            filled = list(cells)
            for left, _, right, value in active:
                for column in range(left, min(right + 1, len(filled))):
                    filled[column] = value
            yield number, cells, filled


def _kind(value: Any) -> str:
    return str(value).rpartition(".")[2]


def column_number(letters: str) -> int:
    """`A` is 0, `AA` is 26."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def column_letters(number: int) -> str:
    """0 is `A`, 26 is `AA`."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _check_size(path: Path) -> None:
    """Unpacks every member, counting: the sizes in the directory may lie."""
    total = 0
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_DEFLATED:
                    total += member.compress_size
                    continue
                file.seek(member.header_offset)
                header = file.read(30)
                file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
                total = _inflated(file, member.compress_size, total)
                if total > MOST_BYTES:
                    raise ReadError(
                        f"{path} unpacks to more than {MOST_BYTES >> 30} GiB",
                        path=f"file:{path}",
                        hint="it is damaged or a zip bomb; large data belongs into CSV or Parquet",
                    )
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ReadError(f"{path} is a damaged workbook: {error}", path=f"file:{path}") from error


def _inflated(file: Any, left: int, total: int) -> int:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    while left > 0 and not engine.eof and total <= MOST_BYTES:
        raw = file.read(min(_BLOCK, left))
        if not raw:
            raise EOFError("it is cut off")
        left -= len(raw)
        while raw and total <= MOST_BYTES:
            total += len(engine.decompress(raw, _BLOCK << 3))
            raw = engine.unconsumed_tail
    return total


def _part(archive: zipfile.ZipFile, sheet: str) -> str | None:
    """The member that holds a sheet of an .xlsx; None in other kinds of workbook."""
    names = set(archive.namelist())
    if not {"xl/workbook.xml", "xl/_rels/workbook.xml.rels"} <= names:
        return None
    targets = {}
    for match in _RELATION.finditer(archive.read("xl/_rels/workbook.xml.rels")):
        pairs = _pairs(match[1])
        targets[pairs.get("Id", "")] = pairs.get("Target", "")
    for match in _SHEET.finditer(archive.read("xl/workbook.xml")):
        pairs = _pairs(match[1])
        target = targets.get(pairs.get("r:id") or next((v for k, v in pairs.items() if k.endswith(":id")), ""), "")
        if pairs.get("name") == sheet:
            member = target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
            return member if member in names else None
    return None


def _pairs(attributes: bytes) -> dict[str, str]:
    import html

    return {
        match[1].decode(): html.unescape((match[2] or match[3] or b"").decode("utf-8", "replace"))
        for match in _PAIR.finditer(attributes)
    }
