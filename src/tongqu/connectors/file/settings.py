"""What a user can say about files: where they are and how they are written."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qsl

from pydantic import Field, field_validator, model_validator

from tongqu.connectors.file.incoming import IncomingSettings
from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Settings, titled
from tongqu.kit.egress.settings import Networked
from tongqu.kit.files import COMPRESSIONS, FORMATS
from tongqu.kit.formats.layout import FixedColumn, checked
from tongqu.kit.local_path import local_path
from tongqu.kit.places.settings import Address, PlaceSettings, parts_of, taken_apart

_TYPE = re.compile(r"([^:,]+):([^,(]+(?:\([^)]*\))?)(?:,|$)")


_PLACE = re.compile(r"([^:,]+):(\d+)-(\d+)(?::([^:,(]+(?:\([^)]*\))?))?(?::(left|right))?(?:,|$)")
_ROWS = re.compile(r"[1-9]\d*(-[1-9]\d*)?")
_TRUTH = {"true": True, "false": False, "yes": True, "no": False}
_WHOLE = {
    "path", "sheet", "nested", "partition", "datasets", "via", *PlaceSettings.model_fields,
    *IncomingSettings.model_fields,
}  # fmt: skip
_WEB = ("http", "https")
_DATA = {*FORMATS, *COMPRESSIONS, ".zip", ".tar", ".tgz", ".pgp", ".gpg", ".asc"}


class LayoutColumn(Settings):
    """One column of a fixed width file."""

    name: str
    """Name of the column."""
    start: int = Field(ge=1)
    """Its first place, counted from 1."""
    width: int = Field(ge=1)
    """How many places it has."""
    type: str = ""
    """Its type, such as `int64` or `decimal(12,2)`; left out: inferred."""
    align: Literal["left", "right", ""] = ""
    """Where its values stand when written; left out: numbers right, all else left."""

    def column(self) -> FixedColumn:
        """As the format knows it."""
        return FixedColumn(self.name, self.start, self.width, self.type, self.align)


class FileSettings(PlaceSettings, IncomingSettings, Networked):
    """A file, a glob or a folder, here or at an `address`, and how its files are written. What is left out is
    detected."""

    path: str = titled("路径", "Path")
    """A file (`orders.csv.gz`), a glob (`data/**/*.parquet`) or a folder (`data/`, `data/year=2026/…` partitions)."""
    format: Literal["csv", "jsonl", "json", "xml", "xlsx", "fixed", "parquet", "arrow"] | None = titled(
        "格式", "Format", None
    )
    """Left out: by the extension, `fixed` with a `layout`; a target folder gets parquet."""
    compression: Literal["none", "gz", "zst"] | None = titled("压缩", "Compression", None)
    """Of text formats. Left out: by the extension."""
    encoding: str | None = titled("编码", "Encoding", None)
    """Of text formats, for example `gb18030`. Left out: detected when reading, UTF-8 when writing."""
    delimiter: str | None = titled("分隔符", "Delimiter", None)
    """One character or `tab`. Left out: detected among `, tab ; |` when reading, a comma when writing."""
    quote: str | None = titled("引号", "Quote", None)
    """One character; empty if fields are never quoted. Left out: detected, normally `\"`."""
    escape: str = titled("转义符", "Escape", "")
    """One character before a literal quote, where quotes are not doubled."""
    header: bool | str | None = titled("表头", "Header", None)
    """Whether the first record names the columns; in a workbook also its rows: `3` or `2-3`. Left out: detected when
    reading, written when writing."""
    null: tuple[str, ...] = titled("空值", "Null", ("",))
    """Unquoted texts that mean null; given ones replace the default (the empty text). A quoted `""` is a text."""
    decimal: Literal[".", ","] = titled("小数点", "Decimal point", ".")
    """The character before decimals."""
    skip_rows: int = titled("跳过行数", "Skipped rows", 0, ge=0)
    """Lines (rows of a sheet) above the header that are no data."""
    types: Literal["text"] | dict[str, str] = titled("类型", "Types", {})
    """Column types that are not inferred (`{code: string, weight: "decimal(12,3)"}`), or `text` for all."""
    infer: Literal["sample", "all"] = titled("推断", "Inference", "sample")
    """What column types are inferred from: a sample of files beyond 32 MiB (a row that contradicts it is quarantined),
    or all of every file, which takes longer."""
    partition: tuple[str, ...] = titled("分区", "Partition", ())
    """Columns that become `column=value` folders when writing to a folder."""
    sheet: tuple[str, ...] = titled("工作表", "Sheet", ())
    """Sheets of a workbook to read; the one sheet to write. Left out: all that are visible and not empty."""
    records: str = titled("记录路径", "Records", "")
    """Where the records stand: in JSON the keys that lead to an array (`data.items`), in XML the element path
    (`orders/order`, or one name for that element anywhere; when writing, names for root and rows)."""
    nested: Literal["json", "children"] | None = titled("嵌套", "Nested", None)
    """Nested values of JSON and XML: `json` columns that hold their text, or arrays as `children`, datasets of their
    own (`orders.items`). Left out: as nested types."""
    parent_key: tuple[str, ...] = titled("父键", "Parent key", ())
    """With `nested: children`: columns of the record that its children keep, as `parent_<name>`. Left out: records are
    numbered in a column `_record`."""
    layout: tuple[LayoutColumn, ...] = titled("定宽布局", "Layout", ())
    """Columns of a fixed width file."""
    counted: Literal["bytes", "characters"] = titled("宽度单位", "Widths counted in", "bytes")
    """What the places of a fixed width layout count: bytes of the file's encoding, or characters."""
    headings: Literal["name", "title"] = titled("标题行", "Headings", "name")
    """What a written workbook's header shows: field names, or their titles from the dictionary."""
    choices: str = titled("选择记录", "Choices", "")
    """A mapping sheet (.xlsx) whose sheet `options` holds further settings of this file: the choices of whoever knows
    it (sheet, header, columns) stay in the sheet they are agreed in."""
    datasets: dict[str, dict[str, Any]] = titled("各数据集设置", "Per dataset", {})
    """Settings of single datasets that differ, by dataset name: `{book.检验: {header: 2-3}}`."""

    @field_validator("header", mode="before", json_schema_input_type=bool | int | str | None)
    @classmethod
    def _rows(cls, value: Any) -> Any:
        text = str(value).strip().lower()
        if value is None or text in _TRUTH:
            return _TRUTH.get(text)
        if not _ROWS.fullmatch(text):
            raise ValueError("must be true, false, a row (3) or rows (2-3)")
        return text

    @field_validator("layout")
    @classmethod
    def _places(cls, value: tuple[LayoutColumn, ...]) -> tuple[LayoutColumn, ...]:
        try:
            checked([one.column() for one in value])
        except InvalidSettingsError as error:
            raise ValueError(error.message) from None
        return value

    @model_validator(mode="after")
    def _each(self) -> Self:
        for name, values in self.datasets.items():
            if wrong := sorted(set(values) & _WHOLE):
                raise ValueError(f"datasets.{name}: {wrong[0]} is one for all datasets")
            try:
                self.of(name)
            except InvalidSettingsError as error:
                raise ValueError(f"datasets.{name}: {error.message}") from None
        return self

    def of(self, dataset: str) -> FileSettings:
        """The settings of one dataset: these, with its own from `datasets`."""
        own = self.datasets.get(dataset)
        if not own:
            return self
        values = {name: getattr(self, name) for name in self.model_fields_set - {"datasets"}}
        return FileSettings.parse(values | own)

    @field_validator("null", "partition", "sheet", "parent_key", mode="before", json_schema_input_type=str | list[str])
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("delimiter", "quote", "escape")
    @classmethod
    def _single(cls, value: str | None) -> str | None:
        value = {"tab": "\t", "\\t": "\t"}.get(value or "", value)
        if value and (len(value) > 1 or ord(value) > 126 or value in "\r\n"):
            raise ValueError("must be one ASCII character")
        return value

    @property
    def elsewhere(self) -> Address | None:
        """Where the files are; None if they are on this machine."""
        return parts_of(self, self.path) if self.address else None

    def identity(self) -> str:
        """The absolute path, or the server and the path there; of a query only a digest, for it may hold a key."""
        where = self.elsewhere
        if where is None:
            return f"file:{Path(self.path).absolute()}"
        home = f"{where.user}@" if where.path.startswith("~") else ""
        asked = f"?{sha256(where.query.encode()).hexdigest()[:12]}" if where.query else ""
        return f"{where.scheme}://{home}{where.authority}/{where.path}{asked}"

    def display(self) -> str:
        """See Endpoint.display."""
        where = self.elsewhere
        return self.identity() if where is None else f"{where.shown}/{where.path}"


