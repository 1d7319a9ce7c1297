"""Refusals: RFC 9457 problem documents with a stable code, in zh and en, and PostgREST's members beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tongqu.gateway.exchange import Headers, Reply, Request


@dataclass(frozen=True)
class Kind:
    """A kind of refusal: its HTTP status, its title by language, and whether the same request may succeed later."""

    status: int
    en: str
    zh: str
    retryable: bool = False


KINDS: dict[str, Kind] = {
    "auth.missing": Kind(401, "credentials are needed", "需要提供凭证"),
    "auth.invalid": Kind(401, "the credentials are not valid", "凭证无效"),
    "auth.expired": Kind(401, "the credentials have expired", "凭证已过期"),
    "auth.scope": Kind(403, "the token's scope does not cover this", "令牌的范围不包含此操作"),
    "access.denied": Kind(403, "this is not allowed", "没有权限"),
    "api.unknown": Kind(404, "there is no such API", "没有这个接口"),
    "row.unknown": Kind(404, "there is no such row", "没有这一行"),
    "method.refused": Kind(405, "the method is not allowed here", "此处不支持该方法"),
    "accept.unknown": Kind(406, "none of the accepted formats can be given", "无法提供所要求的格式"),
    "row.single": Kind(406, "the answer is not exactly one row", "结果不是恰好一行"),
    "key.running": Kind(409, "the same idempotency key is being worked on", "相同幂等键的请求正在处理", retryable=True),
    "row.conflict": Kind(409, "a row of this key, or one that this row needs, stands in the way", "与已有数据冲突"),
    "version.gone": Kind(410, "this version has been withdrawn", "该版本已下线"),
    "row.changed": Kind(412, "the row has changed since it was read", "该行已被修改"),
    "row.unconditional": Kind(
        428, "the change must name the row's ETag in If-Match", "修改必须在 If-Match 中给出 ETag"
    ),
    "body.too_large": Kind(413, "the body is too large", "请求体过大"),
    "uri.too_long": Kind(414, "the address is too long", "请求地址过长"),
    "headers.too_large": Kind(431, "the headers are too large", "请求头过大"),
    "media.unknown": Kind(415, "the body's media type is not understood", "不支持的请求体类型"),
    "request.malformed": Kind(400, "the request is malformed", "请求格式错误"),
    "query.malformed": Kind(400, "the query is malformed", "查询格式错误"),
    "body.malformed": Kind(400, "the body is malformed", "请求体格式错误"),
    "cursor.invalid": Kind(400, "the cursor does not belong to this query", "游标与查询不符"),
    "key.missing": Kind(400, "an Idempotency-Key is needed", "缺少 Idempotency-Key"),
    "key.reused": Kind(422, "the idempotency key was used for another request", "幂等键已用于其他请求"),
    "field.unknown": Kind(422, "there is no such field", "没有这个字段"),
    "value.invalid": Kind(422, "a value does not fit its field", "值与字段不符"),
    "body.invalid": Kind(422, "the body does not fit the schema", "请求体不符合模式"),
    "range.unsatisfiable": Kind(416, "the range lies behind the last row", "范围超出最后一行"),
    "shield.refused": Kind(403, "the request looks like an attack", "请求疑似攻击"),
    "address.refused": Kind(403, "calls from this address are not allowed", "不允许从该地址调用"),
    "limit.exceeded": Kind(429, "too many requests", "请求过于频繁", retryable=True),
    "overloaded": Kind(503, "there is too much to do at the moment", "服务繁忙", retryable=True),
    "source.unavailable": Kind(503, "the source cannot be reached at the moment", "数据源暂不可用", retryable=True),
    "source.slow": Kind(504, "the source took too long", "数据源响应超时", retryable=True),
    "query.costly": Kind(422, "the query would cost too much", "查询代价过高"),
    "answer.too_large": Kind(422, "the answer would be too large", "结果过大"),
    "internal": Kind(500, "something went wrong inside", "内部错误"),
}
"""Every code of the gateway; areas add theirs with `declare`."""


def declare(kinds: Mapping[str, Kind]) -> None:
    """Add an area's codes; a code that exists must be the same."""
    for code, kind in kinds.items():
        if KINDS.setdefault(code, kind) != kind:
            raise ValueError(f"the code {code!r} is declared twice")


def malformed(parameter: str, detail: str) -> Problem:
    """A query that cannot be read, with the parameter at fault."""
    told = {"parameter": parameter, "code": "query.malformed", "detail": detail}
    return Problem("query.malformed", detail, errors=[told])


class Problem(Exception):  # noqa: N818  RFC 9457's word
    """A refusal with its code. `detail` is for the caller and names only what it may know: no SQL, no hidden name, no
    value of a row. `errors` are `{pointer|parameter, code, detail}`; `headers` go into the answer as they are."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        hint: str = "",
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Headers | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.kind = KINDS[code]
        self.detail = detail
        self.hint = hint
        self.errors = [dict(error) for error in errors]
        self.headers = headers or []
        self.more = dict(more or {})


_DOCUMENTED = frozenset((400, 405, 406, 409, 412, 413, 415, 416, 422, 428))
"""Refusals that only those hear who may use the API; others are the same whether there is one or not."""


def refusal(problem: Problem, request: Request, *, docs: str = "/docs") -> Reply:
    """The problem as an answer, in the caller's language, with PostgREST's `message details hint` beside."""
    kind = problem.kind
    title = kind.zh if request.language == "zh" else kind.en
    document: dict[str, Any] = {
        "type": f"{docs}/problems#{problem.code}",
        "title": title,
        "status": kind.status,
        "detail": problem.detail,
        "instance": request.id,
        "code": problem.code,
        "retryable": kind.retryable,
        "message": problem.detail or title,
        "details": None,
        "hint": problem.hint or None,
    }
    if problem.errors:
        document["errors"] = problem.errors
    document.update(problem.more)
    request.notes.reason = problem.code
    headers: Headers = [("content-type", "application/problem+json"), *problem.headers]
    if request.notes.api and kind.status in _DOCUMENTED:
        document["documentation"] = f"/openapi/{request.notes.version}.json"
        headers.append(("link", f'<{document["documentation"]}>; rel="service-desc", <{docs}>; rel="service-doc"'))
    body = b"" if request.method == "HEAD" else orjson.dumps(document)
    return Reply(kind.status, headers, body)
