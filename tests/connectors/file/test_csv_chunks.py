"""The raw chunks of a CSV: the first ones are small, so that the target begins while the next is prepared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MIB = 1 << 20


def test_chunks_grow_and_lose_nothing(desk: Any, tmp_path: Path) -> None:
    body = b"".join(b'%d,"a, ""b""\n%0900d"\n' % (n, n) for n in range(16_000))
    (tmp_path / "long.csv").write_bytes(b"id,text\n" + body)
    opened = desk.source(tmp_path / "long.csv")
    (dataset,) = opened.datasets()

    chunks = desk.passed(opened, dataset, "csv", chunk_rows=1_000_000)

    texts = [b"".join(chunk.chunks) for chunk in chunks]
    assert b"".join(texts) == body
    assert [round(len(text) / MIB) for text in texts] == [2, 8, round(len(body) / MIB) - 10]
    assert [chunk.last for chunk in chunks] == [False, False, True]
    again = desk.passed(opened, dataset, "csv", chunk_rows=1_000_000, after=chunks[0].position)
    assert b"".join(b"".join(chunk.chunks) for chunk in again) == b"".join(texts[1:])
