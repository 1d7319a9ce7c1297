"""The URL of one stream as the settings of its connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tongqu.core.errors import InvalidSettingsError

_ONE = "stream"


def pushed(url: str, schemes: Mapping[str, str]) -> dict[str, Any]:
    """Settings from `SCHEME://user:password@host/path/NAME?query#format=json&fields=id:int64,at:timestamptz`; `schemes`
    gives the HTTP scheme of each. Raises InvalidSettingsError."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if not host:
        raise InvalidSettingsError("the address names no host", path="url")
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    said: dict[str, Any] = dict(parse_qsl(parts.fragment))
    fields = str(said.pop("fields", ""))
    said["fields"] = dict(one.partition(":")[::2] for one in fields.split(",")) if fields else {}
    if "key" in said:
        said["key"] = str(said["key"]).split(",")
    if not fields:
        said.setdefault("format", "text")
    values: dict[str, Any] = {
        "base_url": f"{schemes[parts.scheme]}://{host}",
        "datasets": {parts.path.rstrip("/").rpartition("/")[2] or _ONE: {"path": path, **said}},
    }
    if parts.username:
        values["auth"] = {"basic": {"user": unquote(parts.username), "password": unquote(parts.password or "")}}
    return values
