"""Blocks of rows as messages: an Arrow stream with its schema each, larger ones in pieces, and marks beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pyarrow as pa

from tongqu.core.errors import ReadError

Kind = Literal["rows", "piece", "truncate", "publish", "end"]
"""A block, a piece of one that goes on in the next message, the mark that empties, the one that shows a generation that
waits in the topic, the one behind a commit."""
KIND, STAGE, QUEUE = "tongqu-block", "tongqu-stage", "tongqu-queue"
"""Headers: the kind, the generation that the message belongs to (none: it holds at once), and whose topic it is."""
_BYTES = 256 << 10
_PIECE = 512 << 10


def messages(rows: pa.Table) -> Iterator[tuple[Kind, bytes]]:
    """Rows as messages, each smaller than what brokers take."""
    if not rows.num_rows:
        return
    count = max(1, rows.num_rows * _BYTES // max(rows.nbytes, 1))
    for start in range(0, rows.num_rows, count):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows.slice(start, count).combine_chunks())
        body = sink.getvalue().to_pybytes()
        for piece in range(0, len(body), _PIECE):
            yield "rows" if piece + _PIECE >= len(body) else "piece", body[piece : piece + _PIECE]


def headers(kind: Kind, queue: str, stage: str = "") -> list[tuple[str, bytes]]:
    """A message's headers."""
    told = [(KIND, kind.encode()), (QUEUE, queue.encode())]
    return [*told, (STAGE, stage.encode())] if stage else told


def told(message: Any) -> dict[str, str]:
    """A message's headers as text; raises ReadError for one that nobody could have put there as a part of a queue."""
    found = {name: (value or b"").decode("utf-8", "replace") for name, value in message.headers() or ()}
    if KIND not in found or QUEUE not in found:
        where = f"topic {message.topic()}, offset {message.offset()}"
        raise ReadError(
            f"{where}: this is no part of a queue; somebody else wrote into its topic",
            hint="let nobody else write there, and have the capture write all rows again (--restart) behind it",
        )
    return found


class Assembling:
    """Puts the pieces of blocks together."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def rows(self, kind: str, message: Any) -> Sequence[pa.RecordBatch]:
        """The rows that are whole with this message."""
        self._pieces.append(message.value() or b"")
        if kind == "piece":
            return ()
        body, self._pieces = b"".join(self._pieces), []
        try:
            with pa.ipc.open_stream(body) as stream:
                return list(stream)
        except pa.ArrowInvalid as error:
            raise ReadError(
                f"topic {message.topic()}, offset {message.offset()}: a block is damaged: {error}",
                hint="have the capture write all rows again: run it with --restart",
            ) from None
