"""What a user says about a REST API: where it is, and which lists of records it has."""

from __future__ import annotations

import re
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import field_validator, model_validator

from tongqu.core.errors import InvalidSettingsError
from tongqu.core.settings import Names, Pairs, Settings, titled
from tongqu.kit.answers.paging import PagingSettings
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.lists.settings import ListSettings
from tongqu.kit.remote.manner import Manner

_DOCUMENT = re.compile(r"(openapi|swagger|api-docs)[\w.-]*(\.json|\.ya?ml)?", re.IGNORECASE)


class OperationSettings(Settings):
    """A call that changes one record or several."""

    method: Literal["POST", "PUT", "PATCH", "DELETE"] = titled("方法", "Method")
    """The HTTP method."""
    path: str = titled("路径", "Path", "")
    """The path; `{name}` stands for a field of the record, `{@id}` for the identifier that the API gave it. Left out:
    the dataset's own."""
    body: Any = titled("正文", "Body", None)
    """The JSON that is sent: `"{name}"` stands for a field's value, `"{*}"` for the whole record; with `batch` this is
    one item. Left out: the record."""
    fields: Pairs = titled("字段映射", "Fields", {})
    """The record's names of our fields: `{lot_no: lotNo}`; a list keeps the names. Left out: all by their own names."""
    texts: Names = titled("按文本发送", "Texts", ())
    """Our fields that the API takes as text though they are numbers or booleans here (`"12.50"`). Fields whose type is
    given as `string` always are."""
    batch: int = titled("每批条数", "Batch", 1, ge=1, le=10_000)
    """How many records one call takes."""
    items: str = titled("批正文位置", "Items", "")
    """With `batch`: keys that lead to the array of records in the body (`data.items`); empty: the body is the array."""
    results: str = titled("逐条结果", "Results", "")
    """Where the answer holds one result an item, in the order of the items: keys with points between them."""
    ok: str = titled("成功标志", "Ok", "")
    """In a result the key that says whether the item went through: `success`, `status=200`, `code=0`."""
    error: str = titled("错误信息", "Error", "message")
    """In a result (or a refusal's body) the key that holds what is wrong."""
    id: str = titled("新标识", "Id", "id")
    """In a result or the answer the key that holds the record's identifier there."""


class LookSettings(Settings):
    """A reading call for one record."""

    path: str = titled("路径", "Path")
    """The path for GET; `{name}` stands for a field of the record's key. 404 means that it is not there."""
    results: str = titled("记录位置", "Results", "")
    """Where the answer holds the record, or an array with it: keys with points between them. Left out: the answer is
    it. An empty object or array means that it is not there."""


class WriteSettings(Settings):
    """How records are written."""

    create: OperationSettings | None = titled("新增", "Create", None)
    """A new record."""
    update: OperationSettings | None = titled("更新", "Update", None)
    """A record that is there."""
    delete: OperationSettings | None = titled("删除", "Delete", None)
    """A record that must go. Without it nothing is deleted, and `replace` is refused."""
    upsert: OperationSettings | None = titled("写入", "Upsert", None)
    """One call for both: `PUT /orders/{order_no}`. Used instead of create and update for `upsert`."""
    look: LookSettings | None = titled("回读", "Look", None)
    """How it is found out whether a record is there: before an update, and after a call whose outcome is unknown."""
    undo: dict[Literal["create", "update", "upsert", "delete"], OperationSettings] = titled("撤销", "Undo", {})
    """For each kind of change the call that takes it back, where a group half failed: `{create: {method: DELETE, path:
    "/orders/{id}"}}`."""
    key_honoured: bool = titled("认幂等键", "Key honoured", False)
    """Whether the API knows a call again by its idempotency key, so that it may be repeated after a lost answer."""


class DatasetSettings(ListSettings):
    """One list of records of the API."""

    write: WriteSettings | None = titled("写回", "Write", None)
    """How records are written back."""


