"""What a user says about a SOAP service: its WSDL, which operations give lists, and how rows are written back."""

from __future__ import annotations

from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import field_validator, model_validator

from tongqu.core.settings import Names, Secret, Settings, titled
from tongqu.kit.answers.increments import IncrementalSettings
from tongqu.kit.answers.paging import PagingSettings
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.remote.manner import Manner


class Security(Settings):
    """WS-Security of every call: who calls, and a signature of what is said."""

    user: str = titled("用户名", "User", "")
    """User of the UsernameToken."""
    password: Secret | None = titled("密码", "Password", None)
    """Its password."""
    digest: bool = titled("摘要密码", "Digest", False)
    """Whether the password goes as a digest with a nonce, and not as it is."""
    cert_file: str | None = titled("签名证书", "Certificate", None)
    """Certificate (PEM) by which calls are signed (RSA with SHA-256); answers are not verified."""
    key_file: str | None = titled("签名私钥", "Key", None)
    """Its private key (PEM)."""
    key_password: Secret | None = titled("私钥密码", "Key password", None)
    """Password of the private key."""
    lifetime_seconds: int = titled("有效期(秒)", "Lifetime, seconds", 0, ge=0)
    """Adds a timestamp by which a call is valid for so long; 0 adds none."""

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("a signature needs cert_file and key_file")
        return self


class CallSettings(Settings):
    """An operation that changes one record."""

    operation: str = titled("操作", "Operation")
    """Its name in the WSDL: `SaveOrder`."""
    arguments: dict[str, Any] = titled("参数", "Arguments", {})
    """What it is given, as the WSDL has it: `"{name}"` stands for a field's value, `"{*}"` for the whole record,
    `"{@id}"` for the identifier the service gave it, `"{@call}"` for the call's own number, the same when it is
    repeated. Left out: the record as the only argument that is complex, else fields by their names."""
    fields: dict[str, str] = titled("字段映射", "Fields", {})
    """The record's names of our fields: `{order_no: OrderNo}`. Left out: all by their own names."""
    ok: str = titled("成功标志", "Ok", "")
    """Where the answer says whether it went through, keys with points between them, and the values that mean it did:
    `Result.Code=0|S`. Left out: every answer that is no fault means it did."""
    error: str = titled("错误位置", "Error", "")
    """Where the answer says what is wrong: `Result.Message`."""
    id: str = titled("新标识", "Id", "")
    """Where the answer holds the record's identifier there: `Order.Id`."""


class LookSettings(Settings):
    """An operation that tells whether a record is there."""

    operation: str = titled("操作", "Operation")
    """Its name: `GetOrder`. A fault, or an answer without the record, means that it is not there."""
    arguments: dict[str, Any] = titled("参数", "Arguments", {})
    """What it is given, `"{name}"` for a field's value."""
    record: str = titled("记录位置", "Record", "")
    """Where the answer holds the record: `Order`. Left out: the answer itself."""


class WriteSettings(Settings):
    """How records are written."""

    create: CallSettings | None = titled("新增", "Create", None)
    """A new record."""
    update: CallSettings | None = titled("更新", "Update", None)
    """A record that is there."""
    upsert: CallSettings | None = titled("写入", "Upsert", None)
    """One operation for both."""
    delete: CallSettings | None = titled("删除", "Delete", None)
    """A record that must go. Without it nothing is deleted, and `replace` is refused."""
    look: LookSettings | None = titled("回读", "Look", None)
    """Tells whether a record is there: before an update, and after a call whose outcome is unknown."""
    undo: dict[Literal["create", "update", "upsert", "delete"], CallSettings] = titled("撤销", "Undo", {})
    """For each kind of change the operation that takes it back, where a group half failed."""
    key_honoured: bool = titled("认调用号", "Key honoured", False)
    """Whether the service knows a call again by `"{@call}"`, so that it may be repeated after a lost answer."""


