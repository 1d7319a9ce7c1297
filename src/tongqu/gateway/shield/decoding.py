"""Undoes the disguises of a text: percent, entity, escape and Unicode encodings, nested a few times."""

from __future__ import annotations

import html
import re
import unicodedata
from urllib.parse import unquote, unquote_to_bytes

DEEP = 4
"""How many layers of encoding are taken off."""
_PERCENT = re.compile(r"%[0-9a-fA-F]{2}")
_PERCENT_U = re.compile(r"%u([0-9a-fA-F]{4})")
_ESCAPED = re.compile(r"\\u\{?([0-9a-fA-F]{2,6})\}?|\\x([0-9a-fA-F]{2})")
_OVERLONG = re.compile(rb"[\xc0\xc1]([\x80-\xbf])|\xe0[\x80-\x9f]([\x80-\xbf])")
_LOOKALIKES = str.maketrans(
    {
        **dict.fromkeys("‘’ʼʹ′＇‵ˈ՚", "'"),
        **dict.fromkeys("“”″＂ʺ", '"'),
        **dict.fromkeys("–—−‐‑", "-"),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\0", None),
    }
)


def plain(text: str) -> list[str]:
    """The text as it came and, where they differ, with its encodings undone layer by layer, ending in the plainest."""
    seen = [text]
    for _ in range(DEEP):
        decoded = _once(seen[-1])
        if decoded == seen[-1]:
            break
        seen.append(decoded)
    if not seen[-1].isascii() or "\0" in seen[-1]:
        folded = unicodedata.normalize("NFKC", seen[-1]).translate(_LOOKALIKES)
        if folded != seen[-1]:
            seen.append(folded)
    return seen


def _once(text: str) -> str:
    if "%" in text:
        text = _PERCENT_U.sub(lambda found: chr(int(found[1], 16)), text)
        if _PERCENT.search(text):
            text = _unquoted(text)
    if "&" in text and ";" in text:
        text = html.unescape(text)
    if "\\" in text:
        text = _ESCAPED.sub(_character, text)
    return text


def _unquoted(text: str) -> str:
    raw = unquote_to_bytes(text)
    if b"\xc0" in raw or b"\xc1" in raw or b"\xe0" in raw:
        raw = _OVERLONG.sub(_short, raw)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return unquote(text, encoding="latin-1")


def _short(found: re.Match[bytes]) -> bytes:
    """What an overlong UTF-8 sequence stands for."""
    whole = found[0]
    if len(whole) == 2:
        return bytes([(whole[0] & 0x1F) << 6 & 0xFF | whole[1] & 0x3F])
    number = (whole[1] & 0x3F) << 6 | whole[2] & 0x3F
    return chr(number).encode()


def _character(found: re.Match[str]) -> str:
    number = int(found[1] or found[2], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else found[0]
