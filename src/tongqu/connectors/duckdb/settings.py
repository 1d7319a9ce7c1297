"""Settings of a DuckDB file, and its URL form."""

from __future__ import annotations

from tongqu.core.settings import Endpoint, titled
from tongqu.kit.local_path import absolute, local_path


class DuckdbSettings(Endpoint):
    """A DuckDB database file. While a process writes it no other process can open it."""

    path: str = titled("文件", "File", min_length=1)
    """Path of the file, relative to the project's folder; a sink creates it, a source never does."""
    memory: str = titled("内存上限", "Memory limit", "1GB", pattern=r"^\d+(\.\d+)?\s*(KB|MB|GB|TB|KiB|MiB|GiB|TiB)$")
    """How much memory DuckDB may use before it spills to disk."""
    threads: int | None = titled("线程数", "Threads", None, ge=1)
    """Threads of the engine; empty means one per processor."""

    def identity(self) -> str:
        """See Endpoint.identity."""
        return f"duckdb://{absolute(self.path)}"

    def display(self) -> str:
        """See Endpoint.display."""
        return f"duckdb:{self.path}"


def from_url(url: str) -> DuckdbSettings:
    """Settings from `duckdb:rel.duckdb`, `duckdb:///abs` or `duckdb:////abs`, with settings as query parameters."""
    path, query = local_path(url)
    return DuckdbSettings.parse({"path": path, **query}, "url")
