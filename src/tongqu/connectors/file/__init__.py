"""Files here or on servers: CSV, JSON, XML, workbooks, fixed width, Parquet, Arrow; one, many by glob, or by folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tongqu.connectors.file.settings import FileSettings, claims, from_url
from tongqu.core.connector import Can, Connector, Sink, Source, Types

if TYPE_CHECKING:
    from tongqu.core.server import Server


def _source(settings: FileSettings) -> Source:
    from tongqu.connectors.file.source import FileSource

    return FileSource(settings)


def _sink(settings: FileSettings) -> Sink:
    from tongqu.connectors.file.sink import FileSink

    return FileSink(settings)


def _server(settings: FileSettings) -> Server:
    from tongqu.connectors.file.serving import FileServer

    return FileServer(settings)


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
    | Can.TRACKS
    | Can.SPLITS
    | Can.COPY_OUT
    | Can.APPEND
    | Can.REPLACE
    | Can.TRANSACTIONS
    | Can.ONE_WRITER
    | Can.STREAM
    | Can.SERVES,
    schemes=("file", "sftp", "ftp", "ftps", "s3", "webdav", "davs", "smb", "http", "https", "imap", "imaps"),
    claims=claims,
    from_url=from_url,
    source=_source,
    sink=_sink,
    server=_server,
    types=_types,
    label="real",
    guarantee={
        "zh": "恰好一次: 行、隔离行、计数与位点一次改名生效, 结束时可见; 读取可续传, 文件变更即停; 别处的文件: "
        "账本在项目主目录, 两个项目同写一个目标时后开者接管",
        "en": "exactly-once effect: rows, quarantine, counts and checkpoint become visible by one rename at the end; "
        "reads resume after any batch and stop if a file changed; elsewhere the ledger is in the project's home, and "
        "of two projects that write one target the later takes it over",
    },
    systems=(
        "CSV and TSV in UTF-8, GB18030, UTF-16 and others, gz, zst (real)",
        "JSON Lines, JSON documents with records anywhere (real)",
        "XML without document types (real)",
        "Excel .xlsx (real); .xls .xlsb .ods are read only, error cells in them come as empty (compatible)",
        "Fixed width by bytes or characters (real)",
        "Parquet (real)",
        "Arrow IPC, Feather 2 (real)",
        "zip and tar archives, read only (real); OpenPGP, read only (real)",
        "SFTP: OpenSSH 9.2 (real)",
        "FTP and FTPS: vsftpd 3.0 (real)",
        "SMB: Samba 4.17 (real)",
        "WebDAV and HTTP: wsgidav 4.4 (compatible)",
        "S3: moto 5.2 (mock)",
    ),
)
