"""Calls a vendor's interface to see how it really is: few reading calls, of which only numbers and names are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from threading import Event
from typing import Any
from urllib.parse import quote, urlsplit

from tongqu.app.services.assessing.tls import looked_at
from tongqu.catalog.assessing.conformance import deviations, personal_fields
from tongqu.catalog.assessing.measured import Called, Measured
from tongqu.catalog.assessing.shapes import Interface, Operation, Parameter
from tongqu.core.errors import CancelledError, ConnectError, ConnectorError, TongquError
from tongqu.kit.http.call import Call, Reply
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.openapi import vocabulary as words

OPERATIONS = 20
"""At most so many operations are called."""
_ANONYMOUS = 3
_PARSED = 8 << 20
_PAGE = "10"
_ACTS = re.compile(
    r"log.?out|sign.?out|delete|remove|cancel|approve|reject|send|reset|trigger|start|stop|execute|revoke|退出|删除|取消|审批|发送",
    re.IGNORECASE,
)
_KEPT = re.compile(
    r"^(strict-transport-security|x-content-type-options|cache-control|content-security-policy|x-frame-options|server"
    r"|x-powered-by|deprecation|sunset|retry-after|(x-)?rate-?limit[a-z-]*)$"
)
_OUTCOMES = ("code", "errcode", "errorcode", "error", "success", "status", "ret", "result")


def measure(interface: Interface, settings: HttpSettings, calls: int, stop: Event) -> Measured:
    """Call up to 20 reading operations `calls` times each, by the connection's own rules of pace, without repeats and
    without its cache; three of them once more without credentials; and look at the host's TLS.

    Only GET operations whose parameters the document gives, and whose names do not act on anything, are called.
    Raises CancelledError; a call that fails is part of what is measured.
    """
    quiet = settings.model_copy(update={"cache": None, "retry": settings.retry.model_copy(update={"attempts": 1})})
    http = Http(quiet)
    seen: list[Called] = []
    headers: dict[str, str] = {}
    opened: list[str] = []
    closed: list[str] = []
    try:
        for operation, path, params in chosen(interface, stop):
            call = Call("GET", http.url(path), params, stop=stop)
            called, reply = _called(http, operation, call, calls)
            if settings.record is not None:
                called = replace(called, seconds=())  # a recording's times are not the system's
            seen.append(called)
            if reply is None:
                continue
            headers |= {name: value[:120] for name, value in reply.headers.items() if _KEPT.match(name)}
            guarded = settings.auth is not None or bool(operation.access and all(operation.access))
            if guarded and len(opened) + len(closed) < _ANONYMOUS:
                answer = _without_credentials(http, call, reply)
                if answer is not None:
                    (opened if answer else closed).append(f"{operation.label} → {'2xx' if answer else '401/403'}")
    finally:
        http.close()
    tls = looked_at(settings) if urlsplit(settings.base_url).scheme == "https" and settings.record is None else None
    return Measured(tuple(seen), tls, headers, tuple(opened), tuple(closed))


def chosen(interface: Interface, stop: Event) -> Iterator[tuple[Operation, str, list[tuple[str, str]]]]:
    """The operations to call with path and parameters, lists first, in the document's order."""
    able = []
    for operation in interface.operations:
        if operation.method != "GET" or operation.deprecated or _ACTS.search(operation.names):
            continue
        needed = [one for one in operation.parameters if one.required]
        if all(one.example for one in needed) and "{" not in _filled(operation):
            able.append(operation)
    able.sort(key=lambda one: one.records is None)
    for operation in able[:OPERATIONS]:
        if stop.is_set():
            raise CancelledError("stopped")
        yield operation, _filled(operation), list(_params(operation))


def _filled(operation: Operation) -> str:
    path = operation.path
    for one in operation.parameters:
        if one.where == "path" and one.example:
            path = path.replace(f"{{{one.name}}}", quote(one.example, safe=""))
    return path


def _params(operation: Operation) -> Iterator[tuple[str, str]]:
    for one in operation.parameters:
        if one.where == "query" and (one.required or _size(one)):
            yield one.name, _PAGE if _size(one) and not one.choices else one.example


def _size(one: Parameter) -> bool:
    return words.role({"name": one.name, "description": one.description}) == words.SIZE and one.type != "string"


def _called(http: Http, operation: Operation, call: Call, calls: int) -> tuple[Called, Reply | None]:
    times: list[float] = []
    reply: Reply | None = None
    status = 0
    for _ in range(calls):
        try:
            reply = http.send(call)
        except CancelledError:
            raise
        except ConnectorError as error:
            status = error.status or 0
            if isinstance(error, ConnectError):
                break
            continue
        except TongquError:
            break
        times.append(reply.seconds)
        status = reply.status
    known = not status or bool(
        {str(status), f"{str(status)[0]}XX", f"{str(status)[0]}xx", "default"} & {*operation.statuses}
    )
    if reply is None:
        return Called(operation.label, operation.place, status, tuple(times), known), None
    told = operation.gives
    value, wrong = _value(reply, required=told is not None and told.typed)
    if told is not None and not wrong:
        wrong = deviations(value, told)
    people = personal_fields(value, told)
    called = Called(
        operation.label, operation.place, status, tuple(times), known, told is not None, tuple(wrong), people
    )
    return called, reply


def _value(reply: Reply, *, required: bool) -> tuple[Any, list[tuple[str, str]]]:
    """The JSON of an answer; a deviation if it should be JSON and is not."""
    if len(reply.content) > _PARSED:
        return None, []
    try:
        return json.loads(reply.content), []
    except (ValueError, RecursionError):
        return None, [(".", "type")] if required else []


def _without_credentials(http: Http, call: Call, before: Reply) -> bool | None:
    """Whether a call without credentials gets the same kind of answer; None if that cannot be told."""
    try:
        reply = http.send(replace(call, anonymous=True))
    except CancelledError:
        raise
    except ConnectorError as error:
        return False if error.status in (401, 403) else None
    except TongquError:
        return None
    return _outcome(reply) == _outcome(before)


def _outcome(reply: Reply) -> tuple[Any, ...]:
    """What tells success from failure where every answer is 200: its keys, and codes among them."""
    value, _ = _value(reply, required=False)
    if not isinstance(value, dict):
        return (reply.status, type(value).__name__)
    codes = tuple(
        str(value[key])
        for key in sorted(value)
        if words.plain(key) in _OUTCOMES and not isinstance(value[key], dict | list)
    )
    return (reply.status, tuple(sorted(value)), codes)
