"""What is told where something cannot be managed: the errors of the services as problem documents."""

from __future__ import annotations

from typing import Any

import orjson

from tongqu.core.errors import (
    AccessError,
    AuditError,
    BusyError,
    ConfigError,
    ConnectorError,
    DataError,
    InvalidPlanError,
    NotFoundError,
    StaleVersionError,
    TongquError,
    UnknownNameError,
)
from tongqu.gateway.exchange import Reply, Request
from tongqu.gateway.problems import Kind, declare
from tongqu.store.scrub import known

declare(
    {
        "auth.csrf": Kind(403, "the change must carry the session's CSRF token", "修改必须携带会话的 CSRF 令牌"),
        "auth.code": Kind(401, "a code of the second factor is needed", "需要第二因素验证码"),
        "auth.enrol": Kind(403, "an administrator needs a second factor", "管理员必须先绑定第二因素"),
        "auth.change": Kind(403, "a new password is needed", "需要设置新密码"),
        "auth.weak": Kind(422, "the new password is not good enough", "新密码不符合要求"),
        "auth.duties": Kind(403, "two duties of administrators are kept apart", "管理员的职责必须相互分离"),
        "resource.changed": Kind(412, "it has changed since it was read", "自读取后已被修改"),
        "resource.unconditional": Kind(
            428, "the change must name the ETag in If-Match", "修改必须在 If-Match 中给出 ETag"
        ),
    }
)

_STATUS: tuple[tuple[type[TongquError], int], ...] = (
    (UnknownNameError, 404),
    (NotFoundError, 404),
    (StaleVersionError, 409),
    (AccessError, 403),
    (AuditError, 503),
    (BusyError, 503),
    (InvalidPlanError, 422),
    (ConfigError, 422),
    (DataError, 422),
    (ConnectorError, 502),
)
"""The first that fits; anything else is 500."""


def refused(error: TongquError, request: Request) -> Reply:
    """The problem document of an error of the services. `problems` are those that the command line would print, with
    the parameters of their messages; `exit` is its exit code."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    several = getattr(error, "problems", None) or [error]
    problems = [{**known.problem(one.problem()), "params": known.deep(one.params)} for one in several]
    first = problems[0]
    request.notes.reason = str(first["code"])
    document: dict[str, Any] = {
        "type": f"/docs/problems#{first['code']}",
        "title": first["message"],
        "status": status,
        "detail": first["message"],
        "instance": request.id,
        "code": first["code"],
        "retryable": status == 503,
        "message": first["message"],
        "details": None,
        "hint": first["hint"] or None,
        "problems": problems,
        "exit": error.exit_code,
    }
    body = b"" if request.method == "HEAD" else orjson.dumps(document, default=str)
    return Reply(status, [("content-type", "application/problem+json")], body)