def from_url(url: str) -> FileSettings:
    """`file:relative`, `file:///absolute`, `sftp://user@host/path` and so on, with settings after `?`, of http and
    https after `#` (`null` and `sheet` may repeat, `partition` and `parent_key` also hold commas;
    `types=code:string,weight:decimal(12,3)`, `layout=code:1-8,qty:9-16:int64:right`). Raises InvalidSettingsError."""
    scheme = url.partition(":")[0].lower()
    values: dict[str, Any]
    if scheme == "file":
        values, query = {"path": local_path(url)[0]}, url.partition("?")[2]
    elif scheme in _WEB:
        place, _, query = url.partition("#")
        values = dict(taken_apart(place))
    else:
        values, query = dict(taken_apart(url)), url.partition("?")[2]
    where = url if scheme == "file" else values["address"] + values["path"]  # fit for messages: no password, no key
    plain = query.replace("+", "%2B")  # keys in base64 have it; a blank is written %20
    for key, value in parse_qsl(plain, keep_blank_values=True, separator="&"):
        section, _, name = key.partition(".")
        if key == "types" and value != "text":
            values["types"] = _types(value, where)
        elif key == "layout":
            values[key] = _layout(value, where)
        elif key in ("partition", "parent_key"):
            values[key] = (*values.get(key, ()), *value.split(","))
        elif key in ("null", "sheet"):
            values[key] = (*values.get(key, ()), value)
        elif name:
            values.setdefault(section, {})[name] = value
        else:
            values[key] = value
    return FileSettings.parse(values, path=where)


