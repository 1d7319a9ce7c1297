"""Where a stream's rows will be: one file, or a folder of partitions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from tongqu.connectors.file.settings import FileSettings
from tongqu.core.errors import InvalidPlanError, SchemaError
from tongqu.kit import files
from tongqu.kit.formats import compression
from tongqu.kit.formats.columnar import ArrowFile, ParquetFile
from tongqu.kit.formats.csv import CsvFile
from tongqu.kit.formats.dialect import Dialect
from tongqu.kit.formats.documents_output import check_end
from tongqu.kit.formats.encoding import canonical
from tongqu.kit.formats.layout import checked
from tongqu.kit.formats.output import TEXT, Form
from tongqu.kit.formats.sheet_table import sheet_headings
from tongqu.kit.formats.workbook_output import headings

STATE = ".tongqu/files"
"""The folder beside the targets with locks, ledgers, unfinished parts and quarantine."""


@dataclass(frozen=True)
class Target:
    """The file (or, with `partition`, the folder) of one stream and how it is written."""

    path: Path
    form: Form
    partition: tuple[str, ...] = ()
    remote: str = ""
    """The path at the place where the target is, if it is elsewhere; `path` is then its image on this machine."""

    @property
    def temporary(self) -> Path:
        """Where the new content is put together, on the same file system."""
        return self.path.with_name(f".{self.path.name}.tongqu-new")

    @property
    def previous(self) -> Path:
        """The content before the last replace, kept for undo."""
        return self.path.with_name(f".{self.path.name}.previous")

    def check_append(self, schema: pa.Schema) -> None:
        """Raises SchemaError unless rows of the schema can follow the existing content."""
        if not has_content(self.path) or self.partition:
            return
        if self.form.format == "csv":
            found = self.csv_names(schema)
            fits = found == schema.names if self.form.dialect.header else len(found) == len(schema)
        elif self.form.format in ("json", "xml"):
            blocks = compression.inflate(self.path, self.form.compression)
            check_end(blocks, self.form.format, self.form.encoding, self.form.records)
            return
        elif self.form.format in ("jsonl", "fixed"):
            return
        elif self.form.format == "xlsx":
            found = sheet_headings(self.path)
            fits = found == headings(schema, self.form.headings)
        else:
            old = (ParquetFile if self.form.format == "parquet" else ArrowFile)(self.path).schema()
            found, fits = [f"{f.name} {f.type}" for f in old], old.equals(schema)
        if not fits:
            raise SchemaError(
                f"{self.path} has the columns {', '.join(found)}; arriving are "
                f"{', '.join(f'{f.name} {f.type}' for f in schema)}",
                hint="append needs the same columns; write replace, or another file",
            )

    def csv_names(self, schema: pa.Schema) -> list[str]:
        """The columns of a CSV file that is there."""
        d = self.form.dialect
        given = {"delimiter": d.delimiter, "quote": d.quote, "header": d.header, "null": d.null, "decimal": d.decimal}
        return list(CsvFile.detect(self.path, self.form.compression, self.form.encoding, given).names)


def has_content(path: Path) -> bool:
    """Whether a file is there that has at least one byte."""
    return path.is_file() and path.stat().st_size > 0


def root(settings: FileSettings, image: Path | None = None) -> Path:
    """The folder that holds the targets; of targets elsewhere the folder `image` with what becomes of them."""
    if image is not None:
        return image
    path = Path(settings.path)
    return path.parent if is_single(settings) else path


def is_single(settings: FileSettings) -> bool:
    """Whether the path names one file rather than a folder; raises InvalidPlanError for a glob."""
    path = settings.path
    if files.is_glob(path):
        raise InvalidPlanError(f"{path}: a glob cannot be written", hint="name a file, or a folder ending in /")
    folder = path.endswith("/") or (not settings.address and Path(path).is_dir())
    return not folder and files.kind(Path(path))[0] is not None


def target(settings: FileSettings, name: str, schema: pa.Schema, image: Path | None = None) -> Target:
    """The target of a dataset. Raises InvalidPlanError for partitions of a single file or by an unknown column."""
    single = is_single(settings)
    if settings.partition:
        unknown = [c for c in settings.partition if c not in schema.names]
        if single or unknown or len(settings.partition) >= len(schema):
            cause = (
                f"no column {unknown[0]!r}" if unknown else "the target is one file" if single else "no column is left"
            )
            raise InvalidPlanError(f"cannot partition {name}: {cause}", hint="partition by columns, into a folder")
    return existing(settings, name, image)


def existing(settings: FileSettings, name: str, image: Path | None = None) -> Target:
    """The target of a dataset that was written before; its schema is not needed."""
    path = Path(settings.path)
    sealed = files.is_sealed(path.name) or files.is_archive(path.name)
    if sealed:
        raise InvalidPlanError(f"{path.name}: archives and encrypted files are only read", hint="name a plain file")
    single = is_single(settings)
    found, packed = files.kind(path) if single else (None, None)
    form = _form(settings, found or "parquet", packed, path)
    if form.format == "xlsx" and not form.sheet:
        form = replace(form, sheet=files.stem(path) if single else name)
    if settings.partition:
        made = Target(path / _safe(name), form, settings.partition)
    else:
        made = Target(path if single else path / f"{_safe(name)}{form.extension}", form)
    if image is None:
        return made
    return replace(made, path=image / made.path.name, remote=str(made.path).strip("/"))


def _form(settings: FileSettings, found: str, packed: str | None, path: Path) -> Form:
    form = settings.format or ("fixed" if settings.layout and found in ("csv", "fixed", "parquet") else found)
    if form == "xlsx" and path.suffix.lower() in (".xls", ".xlsb", ".ods", ".xlsm"):
        raise InvalidPlanError(f"{path}: of workbooks only .xlsx is written", hint="name the target .xlsx")
    packed = packed if settings.compression is None else settings.compression
    packed = None if packed == "none" or form not in (*TEXT, "json", "xml") else packed
    encoding = canonical(settings.encoding or "utf-8")
    encoding = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(encoding, encoding)
    tabs = ".tsv" in [suffix.lower() for suffix in path.suffixes]
    dialect = Dialect(
        delimiter=settings.delimiter or ("\t" if tabs else ","),
        quote='"' if settings.quote is None else settings.quote,
        header=settings.header is not False,
        null=settings.null,
        decimal=settings.decimal,
    )
    return Form(
        form,
        packed,
        encoding,
        dialect,
        checked([one.column() for one in settings.layout]),
        settings.counted,
        settings.records,
        settings.sheet[0] if settings.sheet else "",
        settings.headings,
    )


def _safe(name: str) -> str:
    return name.replace("/", "_").lstrip("._") or "dataset"