class RestSettings(HttpSettings):
    """A REST API: HTTP calls that answer with JSON, XML or CSV."""

    profile: str = titled("系统模板", "Profile", "")
    """A ready-made description of the API (`dingtalk`; `tongqu connectors` lists them) or a file `*.yaml` of your own;
    it asks for settings of its own and gives all others, over which those that stand here win."""
    base_url: str = titled("地址", "Base URL", "")
    """Address that paths are appended to: https://mes.example/api. Left out: the one that the document names."""
    openapi: str = titled("OpenAPI 文档", "OpenAPI document", "")
    """File or URL of an OpenAPI 3 or Swagger 2 document, whose lists become datasets."""
    postman: str = titled("Postman 集合", "Postman collection", "")
    """File of a Postman collection (v2.1), whose reading calls become datasets."""
    datasets: dict[str, DatasetSettings] = titled("数据集", "Datasets", {})
    """The lists of records by name; what is said here adds to what a document says."""
    paging: PagingSettings = titled("分页", "Paging", PagingSettings())
    """How lists are cut into pages, where a dataset says nothing else."""
    calls: Manner = titled("写回方式", "Calls", Manner())
    """How rows become calls when they are written back, and what happens to calls whose outcome nobody knows."""
    sample_pages: int = titled("采样页数", "Sampled pages", 1, ge=1, le=100)
    """How many pages are looked at to find the fields of a dataset whose fields are not given."""

    @model_validator(mode="before")
    @classmethod
    def _by_profile(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not values.get("profile"):
            return values
        from tongqu.kit.profiles.expanding import expanded
        from tongqu.kit.profiles.profile import profile

        return expanded(profile(str(values["profile"])), values)

    @field_validator("paging", mode="before", json_schema_input_type=PagingSettings | str)
    @classmethod
    def _kind(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        return HttpSettings._address(value) if value else value

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not self.base_url and not self.openapi:
            raise ValueError("base_url or openapi is needed")
        return self

    def identity(self) -> str:
        """See Endpoint.identity."""
        return super().identity() if self.base_url else f"openapi:{self.openapi.partition('?')[0]}"


def from_url(url: str) -> RestSettings:
    """`https://host/api/items?status=open#key=id&paging=cursor&paging.next=meta.next`: one dataset, called as the last
    part of the path; what stands after `#` are settings of it. The address of an OpenAPI document gives its datasets.
    User and password become HTTP Basic. Raises InvalidSettingsError."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    folder, _, last = parts.path.rstrip("/").rpartition("/")
    values: dict[str, Any] = {"base_url": f"{parts.scheme}://{host}{folder}"}
    if parts.username:
        user, password = unquote(parts.username), unquote(parts.password or "")
        values["auth"] = {"basic": {"user": user, "password": password}}
    if last and _DOCUMENT.fullmatch(last):
        return RestSettings.parse(
            {**values, "base_url": "", "openapi": f"{parts.scheme}://{host}{parts.path}"}, path=host
        )
    dataset: dict[str, Any] = {"path": f"/{last}" if last else "", "params": dict(parse_qsl(parts.query))}
    for name, value in parse_qsl(parts.fragment, keep_blank_values=True):
        _set(dataset, name, value)
    shown = f"{parts.scheme}://{host}{parts.path}"
    name = re.sub(r"[^\w-]+", "_", unquote(last)).strip("_") or re.sub(r"\W+", "_", parts.hostname or "data")
    try:
        return RestSettings.parse({**values, "datasets": {name: dataset}}, path=shown)
    except InvalidSettingsError as error:
        error.hint = error.hint or "settings of a URL stand after #: #records=data.items&key=id&paging=link"
        raise


def _set(values: dict[str, Any], name: str, value: str) -> None:
    *above, last = name.split(".")
    for one in above:
        held = values.setdefault(one, {})
        values[one] = held if isinstance(held, dict) else {"kind": held}
        values = values[one]
    values[last] = value.split(",") if last == "key" else value
