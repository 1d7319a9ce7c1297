"""Answers the `$batch` of an OData service: change sets that are all or nothing, in multipart or in JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from email import message_from_bytes
from typing import Any

from tongqu.testing.services.http_peer import Asked, Handler, Out

_END = b"\r\n"
_Save = Callable[[], Callable[[], None]]


class _Kept(Out):
    """Keeps an answer in place of sending it."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 0, b"", dict[str, str]()

    def answer(self, status: int, body: bytes = b"", /, **headers: str) -> None:
        """See Out."""
        self.status, self.body = status, body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def json(self, value: Any, status: int = 200, /, **headers: str) -> None:
        """See Out."""
        self.answer(status, json.dumps(value, ensure_ascii=False).encode(), Content_Type="application/json", **headers)

    def lines(self) -> bytes:
        """As an HTTP answer."""
        head = [f"HTTP/1.1 {self.status} Status", f"Content-Length: {len(self.body)}"]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*head, "", ""]).encode() + self.body


def answer_batch(asked: Asked, out: Out, handler: Handler, save: _Save, *, goes_on: bool) -> None:
    """Run the calls of a batch by `handler`. `save` keeps all data and gives what restores it; without `goes_on` an
    error ends the batch."""
    if "json" in asked.headers.get("content-type", ""):
        _json(asked, out, handler, save, goes_on=goes_on)
        return
    parts = []
    for part in _parts(asked.headers["content-type"], asked.body):
        if part.get_content_maintype() == "multipart":
            calls = [(str(one["Content-ID"]), _call(one.get_payload(decode=True))) for one in part.get_payload()]
            answers = _together([call for _, call in calls], handler, save)
        else:
            calls, answers = [], [_run(_call(part.get_payload(decode=True)), handler)]
        if not calls or answers[-1].status >= 400:
            parts.append(_part(answers[-1], ""))
        else:
            inner = [_part(one, name) for one, (name, _) in zip(answers, calls, strict=True)]
            parts.append(b"Content-Type: multipart/mixed; boundary=inner" + _END * 2 + _joined(inner, b"inner"))
        if answers[-1].status >= 400 and not goes_on:
            break
    out.answer(202, _joined(parts, b"outer"), Content_Type="multipart/mixed; boundary=outer")


def _json(asked: Asked, out: Out, handler: Handler, save: _Save, *, goes_on: bool) -> None:
    told: list[dict[str, Any]] = []
    requests = asked.json()["requests"]
    atomic = bool(requests[0].get("atomicityGroup"))
    for group in [requests] if atomic else [[one] for one in requests]:
        calls = [_of_json(one) for one in group]
        answers = _together(calls, handler, save)
        failed = answers[-1].status >= 400
        first = len(answers) - 1 if failed else 0
        for one, answer in list(zip(group, answers, strict=False))[first:]:
            held = {"id": one["id"], "status": answer.status, "headers": answer.headers}
            told.append({**held, "body": json.loads(answer.body)} if answer.body else held)
        if failed and not goes_on:
            break
    out.json({"responses": told})


def _of_json(one: dict[str, Any]) -> Asked:
    body = json.dumps(one["body"]).encode() if "body" in one else b""
    return Asked(one["method"], f"/svc/{one['url']}", one["headers"], body)


def _together(calls: Sequence[Asked], handler: Handler, save: _Save) -> list[_Kept]:
    """The answers, up to the first error, after which nothing of them stands."""
    restore = save()
    answers: list[_Kept] = []
    for call in calls:
        answers.append(_run(call, handler))
        if answers[-1].status >= 400:
            restore()
            break
    return answers


def _run(call: Asked, handler: Handler) -> _Kept:
    kept = _Kept()
    handler(call, kept)
    return kept


def _parts(kind: str, body: bytes) -> list[Any]:
    parts: Any = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body).get_payload()
    return list(parts)


def _call(raw: bytes) -> Asked:
    head, _, body = raw.partition(_END * 2)
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    return Asked(method, f"/svc/{path}", {name.lower(): value.strip() for name, _, value in pairs}, body)


def _part(answer: _Kept, name: str) -> bytes:
    named = f"Content-ID: {name}\r\n".encode() if name else b""
    return b"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n" + named + _END + answer.lines()


def _joined(parts: Sequence[bytes], boundary: bytes) -> bytes:
    return b"".join(b"--" + boundary + _END + part + _END for part in parts) + b"--" + boundary + b"--" + _END
