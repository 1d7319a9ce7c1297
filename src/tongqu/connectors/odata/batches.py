"""Several calls as one `$batch`, and its answer as theirs: multipart/mixed (versions 2 and 4) or JSON (4.01).

Format: OData 2.0 "Batch Processing", OData 4.01 Protocol §11.7, OData JSON Format 4.01 §19. Relative addresses are
below the service's root, where `$batch` stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import HTTP
from hashlib import blake2b
from typing import Any

from tongqu.core.errors import AnswerError
from tongqu.kit.http.call import Reply

_STATUS = re.compile(rb"\s*HTTP/\d(?:\.\d)? +(\d{3})[^\r\n]*\r?\n")
_HEADERS_END = re.compile(rb"\r?\n\r?\n")
_NAMED = re.compile(r"content-?id$", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """One call inside: `path` is relative to the service's root and percent-encoded."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str = ""


@dataclass(frozen=True)
class Answers:
    """What a batch was answered with: the reply of each call by its place; of a change set that was refused as a whole
    the one reply (`refused`, with the calls that it complains of, if it names them)."""

    of: Mapping[int, Reply]
    refused: Mapping[int, tuple[Reply, frozenset[int]]]
    """By the first call of the change set."""


# ---- multipart


def multipart(asked: Sequence[Asked], *, changes: bool, atomic: bool) -> tuple[str, bytes]:
    """The content type and body of a batch. Changes stand in change sets, each in one of its own unless `atomic`."""
    if not changes:
        parts = [_part(one, 0) for one in asked]
    else:
        sets = [range(len(asked))] if atomic else [range(at, at + 1) for at in range(len(asked))]
        parts = [_change_set([(at, asked[at]) for at in places]) for places in sets]
    boundary, body = _joined(parts, "batch")
    return f"multipart/mixed; boundary={boundary}", body


def _change_set(asked: Sequence[tuple[int, Asked]]) -> bytes:
    boundary, body = _joined([_part(one, at + 1) for at, one in asked], "changeset")
    return f"Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n".encode() + body


def _part(one: Asked, number: int) -> bytes:
    body = one.body.encode()
    headers = {**one.headers, **({"Content-Length": str(len(body))} if body else {})}
    inner = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    named = f"Content-ID: {number}\r\n" if number else ""
    outer = f"Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{named}\r\n"
    return f"{outer}{one.method} {one.path} HTTP/1.1\r\n{inner}\r\n".encode() + body


