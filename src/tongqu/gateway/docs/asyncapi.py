"""AsyncAPI 3.0 of one version for one caller: subscriptions to changing rows, and what webhooks are sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from tongqu.gateway.docs import shapes
from tongqu.gateway.docs.sights import Sight
from tongqu.gateway.publication import Publication

_TEXT = {"type": "string"}
_SIGNED = {
    "type": "object",
    "properties": {
        "webhook-id": {"type": "string", "description": "the same for every attempt"},
        "webhook-timestamp": {"type": "string", "description": "Unix seconds"},
        "webhook-signature": {"type": "string", "description": "v1,BASE64 of HMAC-SHA256, several with blanks between"},
    },
    "required": ["webhook-id", "webhook-timestamp", "webhook-signature"],
}
_TELLS = {
    "zh": "行变化：WebSocket 与 SSE（/live），Standard Webhooks 推送。行与字段按调用方权限给出。",
    "en": "Rows that change: WebSocket and SSE (/live), and Standard Webhooks, as the caller may see them.",
}


def asyncapi(
    publication: Publication, version: str, seen: Sequence[Sight], language: str, address: str
) -> dict[str, Any]:
    """The document; `address` is the gateway's."""
    live = [sight for sight in seen if "live" in sight.api.entry.protocols and sight.key]
    parts = urlsplit(address)
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for sight in live:
        name = sight.api.name
        schemas[name] = shapes.row(sight)
        channels[f"live_{name}"] = _live(sight)
        channels[f"hook_{name}"] = _hook(sight)
        operations[f"follow_{name}"] = _operation("receive", f"live_{name}", ["change", "ended"])
        operations[f"subscribe_{name}"] = _operation("send", f"live_{name}", ["subscribe"])
        operations[f"deliver_{name}"] = _operation("receive", f"hook_{name}", ["delivery"])
    secure, known = parts.scheme == "https", [_ref("securitySchemes", "bearer")]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": f"{publication.project or 'APIs'} {version}", "version": version,
                 "description": _TELLS[language]},
        "servers": {
            "sse": {"host": parts.netloc, "protocol": parts.scheme or "http", "security": known},
            "websocket": {"host": parts.netloc, "protocol": "wss" if secure else "ws",
                          "security": known},
        },
        "channels": channels,
        "operations": operations,
        "components": {"schemas": schemas, "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
    }  # fmt: skip


def _live(sight: Sight) -> dict[str, Any]:
    subscribe = {
        "type": "object",
        "properties": {
            "type": {"const": "subscribe"}, "id": _TEXT, "query": {**_TEXT, "description": "select=…&field=eq.…"},
            "after": {**_TEXT, "description": "a position to resume behind"},
        },
        "required": ["type"],
    }  # fmt: skip
    ended = {"type": "object", "properties": {"type": _TEXT, "code": _TEXT, "retryable": {"type": "boolean"}}}
    return {
        "address": f"/live/{sight.api.version}/{sight.api.name}",
        "title": sight.title,
        "servers": [{"$ref": "#/servers/sse"}, {"$ref": "#/servers/websocket"}],
        "messages": {
            "change": {"payload": _change(sight)}, "subscribe": {"payload": subscribe}, "ended": {"payload": ended},
        },
        "bindings": {"ws": {"method": "GET"}},
    }  # fmt: skip


def _hook(sight: Sight) -> dict[str, Any]:
    name = sight.api.name
    kinds = [f"{name}.{op}" for op in ("insert", "update", "upsert", "delete", "touched")]
    payload = {
        "type": "object",
        "properties": {
            "type": {**_TEXT, "examples": kinds},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": _change(sight),
        },
        "required": ["type", "timestamp", "data"],
    }
    return {"address": None, "title": f"webhook: {sight.title}",
            "messages": {"delivery": {"headers": _SIGNED, "payload": payload}}}  # fmt: skip


def _change(sight: Sight) -> dict[str, Any]:
    """A change: which row, by its key, and the row where it is there and may be seen."""
    fields = sight.fields
    key = {name: shapes.given(fields[name], sight.language) for name in sight.key}
    return {
        "type": "object",
        "properties": {"api": _TEXT, "op": _TEXT, "position": _TEXT, "key": {"type": "object", "properties": key},
                       "row": _ref("schemas", sight.api.name)},
    }  # fmt: skip


def _operation(action: str, channel: str, messages: Sequence[str]) -> dict[str, Any]:
    return {
        "action": action, "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }  # fmt: skip


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}
