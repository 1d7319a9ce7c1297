"""What a user can say about files: where they are and how they are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

from pydantic import field_validator

from tongqu.core.connector import Endpoint
from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import titled
from tongqu.kit.local_path import local_path

_TYPE = re.compile(r"([^:,]+):([^,(]+(?:\([^)]*\))?)(?:,|$)")


class FileSettings(Endpoint):
    """A file, a glob or a folder, and how its files are written. What is left out is detected."""

    path: str = titled("路径", "Path")
    """A file (`orders.csv.gz`), a glob (`data/**/*.parquet`) or a folder (`data/`, `data/year=2026/…` partitions)."""
    format: Literal["csv", "jsonl", "parquet", "arrow"] | None = titled("格式", "Format", None)
    """Left out: by the extension; a target folder gets parquet."""
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
    header: bool | None = titled("表头", "Header", None)
    """Whether the first record names the columns. Left out: detected when reading, written when writing."""
    null: tuple[str, ...] = titled("空值", "Null", ("",))
    """Unquoted texts that mean null; given ones replace the default (the empty text). A quoted `""` is a text."""
    decimal: Literal[".", ","] = titled("小数点", "Decimal point", ".")
    """The character before decimals."""
    skip_rows: int = titled("跳过行数", "Skipped rows", 0, ge=0)
    """Lines above the header that are no data."""
    types: Literal["text"] | dict[str, str] = titled("类型", "Types", {})
    """Column types that are not inferred (`{code: string, weight: "decimal(12,3)"}`), or `text` for all."""
    infer: Literal["sample", "all"] = titled("推断", "Inference", "sample")
    """What column types are inferred from: a sample of files beyond 32 MiB (a row that contradicts it is quarantined),
    or all of every file, which takes longer."""
    partition: tuple[str, ...] = titled("分区", "Partition", ())
    """Columns that become `column=value` folders when writing to a folder."""

    @field_validator("null", "partition", mode="before")
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

    def identity(self) -> str:
        """The absolute path."""
        return f"file:{Path(self.path).absolute()}"


def from_url(url: str) -> FileSettings:
    """`file:relative`, `file:///absolute`, with settings after `?` (`null` and `partition` may repeat or hold commas;
    `types=code:string,weight:decimal(12,3)`). Raises InvalidSettingsError."""
    values: dict[str, Any] = {"path": local_path(url)[0]}
    query = url.partition("?")[2]
    for key, value in parse_qsl(query, keep_blank_values=True, separator="&"):
        if key == "types" and value != "text":
            values["types"] = _types(value, url)
        elif key == "partition":
            values[key] = (*values.get(key, ()), *value.split(","))
        elif key == "null":
            values[key] = (*values.get(key, ()), value)
        else:
            values[key] = value
    return FileSettings.parse(values, path=url)


def _types(text: str, url: str) -> dict[str, str]:
    found = {match[1].strip(): match[2].strip() for match in _TYPE.finditer(text)}
    if "".join(match[0] for match in _TYPE.finditer(text)).rstrip(",") != text.rstrip(","):
        raise InvalidSettingsError(
            f"types: cannot read {text!r}", path=url, hint="write types=code:string,weight:decimal(12,3)"
        )
    return found
