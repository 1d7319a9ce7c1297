"""A key in a file of its own, made by whichever process comes first and seen by the others only when it is whole."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def key_file(place: Path, fresh: bytes) -> bytes:
    """What the file holds; `fresh` (mode 0600, on disk) if there is none. Raises OSError."""
    if not place.exists():
        part = place.with_name(f"{place.name}.{os.getpid()}-{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(fresh)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(part, place)
        finally:
            part.unlink(missing_ok=True)
    return place.read_bytes()
