"""Takes the compression off an answer while it arrives, never more at a time than asked for."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import Literal

import pyarrow as pa

from tongqu.core.errors import AnswerError, TongquError

_PIECE = 1 << 20
ACCEPTED = "gzip, deflate, zstd"
"""What calls say they understand."""


def inflated(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The chunks without their `Content-Encoding`, in pieces of at most 1 MiB; raises AnswerError if they are damaged
    or of an encoding that nobody asked for."""
    for name in reversed([one.strip().lower() for one in encoding.split(",") if one.strip()]):
        if name in ("gzip", "x-gzip", "deflate"):
            chunks = _zlib(chunks, name)
        elif name in ("zstd", "br"):
            chunks = _arrow(chunks, "brotli" if name == "br" else "zstd")
        elif name != "identity":
            raise AnswerError(f"the answer is compressed by {name!r}, which was not asked for")
    return chunks


def _zlib(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    machine = None
    begun = False
    for chunk in chunks:
        data = chunk
        while data:
            if machine is None:
                raw = name == "deflate" and not _has_zlib_header(data)
                machine = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS | 32)
            begun = True
            try:
                piece = machine.decompress(data, _PIECE)
            except zlib.error as error:
                raise AnswerError(f"the answer is not {name}: {error}") from None
            if piece:
                yield piece
            data = machine.unconsumed_tail
            if machine.eof:
                data, machine = machine.unused_data, None
    if machine is not None:
        if tail := machine.flush(_PIECE):
            yield tail
        if not machine.eof:
            raise AnswerError(f"the {name} of the answer ends early")
    elif not begun:
        return


def _has_zlib_header(data: bytes) -> bool:
    return len(data) > 1 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0


class _Pieces(io.RawIOBase):
    """Chunks as a file; keeps an error of the connection, which Arrow would turn into its own."""

    def __init__(self, chunks: Iterator[bytes]):
        self._chunks = chunks
        self._rest = b""
        self.error: TongquError | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            while not self._rest:
                self._rest = next(self._chunks)
        except StopIteration:
            return b""
        except TongquError as error:
            self.error = error
            raise OSError("the answer broke off") from error
        data, self._rest = (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])
        return data


def _arrow(chunks: Iterator[bytes], name: Literal["brotli", "zstd"]) -> Iterator[bytes]:
    source = _Pieces(chunks)
    try:
        with pa.CompressedInputStream(pa.PythonFile(source, mode="r"), name) as stream:
            while piece := stream.read(_PIECE):
                yield piece
    except (OSError, pa.ArrowInvalid) as error:
        raise source.error or AnswerError(f"the answer is not {name}: {error}") from None
