"""What a user says about an OData service: where it is, which entity sets are read, and how rows are written back."""

from __future__ import annotations

from typing import Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import model_validator

from tongqu.core.settings import Names, Settings, titled
from tongqu.kit.answers.increments import IncrementalSettings
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.remote.manner import Manner

_IN_URLS = ("page_size", "paging", "delta", "csrf", "batch")


class WriteSettings(Settings):
    """How the entities of a set are written."""

    update: bool = titled("更新", "Update", True)
    """Whether entities that are there are changed; without it new ones are appended only."""
    upsert: bool = titled("写入", "Upsert", False)
    """Whether a change of an entity that is not there creates it, so that nothing is looked up before (OData 4 allows
    it; SAP seldom does)."""
    delete: bool = titled("删除", "Delete", False)
    """Whether entities may be deleted. Without it nothing is deleted, and `replace` is refused."""
    method: Literal["merge", "patch", "put"] | None = titled("更新方法", "Method", None)
    """How an entity is changed: `merge` or `patch` only what is sent, `put` all of it. Left out: merge in version 2,
    patch in version 4."""
    fields: dict[str, str] = titled("字段映射", "Fields", {})
    """The properties' names of our fields: `{order_no: SalesOrder}`. Left out: all by their own names."""
    etag: bool | None = titled("校验 ETag", "ETag", None)
    """Whether a change reads the entity's ETag first and is refused if somebody changes it meanwhile. Left out: where
    the metadata or the service asks for it."""
    batch_size: int = titled("批大小", "Batch size", 100, ge=1, le=1000)
    """How many changes go in one `$batch`; 1: each is a call of its own."""
    changeset: Literal["row", "batch", "whole"] = titled("变更集", "Change set", "row")
    """What the service carries out all of or nothing: each `row` (many SAP services take no other), or all rows of a
    `batch`, which is tried again without the rows that it is refused for; with `whole` all of them are quarantined
    then, and a service that takes no batch is not written."""


class DatasetSettings(Settings):
    """One entity set, or a part of it."""

    path: str = titled("实体集", "Entity set", "")
    """The entity set. Left out: the dataset's name."""
    select: Names = titled("选择", "Select", ())
    """The properties to read. Left out: all."""
    expand: Names = titled("展开", "Expand", ())
    """Navigation properties that are read along (`to_Item`), as JSON or, with `nested: children`, as datasets."""
    filter: str = titled("过滤", "Filter", "")
    """Which entities are read, in OData's words: `SalesOrganization eq '1710'`."""
    order: str = titled("排序", "Order", "")
    """The order they are read in. Left out: by key, where pages are asked for by number."""
    incremental: IncrementalSettings | None = titled("增量", "Incremental", None)
    """How the service is asked for changes; only `cursor` must be said, the filter follows from its type."""
    key: Names = titled("键", "Key", ())
    """The properties that tell entities apart. Left out: the key of the metadata."""
    types: dict[str, str] = titled("类型", "Types", {})
    """Types of properties, where the metadata's are not wanted."""
    nested: Literal["json", "children", "columns"] = titled("嵌套", "Nested", "json")
    """Nested values: `json` text, lists as `children` (datasets of their own), or nested `columns`."""
    paging: Literal["server", "client"] | None = titled("分页", "Paging", None)
    """See the connection's. Left out: the connection's."""
    page_size: int | None = titled("页大小", "Page size", None, ge=1)
    """Entities a page. Left out: the connection's."""
    params: dict[str, str] = titled("参数", "Parameters", {})
    """Other parameters of every call."""
    title: str = titled("名称", "Title", "")
    """What it is called by people. Left out: its label in the metadata."""
    write: WriteSettings = titled("写回", "Write", WriteSettings())
    """How entities are written back."""


class ODataSettings(HttpSettings):
    """An OData service, by the address of its root."""

    datasets: dict[str, DatasetSettings] = titled("数据集", "Datasets", {})
    """The datasets by name. Left out: all entity sets of the service."""
    paging: Literal["server", "client"] = titled("分页", "Paging", "server")
    """`server`: links that the service gives (`__next`, `@odata.nextLink`) are followed; `client`: pages are asked for
    with `$top` and `$skip` in the order of the key, for services that give a long list at once or not at all."""
    page_size: int = titled("页大小", "Page size", 1000, ge=1, le=100_000)
    """Entities a page; of pages that the service cuts, what is asked for (`odata.maxpagesize`)."""
    delta: bool = titled("变更跟踪", "Delta links", False)
    """Incremental reads follow the service's delta links (version 4: `odata.track-changes`; version 2: `__delta` with
    `!deltatoken`, as SAP has it) and need no cursor. Deleted entities come as rows with `@removed`, the reason, of
    which all but the key is null. After a link that the service has forgotten all entities are read again, and the run
    needs attention."""
    csrf: Literal["auto", "off"] = titled("CSRF 令牌", "CSRF token", "auto")
    """`auto` fetches a token before the first change (`X-CSRF-Token: Fetch`) and sends it with every one, if the
    service gives any; `off` does not."""
    batch: Literal["auto", "multipart", "json", "off"] = titled("批量调用", "Batches", "auto")
    """How several changes go in one call: `multipart`, or in version 4 `json`; `auto` tries both, and single calls
    where the service takes neither; `off` sends each change by itself."""
    metadata_file: str | None = titled("元数据文件", "Metadata file", None)
    """The service's $metadata as a file, where it cannot be asked for. Left out: the service is asked."""
    calls: Manner = titled("写回方式", "Calls", Manner())
    """How rows become calls when they are written back, and what happens to calls whose outcome nobody knows."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.delta and self.paging == "client":
            raise ValueError("delta links come with the service's own pages: paging: server")
        for name, one in self.datasets.items():
            if self.batch == "off" and one.write.changeset == "whole":
                raise ValueError(f"datasets.{name}: a whole change set needs batches")
            if self.delta and one.paging == "client":
                raise ValueError(f"datasets.{name}: delta links come with the service's own pages: paging: server")
            if self.delta and one.incremental is not None:
                raise ValueError(f"datasets.{name}: delta links need no `incremental`")
            if one.nested == "columns" and one.expand:
                raise ValueError(f"datasets.{name}: expanded properties are `json` or `children`")
        return self


def from_url(url: str) -> ODataSettings:
    """`odata+https://user:password@host/sap/opu/odata/sap/API_X_SRV?sap-client=100&page_size=500`: parameters that are
    no settings go with every call; raises InvalidSettingsError."""
    parts = urlsplit(url)
    scheme = parts.scheme.removeprefix("odata+")
    host = parts.netloc.rpartition("@")[2]
    said = dict(parse_qsl(parts.query, keep_blank_values=True))
    values: dict[str, Any] = {"base_url": f"{scheme}://{host}{parts.path}"}
    values |= {name: said.pop(name) for name in _IN_URLS if name in said}
    if said:
        values["query"] = said
    if parts.username:
        values["auth"] = {"basic": {"user": unquote(parts.username), "password": unquote(parts.password or "")}}
    return ODataSettings.parse(values, path=f"{parts.scheme}://{host}{parts.path}")