def _joined(parts: Sequence[bytes], word: str) -> tuple[str, bytes]:
    """The parts between boundaries, and what these are: the same for the same parts, so that a recorded batch is found
    again, and in none of them."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    boundary = f"{word}_{digest.hexdigest()}"
    mark = f"--{boundary}".encode()
    return boundary, b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"


def parted(reply: Reply, count: int, *, changes: bool, atomic: bool) -> Answers:
    """The answers in a multipart body, in order or by their Content-ID; those that did not come are missing. Raises
    AnswerError for what is no batch."""
    where = reply.url.partition("?")[0]
    kind = reply.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/"):
        raise AnswerError(f"{where}: the batch was answered with {kind or 'nothing'!r}, not with its parts", path=where)
    whole = _parsed(kind, reply.content)
    if not whole.is_multipart():
        raise AnswerError(f"{where}: the answer of the batch says that it has parts, and has none", path=where)
    found: dict[int, Reply] = {}
    refused: dict[int, tuple[Reply, frozenset[int]]] = {}
    at = 0
    for part in whole.iter_parts():
        if part.get_content_maintype() == "multipart":
            for inner, one in enumerate(part.iter_parts()):
                answer, name = _answer(one, where)
                named = changes and name.isdigit() and 0 < int(name) <= count
                found[int(name) - 1 if named else at + inner] = answer
        else:
            answer, _ = _answer(part, where)
            if changes and atomic:
                refused[at] = (answer, complained(answer, count))
            else:
                found[at] = answer
        at += count if changes and atomic else 1
    found = {place: one for place, one in found.items() if place < count}
    return Answers(found, refused) if refused or not (changes and atomic) else _whole(found, count)


def _parsed(kind: str, body: bytes) -> EmailMessage:
    head = b"Content-Type: " + kind.encode("latin-1", "replace") + b"\r\n\r\n"
    parsed = message_from_bytes(head + body, policy=HTTP)
    return parsed if isinstance(parsed, EmailMessage) else EmailMessage(HTTP)


def _answer(part: Any, where: str) -> tuple[Reply, str]:
    """The HTTP answer in a part, and the Content-ID beside or inside it."""
    data = part.get_payload(decode=True)
    raw = data if isinstance(data, bytes) else b""
    found = _STATUS.match(raw)
    if found is None:
        raise AnswerError(f"{where}: a part of the batch's answer is no HTTP answer", path=where)
    rest = raw[found.end() :]
    if rest[:2] == b"\r\n" or rest[:1] == b"\n":
        head, body = b"", rest.lstrip(b"\r\n")
    else:
        end = _HEADERS_END.search(rest)
        head, body = (rest[: end.start()], rest[end.end() :]) if end else (rest, b"")
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length", "")
    body = body[: int(length)] if length.isdigit() and int(length) <= len(body) else body
    name = str(part.get("Content-ID") or headers.get("content-id") or "").strip("<> ")
    return Reply(int(found[1]), headers, body, where), name


# ---- JSON


def as_json(asked: Sequence[Asked], *, changes: bool, atomic: bool) -> tuple[str, bytes]:
    """The content type and body of a batch in JSON (OData 4.01)."""
    requests = []
    for at, one in enumerate(asked):
        request: dict[str, Any] = {"id": str(at + 1), "method": one.method, "url": one.path}
        request["headers"] = {name.lower(): value for name, value in one.headers.items()}
        if changes and atomic:
            request["atomicityGroup"] = "g1"
        text = json.dumps(request, ensure_ascii=False)
        requests.append(f'{text[:-1]}, "body": {one.body}}}' if one.body else text)  # its numbers stay as they are
    return "application/json", ('{"requests": [' + ", ".join(requests) + "]}").encode()


def of_json(reply: Reply, count: int, *, changes: bool, atomic: bool) -> Answers:
    """The answers in a JSON body; see `parted`."""
    where = reply.url.partition("?")[0]
    try:
        told: Any = json.loads(reply.content)
        responses = [one for one in told["responses"] if isinstance(one, dict)]
        found = {int(one["id"]) - 1: _told(one, where) for one in responses}
    except (ValueError, KeyError, TypeError) as error:
        raise AnswerError(f"{where}: the answer of the batch has no `responses`", path=where) from error
    found = {place: one for place, one in found.items() if 0 <= place < count}
    return _whole(found, count) if changes and atomic else Answers(found, {})


def _whole(found: Mapping[int, Reply], count: int) -> Answers:
    """The answers of one change set: with an error among them, none of it took place (424 is what the others say)."""
    bad = {place: one for place, one in found.items() if one.status >= 400}
    if not bad:
        return Answers(found, {})
    blamed = frozenset(place for place, one in bad.items() if one.status != 424)
    reply = bad[min(blamed or bad)]
    return Answers({}, {0: (reply, blamed if len(blamed) < count else complained(reply, count))})


def _told(one: Mapping[str, Any], where: str) -> Reply:
    headers = {str(name).lower(): str(value) for name, value in (one.get("headers") or {}).items()}
    body = one.get("body")
    text = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
    return Reply(int(one["status"]), headers, text, where)


def complained(reply: Reply, count: int) -> frozenset[int]:
    """The calls that an error names by their Content-ID, wherever its body says it (SAP's `ContentID` in
    `errordetails`, `@Org.OData.Core.V1.ContentID`); none if it does not."""
    try:
        told: Any = json.loads(reply.content)
    except (ValueError, RecursionError):
        return frozenset()
    found: set[int] = set()
    waiting = [told]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            for name, value in one.items():
                if _NAMED.search(name.rpartition(".")[2]) and str(value).isdigit() and 0 < int(value) <= count:
                    found.add(int(value) - 1)
                waiting.append(value)
    return frozenset(found)
