"""Settings of a SQLite file, and its URL form."""

from __future__ import annotations

from typing import Literal

from tongqu.core.settings import Endpoint, titled
from tongqu.kit.local_path import absolute, local_path


class SqliteSettings(Endpoint):
    """A SQLite database file."""

    path: str = titled("文件", "File", min_length=1)
    """Path of the file, relative to the project's folder; a sink creates it, a source never does."""
    busy_seconds: float = titled("锁等待(秒)", "Busy timeout, seconds", 5.0, ge=0)
    """Give up after waiting this long for another process that is writing the file."""
    journal: Literal["auto", "wal", "keep"] = titled("日志模式", "Journal", "auto")
    """`wal`: switch the file to write-ahead logging, so that readers and the writer do not block each other; `keep`:
    leave the file as it is; `auto`: WAL for files we create."""

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"sqlite://{absolute(self.path)}"

    def display(self) -> str:
        """See Endpoint.display."""
        return f"sqlite:{self.path}"


def from_url(url: str) -> SqliteSettings:
    """Settings from `sqlite:rel.db`, `sqlite:///abs.db` or `sqlite:////abs.db`, with settings as query parameters."""
    path, query = local_path(url)
    return SqliteSettings.parse({"path": path, **query}, "url")
