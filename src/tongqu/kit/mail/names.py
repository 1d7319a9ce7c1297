"""Names of mailboxes as IMAP writes them: modified UTF-7 (RFC 3501 §5.1.3)."""

from __future__ import annotations

import base64
import re


def encoded(name: str) -> str:
    """A name in modified UTF-7."""
    parts = re.split(r"([^\x20-\x7e]+)", name)
    return "".join(
        "&" + base64.b64encode(part.encode("utf-16-be")).decode().rstrip("=").replace("/", ",") + "-"
        if number % 2
        else part.replace("&", "&-")
        for number, part in enumerate(parts)
    )


def decoded(name: bytes) -> str:
    """The opposite of `encoded`."""

    def plain(match: re.Match[str]) -> str:
        if not match[1]:
            return "&"
        packed = match[1].replace(",", "/")
        return base64.b64decode(packed + "=" * (-len(packed) % 4)).decode("utf-16-be", "replace")

    return re.sub(r"&([^-]*)-", plain, name.decode("ascii", "replace"))