def claims(url: str) -> bool:
    """Whether a URL means a file: of http and https those whose path ends as data files do, unless it is called as
    documents are that describe an API."""
    scheme, _, rest = url.partition(":")
    if scheme.lower() not in _WEB:
        return True
    path = Path(rest.partition("#")[0].partition("?")[0])
    return path.suffix.lower() in _DATA and not path.stem.lower().startswith(("openapi", "swagger", "api-docs"))


def _types(text: str, url: str) -> dict[str, str]:
    found = {match[1].strip(): match[2].strip() for match in _TYPE.finditer(text)}
    if "".join(match[0] for match in _TYPE.finditer(text)).rstrip(",") != text.rstrip(","):
        raise InvalidSettingsError(
            f"types: cannot read {text!r}", path=url, hint="write types=code:string,weight:decimal(12,3)"
        )
    return found


def _layout(text: str, url: str) -> list[dict[str, Any]]:
    found = list(_PLACE.finditer(text))
    if "".join(match[0] for match in found).rstrip(",") != text.rstrip(","):
        raise InvalidSettingsError(
            f"layout: cannot read {text!r}", path=url, hint="write layout=code:1-8,name:9-28,qty:29-36:int64:right"
        )
    return [
        {
            "name": match[1].strip(), "start": int(match[2]), "width": int(match[3]) - int(match[2]) + 1,
            "type": match[4] or "", "align": match[5] or "",
        }
        for match in found
    ]  # fmt: skip
