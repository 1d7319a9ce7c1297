"""The texts inside a body, whatever its media type, so that the shield can look at them before anybody else does."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import orjson

_NODE = re.compile(r">([^<]+)<|=\s*\"([^\"<]*)\"|=\s*'([^'<]*)'")
_ASIDE = re.compile(r"<!\[CDATA\[(.*?)\]\]>|<!--.*?-->|<\?.*?\?>", re.DOTALL)
"""What does not end a text: a parser joins what stands before and behind it."""
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&"}
_ENTITY = re.compile("|".join(_ENTITIES))


def texts_of(body: bytes, media: str) -> Iterator[str]:
    """All texts of a JSON, XML, CSV, form or plain body; none of what is of another type or not well-formed, which the
    protocol refuses or cannot read as text."""
    kind = media.partition(";")[0].strip().lower()
    if kind.endswith("json") or not kind:
        try:
            yield from texts(orjson.loads(body))
        except ValueError:
            return
    elif kind.endswith("xml"):
        for found in _NODE.finditer(_ASIDE.sub(_joined, _decoded(body))):
            yield _ENTITY.sub(lambda one: _ENTITIES[one[0]], next(part for part in found.groups() if part is not None))
    elif kind == "text/csv":
        try:
            for row in csv.reader(io.StringIO(_decoded(body), newline="")):
                yield from row
        except csv.Error:
            return
    elif kind == "application/x-www-form-urlencoded":
        for name, value in parse_qsl(_decoded(body), keep_blank_values=True):
            yield from (name, value)
    elif kind.startswith("text/") or kind == "application/graphql":
        yield _decoded(body)


def texts(document: Any) -> Iterator[str]:
    """All texts of plain JSON values, keys included; no recursion."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | tuple):
            waiting += value
        elif isinstance(value, dict):
            waiting += value
            waiting += value.values()


def _joined(aside: re.Match[str]) -> str:
    return (aside[1] or "").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _decoded(body: bytes) -> str:
    encoding = "utf-16" if body[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    return body.decode(encoding, "replace")
