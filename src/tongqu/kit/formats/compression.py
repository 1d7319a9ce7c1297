"""gz and zstd: blocks in, blocks out."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import pyarrow as pa

from tongqu.core.errors import ReadError
from tongqu.kit.files import File, address

_zlib: Any = zlib
_Damaged: type[Exception] = zlib.error
with suppress(ModuleNotFoundError):
    from isal import isal_zlib

    _zlib, _Damaged = isal_zlib, cast(type[Exception], isal_zlib.error)

BLOCK = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS


def inflate(path: File, compression: str | None, offset: int = 0, block: int = BLOCK) -> Iterator[bytes]:
    """The file's content as blocks of about `block` bytes, after `offset` bytes of it (of the inflated content).

    Files of several gzip members or zstd frames are read as one. Raises ReadError for a damaged or cut file.
    """
    with path.open("rb") as file:
        if compression is None:
            file.seek(offset)
            while data := file.read(block):
                yield data
            return
        for data in _inflated(path, file, compression, block):
            if offset >= len(data):
                offset -= len(data)
                continue
            yield data[offset:] if offset else data
            offset = 0


def _inflated(path: File, file: Any, compression: str, block: int) -> Iterator[bytes]:
    try:
        if compression == "gz":
            yield from _gunzip(file, block)
        else:
            with pa.CompressedInputStream(pa.PythonFile(file), "zstd") as stream:
                while data := stream.read(block):
                    yield data
    except (_Damaged, EOFError, OSError) as error:
        raise ReadError(
            f"{path}: the {compression} data is damaged or cut off: {error}",
            path=address(path),
            hint="fetch the file again, or set compression=none if it is not compressed",
        ) from error


def _gunzip(file: Any, block: int) -> Iterator[bytes]:
    engine = _zlib.decompressobj(_GZIP)
    started = False
    while True:
        raw = file.read(block >> 2)
        if not raw:
            break
        full = False
        while raw or full:
            started = True
            data = engine.decompress(raw, block)
            raw, full = engine.unconsumed_tail, len(data) == block
            if data:
                yield data
            if engine.eof:
                raw, full = engine.unused_data.lstrip(b"\0"), False
                engine, started = _zlib.decompressobj(_GZIP), bool(raw)
    if started:
        raise EOFError("the end-of-stream marker is missing")


def deflate(compression: str | None, data: bytes | memoryview | pa.Buffer) -> bytes | memoryview | pa.Buffer:
    """One complete gzip member or zstd frame; members and frames one after another are one valid file."""
    if compression is None:
        return data
    if compression == "gz":
        engine: Any = _zlib.compressobj(1, zlib.DEFLATED, _GZIP)
        return cast(bytes, engine.compress(data) + engine.flush())
    return pa.Codec("zstd").compress(data, asbytes=True)


def head(path: File, compression: str | None, size: int) -> bytes:
    """The first `size` bytes of the content, fewer if it is shorter."""
    parts: list[bytes] = []
    have = 0
    for data in inflate(path, compression, block=min(BLOCK, max(size, 1))):
        parts.append(data)
        have += len(data)
        if have >= size:
            break
    return b"".join(parts)[:size]
