"""What the places over HTTP share: the client, entries from headers, reading from an offset."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

from tongqu.core.errors import (
    AnswerError,
    AuthError,
    CallRefusedError,
    ConnectorError,
    LostPositionError,
    NotFoundError,
    WriteError,
)
from tongqu.kit.egress.dial import Egress
from tongqu.kit.http.call import Call
from tongqu.kit.http.client import Http
from tongqu.kit.http.settings import HttpSettings
from tongqu.kit.local_path import FULL_DISK
from tongqu.kit.places.place import MISSING, Entry
from tongqu.kit.places.settings import Address, PlaceSettings

PLAIN = {"Accept-Encoding": "identity"}
"""A file is wanted as it is, not compressed once more for the way."""
_DAY = 86_400.0
_RANGE = re.compile(r"bytes (\d+)-")


def client(base: str, address: Address, settings: PlaceSettings, egress: Egress, *, login: bool) -> Http:
    """The HTTP client of a place at the address `base`; with `login` it sends user and password."""
    values: dict[str, Any] = {
        "base_url": base,
        "tls": settings.tls,
        "timeouts": {
            "connect_seconds": settings.timeouts.connect_seconds, "read_seconds": settings.timeouts.read_seconds,
            "call_seconds": _DAY,
        },
        "limits": {"concurrency": 8, "stream_bytes": 1 << 50},
    }  # fmt: skip
    if login and address.user:
        secret = settings.password.get_secret_value() if settings.password else ""
        values["auth"] = {"basic": {"user": address.user, "password": secret}}
    return Http(HttpSettings.parse(values), egress=egress)


def entry_of(path: str, headers: Mapping[str, str]) -> Entry:
    """A file as the headers of its answer describe it."""
    size = headers.get("content-length", "")
    return Entry(
        path, int(size) if size.isdigit() else -1, instant(headers.get("last-modified", "")), headers.get("etag", "")
    )


def instant(text: str) -> int:
    """An HTTP date as nanoseconds; 0 for anything else."""
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except (TypeError, ValueError):
        return 0


def content(http: Http, call: Call, offset: int, shown: str) -> Iterator[bytes]:
    """The answer's bytes from an offset on; what a server without ranges sends before it is dropped. Raises
    LostPositionError where the file is shorter than that."""
    headers = {**call.headers, **PLAIN, **({"Range": f"bytes={offset}-"} if offset else {})}
    asked = Call(call.method, call.url, call.params, headers, accepts=(416,))
    with http.stream(asked) as stream:
        if stream.status == 416:
            raise LostPositionError(f"{shown} has fewer than {offset} bytes", path=shown, hint="run with --restart")
        told = _RANGE.match(stream.headers.get("content-range", "")) if stream.status == 206 else None
        start = int(told[1]) if told else offset if stream.status == 206 else 0
        if start > offset:
            raise AnswerError(f"{shown}: the server gave bytes from {start} on and not from {offset}", path=shown)
        dropped = offset - start
        for chunk in stream.chunks:
            if dropped >= len(chunk):
                dropped -= len(chunk)
                continue
            yield chunk[dropped:] if dropped else chunk
            dropped = 0


@contextmanager
def named(shown: str) -> Iterator[None]:
    """Errors about a file say which, and a full store is a WriteError."""
    try:
        yield
    except AuthError as error:
        error.hint = error.hint or "check user and password"
        raise
    except NotFoundError as error:
        raise NotFoundError(f"no such file: {shown}", path=shown, hint=error.hint or MISSING) from error
    except CallRefusedError as error:
        if error.status in (413, 507):
            raise WriteError(f"{shown}: the server has no room for it", path=shown, hint=FULL_DISK) from error
        error.path = error.path or shown
        raise
    except ConnectorError as error:
        error.path = error.path or shown
        raise
