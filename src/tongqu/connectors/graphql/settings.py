"""What a user says about a GraphQL API: where it is, which lists it has and how rows are written back."""

from __future__ import annotations

from typing import Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import model_validator

from tongqu.core.settings import Names, Settings, titled
from tongqu.kit.answers.increments import IncrementalSettings
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.remote.manner import Manner

Paging = Literal["relay", "offset", "page", "none"]


class MutationSettings(Settings):
    """A mutation that changes one record."""

    mutation: str = titled("变更", "Mutation")
    """Its field in the schema: `createOrder`."""
    variables: dict[str, Any] = titled("变量", "Variables", {})
    """Its arguments: `"{name}"` stands for a field's value, `"{*}"` for the whole record. Left out: the record as its
    only argument that is no identifier (`input`, `data`), and arguments that are called like fields."""
    fields: dict[str, str] = titled("字段映射", "Fields", {})
    """The record's names of our fields: `{lot_no: lotNo}`. Left out: all by their own names."""
    select: str = titled("返回字段", "Select", "")
    """What is asked of the answer, in GraphQL: `order { id } userErrors { message }`. Left out: its scalars, two levels
    deep."""
    errors: str = titled("错误位置", "Errors", "")
    """Where the answer lists what it refuses: keys with points between them. Left out: `userErrors` or `errors`, if it
    has them."""
    id: str = titled("新标识", "Id", "")
    """Where the answer holds the record's identifier there: `order.id`. Left out: the first `id` in it."""


class LookSettings(Settings):
    """A query that tells whether a record is there."""

    field: str = titled("字段", "Field")
    """A field of the query type that gives one record, or null: `order`."""
    variables: dict[str, Any] = titled("变量", "Variables", {})
    """Its arguments, `"{name}"` for a field's value. Left out: arguments that are called like fields."""


class WriteSettings(Settings):
    """How records are written."""

    create: MutationSettings | None = titled("新增", "Create", None)
    """A new record."""
    update: MutationSettings | None = titled("更新", "Update", None)
    """A record that is there."""
    upsert: MutationSettings | None = titled("写入", "Upsert", None)
    """One mutation for both."""
    delete: MutationSettings | None = titled("删除", "Delete", None)
    """A record that must go. Without it nothing is deleted, and `replace` is refused."""
    look: LookSettings | None = titled("回读", "Look", None)
    """Tells whether a record is there: before an update, and after a call whose outcome is unknown."""
    undo: dict[Literal["create", "update", "upsert", "delete"], MutationSettings] = titled("撤销", "Undo", {})
    """For each kind of change the mutation that takes it back, where a group half failed; `"{@id}"` is the identifier
    that the API gave."""
    key_honoured: bool = titled("认幂等键", "Key honoured", False)
    """Whether the API knows a call again by its idempotency key, so that it may be repeated after a lost answer."""


class DatasetSettings(Settings):
    """One list of the API."""

    field: str = titled("字段", "Field", "")
    """The field of the query type that gives the list, keys with points between them (`viewer.orders`). Left out: the
    dataset's name."""
    select: Names = titled("选择", "Select", ())
    """Fields to ask for (`id`, `customer.name`). Left out: all scalars, and those of single objects `depth` deep."""
    depth: int | None = titled("深度", "Depth", None, ge=1, le=8)
    """How deep fields are asked for. Left out: the connection's."""
    arguments: dict[str, Any] = titled("参数", "Arguments", {})
    """Values of the field's arguments: `{filter: {status: OPEN}}`."""
    paging: Paging | None = titled("分页", "Paging", None)
    """`relay` (first, after and pageInfo), `offset` (offset and limit), `page` (page numbers), `none`. Left out: by the
    field's arguments."""
    page_size: int | None = titled("页大小", "Page size", None, ge=1)
    """Records a page. Left out: the connection's."""
    incremental: IncrementalSettings | None = titled("增量", "Incremental", None)
    """How the API is asked for changed records; `param` is an argument, keys with points between them:
    `filter.updatedAt.gte`."""
    key: Names = titled("键", "Key", ())
    """The fields that tell records apart. Left out: `id`, if there is one that cannot be null."""
    types: dict[str, str] = titled("类型", "Types", {})
    """Types of fields that the schema leaves open (`{weight: "decimal(12,3)"}`): scalars of the vendor's own."""
    nested: Literal["json", "children", "columns"] = titled("嵌套", "Nested", "json")
    """Nested values: `json` text, lists as `children` (datasets of their own; needs `key`), or nested `columns`."""
    cache_seconds: float | None = titled("缓存(秒)", "Cache, seconds", None, ge=0)
    """How old a kept answer may be. Left out: the connection's rule."""
    title: str = titled("名称", "Title", "")
    """What it is called by people."""
    write: WriteSettings | None = titled("写回", "Write", None)
    """How records are written back."""


class GraphqlSettings(HttpSettings):
    """A GraphQL API: queries made from its schema."""

    schema_file: str | None = titled("模式文件", "Schema file", None)
    """The schema as SDL (.graphql) or as an introspection's answer (.json), for APIs that do not answer introspection.
    Left out: the API is asked."""
    datasets: dict[str, DatasetSettings] = titled("数据集", "Datasets", {})
    """The lists by name. Left out: every field of the query type that gives a list and needs no argument."""
    depth: int = titled("深度", "Depth", 2, ge=1, le=8)
    """How deep fields are asked for: 1 is the record's own scalars."""
    page_size: int = titled("页大小", "Page size", 100, ge=1, le=10_000)
    """Records a page."""
    calls: Manner = titled("写回方式", "Calls", Manner())
    """How rows become calls when they are written back, and what happens to calls whose outcome nobody knows."""

    @model_validator(mode="after")
    def _keyed(self) -> Self:
        for name, one in self.datasets.items():
            if one.nested == "children" and not one.key:
                raise ValueError(f"datasets.{name}: nested: children needs `key`, by which children know their parent")
        return self


def from_url(url: str) -> GraphqlSettings:
    """`graphql+https://user:password@host/graphql?depth=3&page_size=50`; raises InvalidSettingsError."""
    parts = urlsplit(url)
    scheme = parts.scheme.removeprefix("graphql+")
    host = parts.netloc.rpartition("@")[2]
    values: dict[str, Any] = {"base_url": f"{scheme}://{host}{parts.path}", **dict(parse_qsl(parts.query))}
    if parts.username:
        values["auth"] = {"basic": {"user": unquote(parts.username), "password": unquote(parts.password or "")}}
    return GraphqlSettings.parse(values, path=f"{parts.scheme}://{host}{parts.path}")
