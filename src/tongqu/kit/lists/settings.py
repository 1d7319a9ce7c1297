"""What a user says about a list of records behind calls: how it is asked for, cut into pages and read."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from tongqu.core.settings import Names, Pairs, Settings, titled
from tongqu.kit.answers.increments import IncrementalSettings
from tongqu.kit.answers.paging import PagingSettings

_HOLE = re.compile(r"\{(\w+)\}")


class ParentSettings(Settings):
    """The dataset whose records a path is asked for one by one."""

    dataset: str = titled("父数据集", "Dataset")
    """Its name in this connection."""
    values: dict[str, str] = titled("取值", "Values")
    """For each name in the path's braces the parent's field that fills it: `{order_id: id}`."""
    keep: Pairs = titled("保留字段", "Keep", {})
    """Fields of the parent that each record gets: `{order_no: no}`. Left out: `values`, by the names in the braces."""


class ListSettings(Settings):
    """One list of records of the API."""

    path: str = titled("路径", "Path", "")
    """The path after the base URL (`/orders`) or a whole URL; `{name}` is filled from `parent` or `params`."""
    method: Literal["GET", "POST"] = titled("方法", "Method", "GET")
    """How it is asked for; POST for APIs that take a query as a body."""
    params: dict[str, str | int | float | bool] = titled("参数", "Parameters", {})
    """Query parameters of every call; those named in the path's braces go there."""
    body: Any = titled("正文", "Body", None)
    """The JSON body of a POST. Paging and incremental parameters are put into it, at keys with points between them; a
    text `"{name}"` is filled from `parent`, as in the path."""
    headers: dict[str, str] = titled("请求头", "Headers", {})
    """Headers of every call."""
    records: str | None = titled("记录位置", "Records", None)
    """Where the records stand in an answer: keys (`data.items`), JSONPath (`$.data[*].lines[*]`) or JMESPath; an
    element's name or path in XML; empty for the whole answer. Left out: found in the first answer."""
    format: Literal["json", "ndjson", "xml", "csv"] | None = titled("格式", "Format", None)
    """What answers are. Left out: by their content type."""
    paging: PagingSettings | None = titled("分页", "Paging", None)
    """How the list is cut into pages; a name alone is a kind: `paging: link`. Left out: the connection's."""
    incremental: IncrementalSettings | None = titled("增量", "Incremental", None)
    """How the API is asked for changed records."""
    key: Names = titled("键", "Key", ())
    """The fields that tell records apart."""
    fields: dict[str, str] = titled("字段", "Fields", {})
    """All fields and their types (`{id: int64, weight: "decimal(12,3)"}`); others that come are left out. Left out:
    found by looking at the first page."""
    trust: bool = titled("信任字段", "Trust", True)
    """Whether `fields` are certain. If not, the first page corrects types that its values do not fit: documents are
    often wrong about them."""
    types: dict[str, str] = titled("类型", "Types", {})
    """Types of single fields that are not to be found by looking."""
    titles: dict[str, str] = titled("标题", "Titles", {})
    """What fields are called by people."""
    classes: dict[str, Literal["public", "internal", "personal", "sensitive", "secret"]] = titled("类别", "Classes", {})
    """Who may see fields: `{phone: personal}`."""
    units: dict[str, str] = titled("单位", "Units", {})
    """Units of numbers: `{weight: kg}`."""
    nested: Literal["json", "children", "columns"] = titled("嵌套", "Nested", "json")
    """Nested values: `json` text, arrays as `children` (datasets of their own, `orders.items`; needs `key`), or nested
    `columns`."""
    others: Literal["error", "ignore"] | None = titled("未知字段", "Unknown fields", None)
    """What a field that is not known means: its record is quarantined (`error`) or it is left out (`ignore`). Left
    out: `ignore` where `fields` are given, else `error`."""
    parent: ParentSettings | None = titled("父数据集", "Parent", None)
    """Another dataset whose records fill the path's braces."""
    cache_seconds: float | None = titled("缓存(秒)", "Cache, seconds", None, ge=0)
    """How old a kept answer may be, for reference data that seldom changes. Left out: the connection's rule."""
    title: str = titled("名称", "Title", "")
    """What it is called by people."""
    errors: str = titled("错误位置", "Errors", "")
    """Where an answer lists errors even if it holds records too (`errors` of GraphQL): keys with points between them.
    Such an answer fails the read."""

    repeats: Names = titled("重复元素", "Repeats", ())
    """Elements of XML records that may repeat, as paths below the record (`lines/line`): they are always lists. Others
    are where they repeat in the first answer."""

    @field_validator("paging", mode="before", json_schema_input_type=PagingSettings | str | None)
    @classmethod
    def _kind(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        filled = set(self.params) | set(self.parent.values if self.parent else ())
        if missing := [name for name in _HOLE.findall(self.path) if name not in filled]:
            raise ValueError(f"{{{missing[0]}}} in the path is filled by nothing: give it under params or parent")
        if self.nested == "children" and not self.key:
            raise ValueError("nested: children needs `key`, by which children know their parent")
        if self.method == "GET" and self.body is not None:
            raise ValueError("a body needs `method: POST`")
        return self
