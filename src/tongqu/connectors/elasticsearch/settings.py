"""What a user says about an Elasticsearch or OpenSearch cluster: where it is, and which documents are read."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tongqu.core.settings import Names, Settings, titled
from tongqu.kit.answers.increments import IncrementalSettings
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.remote.manner import Manner


class DatasetSettings(Settings):
    """The documents of an index, or a part of them."""

    index: str = titled("索引", "Index", "")
    """The index, alias, data stream or pattern (`logs-*`). Left out: the dataset's name."""
    query: dict[str, Any] | None = titled("查询", "Query", None)
    """Which documents are read, in the query language: `{term: {plant: P1}}`. Left out: all."""
    order: Names = titled("排序", "Order", ())
    """Fields to sort by, which together no two documents may share. Reads are then cut by their values and need no
    point in time. Left out: a point in time where the server has them, else `_id`."""
    key: Names = titled("键", "Key", ())
    """The fields that tell documents apart. Left out: `_id`, or the key that Tongqu wrote the index by."""
    with_id: bool | None = titled("包含 _id", "With _id", None)
    """Whether `_id` is a column. Left out: unless Tongqu made the index, or `key` is given."""
    types: dict[str, str] = titled("类型", "Types", {})
    """Types of fields, where the mapping's are not wanted: `{tags: json, amount: "decimal(12,2)"}`."""
    incremental: IncrementalSettings | None = titled("增量", "Incremental", None)
    """How changed documents are asked for; only `cursor` must be said, the range query follows from its type."""
    title: str = titled("名称", "Title", "")
    """What it is called by people."""


class ElasticsearchSettings(HttpSettings):
    """An Elasticsearch or OpenSearch cluster, by the address of its HTTP API."""

    datasets: dict[str, DatasetSettings] = titled("数据集", "Datasets", {})
    """The datasets by name. Left out: all indices that are not hidden (`.name`)."""
    page_size: int = titled("页大小", "Page size", 1000, ge=1, le=10_000)
    """Documents a page; 10,000 is the most that servers give unless they are told otherwise."""
    keep_alive: str = titled("保持时间", "Keep alive", "10m", pattern=r"^\d+[smhd]$")
    """How long the server keeps a point in time between two pages. A read that stopped can go on within that time."""
    bulk_rows: int = titled("每批行数", "Bulk rows", 1000, ge=1, le=10_000)
    """Most documents that one bulk call writes."""
    calls: Manner = titled("写回方式", "Calls", Manner())
    """How rows become calls when they are written, and what happens to calls whose outcome nobody knows."""

    def dataset(self, name: str) -> DatasetSettings:
        """What is said of a dataset."""
        return self.datasets.get(name, DatasetSettings())


def from_url(url: str) -> ElasticsearchSettings:
    """`elasticsearch+https://user:password@host:9200?page_size=500`, the same with `opensearch+`; raises
    InvalidSettingsError."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    values: dict[str, Any] = {"base_url": f"{parts.scheme.partition('+')[2]}://{host}{parts.path.rstrip('/')}"}
    values |= dict(parse_qsl(parts.query))
    if parts.username:
        values["auth"] = {"basic": {"user": unquote(parts.username), "password": unquote(parts.password or "")}}
    return ElasticsearchSettings.parse(values, path=f"{parts.scheme}://{host}{parts.path}")
