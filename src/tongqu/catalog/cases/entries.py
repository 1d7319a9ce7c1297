"""A case as it stands in a file: what is asked, and what must come of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from tongqu.core.settings import Names, Settings, titled

Kind = Literal["normal", "boundary", "abnormal"]
Network = Literal["latency", "reset", "cut", "half_open", "lost_reply"]
KINDS: tuple[Kind, ...] = ("normal", "boundary", "abnormal")
READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing (RFC 9110 §9.2.1)."""


class RequestEntry(Settings):
    """What is asked: a call of an operation, or a dataset to be read."""

    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] = titled("方法", "Method", "GET")
    """The HTTP method."""
    path: str = titled("路径", "Path", "")
    """The path after the base URL; `{name}` is filled from `values`."""
    values: dict[str, Any] = titled("路径值", "Values", {})
    """Values of the path's braces; those that are not here come from the file's `values`."""
    query: dict[str, Any] = titled("查询参数", "Query", {})
    """Query parameters."""
    headers: dict[str, str] = titled("请求头", "Headers", {})
    """Headers."""
    body: Any = titled("正文", "Body", None)
    """The JSON body; nothing is sent where the key is left out."""
    text: str = titled("正文文本", "Text", "")
    """A body that is not JSON, as it is sent: a SOAP envelope; its type stands under `headers`."""
    reads: bool = titled("只读", "Reads", False)
    """Says that the call changes nothing although its method might: a query by POST, a reading SOAP operation."""
    dataset: str = titled("数据集", "Dataset", "")
    """A dataset to be read, instead of a call."""
    rows: int = titled("行数", "Rows", 1000, ge=1, le=1_000_000)
    """How many rows of the dataset are read at most."""
    credentials: Literal["own", "none", "wrong"] = titled("凭据", "Credentials", "own")
    """Whose credentials go along: the connection's own, none, or some that are not valid."""
    network: Network | None = titled("网络", "Network", None)
    """What is wrong with the network meanwhile: answers come late (`latency`), the connection is reset or cut, nothing
    passes and nobody is told (`half_open`), the answer gets lost after the request arrived (`lost_reply`)."""
    times: int = titled("次数", "Times", 1, ge=1, le=1000)
    """How often it is asked, one after the other, at once after the answer."""
    same_key: bool = titled("同一幂等键", "Same key", False)
    """Whether the calls carry the same idempotency key, as when one is delivered twice."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.path) == bool(self.dataset):
            raise ValueError("a request has either a path or a dataset")
        if self.text and self.has_body:
            raise ValueError("a request has either a body or a text")
        return self

    @property
    def has_body(self) -> bool:
        """Whether a body is sent; null is one."""
        return "body" in self.model_fields_set

    @property
    def changes(self) -> bool:
        """Whether it may change something in the system."""
        return not (self.dataset or self.reads or self.method in READING)


class ExpectEntry(Settings):
    """What must come of it. Several answers may be right: one of `status` or one of `error`."""

    status: Names = titled("状态码", "Status", ())
    """Statuses: `200`, `2xx`."""
    error: Names = titled("错误", "Error", ())
    """Codes of errors: `connector.auth`; docs/reference/errors.md lists them."""
    conforms: bool = titled("符合文档", "Conforms", False)
    """Whether a successful answer must be as the document describes it."""
    least_rows: int | None = titled("最少行数", "Least rows", None, ge=0)
    """At least so many rows or records."""
    most_rows: int | None = titled("最多行数", "Most rows", None, ge=0)
    """At most so many."""
    fields: dict[str, str] = titled("字段", "Fields", {})
    """Fields that a dataset must have, with their types."""
    key: Names = titled("键", "Key", ())
    """Fields of a dataset that are never empty and tell rows apart."""
    same: bool = titled("结果相同", "Same", False)
    """Whether all answers of `times` must be alike: status and body."""
    seconds: float | None = titled("秒数", "Seconds", None, gt=0)
    """Longest time, all calls together."""

    @field_validator("status", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        listed = value if isinstance(value, list | tuple) else [value]
        return [str(one).lower() for one in listed]

    @field_validator("status")
    @classmethod
    def _statuses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if len(one) != 3 or one[0] not in "12345" or not (one[1:] == "xx" or one[1:].isdigit()):
                raise ValueError(f"a status is three digits, or a digit and xx: 200, 4xx (got {one})")
        return value


class CaseEntry(Settings):
    """One case."""

    id: str = titled("标识", "Id", pattern=r"^[^\s/]+$")
    """Its name, one of a kind in the file."""
    title: dict[Literal["zh", "en"], str] = titled("名称", "Title", {})
    """What it tries, for people."""
    kind: Kind = titled("种类", "Kind")
    """normal, boundary or abnormal."""
    enabled: bool = titled("启用", "Enabled", True)
    """Whether it is run; a generated case that is taken out of the file comes back, one that is switched off does
    not."""
    sandbox: bool = titled("仅沙箱", "Sandbox only", False)
    """Whether it is run against a sandbox or the mock only, as it is more than a system at work should bear."""
    request: RequestEntry = titled("请求", "Request")
    """What is asked."""
    expect: ExpectEntry = titled("期望", "Expect", ExpectEntry())
    """What must come of it."""
    made: str = titled("生成摘要", "Made", "")
    """Digest of the case as it was generated. Where the case no longer fits it, somebody edited it, and it is never
    overwritten; a case without it is somebody's own."""


class CaseFile(Settings):
    """The cases of one operation or dataset of a connection."""

    connection: str = titled("连接", "Connection")
    """The connection's name."""
    operation: str = titled("操作", "Operation")
    """`GET /orders/{id}`, or `dataset orders`."""
    document: str = titled("文档摘要", "Document", "")
    """Digest of the operation's description that the cases were made from."""
    seed: int = titled("种子", "Seed", 1)
    """Generated values depend on this number and on names, and on nothing else."""
    needs: Names = titled("待填值", "Needs", ())
    """Values that the document does not give and that must be written under `values`."""
    values: dict[str, Any] = titled("值", "Values", {})
    """Values of path braces for all cases: `{id: 4711}`."""
    cases: tuple[CaseEntry, ...] = titled("用例", "Cases", ())
    """The cases."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        seen: set[str] = set()
        for case in self.cases:
            if case.id in seen:
                raise ValueError(f"two cases are called {case.id}")
            seen.add(case.id)
        return self


def plain(case: CaseEntry) -> dict[str, Any]:
    """The case as it is written: what was said, and nothing that goes without saying."""
    values: dict[str, Any] = case.model_dump(mode="json", exclude_unset=True)
    return values


def digest(values: Mapping[str, Any]) -> str:
    """What a case or a description is known again by; `made` and `enabled` do not count."""
    kept = {name: value for name, value in values.items() if name not in ("made", "enabled")}
    text = json.dumps(kept, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sealed(case: CaseEntry) -> CaseEntry:
    """A generated case with its digest."""
    return case.model_copy(update={"made": digest(plain(case))})