class DatasetSettings(Settings):
    """One list of the service."""

    operation: str = titled("操作", "Operation", "")
    """The operation that gives it. Left out: the dataset's name."""
    arguments: dict[str, Any] = titled("参数", "Arguments", {})
    """What it is given, as the WSDL has it: `{filter: {status: OPEN}}`."""
    records: str = titled("记录位置", "Records", "")
    """The element of a record: a name (`Order`), or its path below the answer's element (`Orders/Order`). Left out:
    the first element that the WSDL lets repeat."""
    paging: PagingSettings | None = titled("分页", "Paging", None)
    """How the list is cut into pages, by arguments: `{kind: page, param: page, size_param: size, size: 100}`, keys with
    points between them. Left out: it comes in one answer."""
    incremental: IncrementalSettings | None = titled("增量", "Incremental", None)
    """How changes are asked for; `param` is an argument, keys with points between them: `filter.changedSince`."""
    key: Names = titled("键", "Key", ())
    """The fields that tell records apart."""
    types: dict[str, str] = titled("类型", "Types", {})
    """Types of fields, where the WSDL's are open (`xsd:decimal` is read with 10 places)."""
    nested: Literal["json", "children", "columns"] = titled("嵌套", "Nested", "json")
    """Nested values: `json` text, repeated elements as `children` (datasets of their own; needs `key`), or nested
    `columns`."""
    cache_seconds: float | None = titled("缓存(秒)", "Cache, seconds", None, ge=0)
    """How old a kept answer may be. Left out: the connection's rule."""
    title: str = titled("名称", "Title", "")
    """What it is called by people."""
    write: WriteSettings | None = titled("写回", "Write", None)
    """How records are written back."""

    @field_validator("paging", mode="before", json_schema_input_type=PagingSettings | str | None)
    @classmethod
    def _kind(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _paged(self) -> Self:
        if self.paging and self.paging.kind not in ("none", "page", "offset", "keyset"):
            raise ValueError("paging of SOAP is page, offset, keyset or none")
        return self


class SoapSettings(HttpSettings):
    """A SOAP service; `base_url` is where it is called, or its WSDL (`https://host/orders?wsdl`)."""

    wsdl: str | None = titled("WSDL", "WSDL", None)
    """Address or file of the WSDL. Left out: base_url, with `?wsdl` if it has no query."""
    address: str | None = titled("服务地址", "Service address", None)
    """Where calls go. Left out: where the WSDL says; a host other than that of base_url is called without credentials,
    and only where links in data may lead (`allow`)."""
    service_name: str | None = titled("服务", "Service", None)
    """The service of the WSDL. Left out: its first."""
    port_name: str | None = titled("端口", "Port", None)
    """The port of the service. Left out: the first that speaks SOAP."""
    security: Security | None = titled("WS-Security", "WS-Security", None)
    """WS-Security of every call."""
    attachments: Literal["inline", "mtom"] = titled("附件方式", "Attachments", "inline")
    """How binary values go: `inline` as base64 in the message, `mtom` as attachments of it (XOP), those of 768 bytes
    and more. Parts that the WSDL itself binds as attachments (SwA, rpc) always go so. What comes is read either way."""
    datasets: dict[str, DatasetSettings] = titled("数据集", "Datasets", {})
    """The lists by name. Left out: the operations called get, list, find, query, search, read or fetch something that
    need no argument and whose answer has an element that repeats; no others are called."""
    calls: Manner = titled("写回方式", "Calls", Manner())
    """How rows become calls when they are written back, and what happens to calls whose outcome nobody knows."""

    @property
    def wsdl_place(self) -> str:
        """Where the WSDL is: an address, or a file."""
        place = self.wsdl or self.base_url
        bare = not self.wsdl and "?" not in place and not place.lower().endswith((".wsdl", ".xml"))
        return f"{place}?wsdl" if bare else place


def from_url(url: str) -> SoapSettings:
    """`soap+https://user:password@host/orders?wsdl`; raises InvalidSettingsError."""
    parts = urlsplit(url)
    scheme = parts.scheme.removeprefix("soap+")
    host = parts.netloc.rpartition("@")[2]
    query = f"?{parts.query}" if parts.query else ""
    values: dict[str, Any] = {"base_url": f"{scheme}://{host}{parts.path}{query}"}
    if parts.username:
        values["auth"] = {"basic": {"user": unquote(parts.username), "password": unquote(parts.password or "")}}
    return SoapSettings.parse(values, path=f"{parts.scheme}://{host}{parts.path}")
