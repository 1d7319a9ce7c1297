"""Files: CSV, JSON, XML, workbooks, fixed width, Parquet, Arrow; one, many by glob, or partitioned by folder."""

from __future__ import annotations

from tongqu.connectors.file.settings import FileSettings, from_url
from tongqu.core.connector import Can, Connector, Sink, Source, Types


def _source(settings: FileSettings) -> Source:
    from tongqu.connectors.file.source import FileSource

    return FileSource(settings)


def _sink(settings: FileSettings) -> Sink:
    from tongqu.connectors.file.sink import FileSink

    return FileSink(settings)


def _types() -> Types:
    from tongqu.connectors.file.table import types

    return types


connector = Connector(
    name="file",
    title={"zh": "文件", "en": "Files"},
    settings=FileSettings,
    can=Can.READ
    | Can.WRITE
    | Can.RESUME
    | Can.SPLITS
    | Can.COPY_OUT
    | Can.APPEND
    | Can.REPLACE
    | Can.TRANSACTIONS
    | Can.ONE_WRITER,
    schemes=("file",),
    from_url=from_url,
    source=_source,
    sink=_sink,
    types=_types,
    label="real",
    guarantee={
        "zh": "恰好一次: 行、隔离行、计数与位点一次改名生效, 结束时可见; 读取可续传, 文件变更即停",
        "en": "exactly-once effect: rows, quarantine, counts and checkpoint become visible by one rename at the end; "
        "reads resume after any batch and stop if a file changed",
    },
    systems=(
        "CSV and TSV in UTF-8, GB18030, UTF-16 and others, gz, zst (real)",
        "JSON Lines, JSON documents with records anywhere (real)",
        "XML without document types (real)",
        "Excel .xlsx (real); .xls .xlsb .ods are read only, error cells in them come as empty (compatible)",
        "Fixed width by bytes or characters (real)",
        "Parquet (real)",
        "Arrow IPC, Feather 2 (real)",
    ),
)
