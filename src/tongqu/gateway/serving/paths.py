"""Makes one path of every way to write it, or refuses it."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

_KEYED = ("api",)
"""Where a segment may hold an encoded slash: rows are named by keys, and keys hold anything."""


def normal(target: str) -> str | None:
    """The path percent-decoded once; None for one that could mean two things to two readers: empty, `.` or `..`
    segments, broken escapes, backslashes, control characters, bytes that are no UTF-8, encoded slashes (except in
    `/api/…`, whose keys may hold them)."""
    if "%" not in target:
        if "//" in target or ("/." in target and _dotted(target)) or "\\" in target or not target.isascii():
            return None
        return target if target[:1] == "/" and target.isprintable() else None
    return _decoded(target)


def _dotted(path: str) -> bool:
    return any(segment in (".", "..") for segment in path.split("/"))


def _decoded(target: str) -> str | None:
    segments = target.split("/")
    if segments[0] or not target.isascii():
        return None
    decoded: list[str] = []
    for at, segment in enumerate(segments[1:], 1):
        if not segment and at < len(segments) - 1:
            return None
        if segment.count("%") != sum(1 for part in segment.split("%")[1:] if _is_hex(part[:2])):
            return None
        try:
            text = unquote_to_bytes(segment).decode()
        except UnicodeDecodeError:
            return None
        if text in (".", "..") or "\\" in text or any(mark < " " or mark == "\x7f" for mark in text):
            return None
        if "/" in text and decoded[:1] != list(_KEYED):
            return None
        decoded.append(text)
    return "/" + "/".join(decoded)


def _is_hex(text: str) -> bool:
    return len(text) == 2 and all(mark in "0123456789abcdefABCDEF" for mark in text)
