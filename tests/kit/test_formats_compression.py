"""Packed files are one stream of blocks, from any offset."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tongqu.core.errors import ReadError
from tongqu.kit.formats.compression import deflate, head, inflate

TEXT = b"".join(b"row %d\n" % i for i in range(50_000))


@pytest.mark.parametrize("packed", [None, "gz", "zst"])
@pytest.mark.parametrize("offset", [0, 1, 300_000, len(TEXT)])
def test_members_one_after_another_are_one_file(tmp_path: Path, packed: str | None, offset: int) -> None:
    half = len(TEXT) // 2
    (tmp_path / "x").write_bytes(bytes(deflate(packed, TEXT[:half])) + bytes(deflate(packed, TEXT[half:])))
    assert b"".join(inflate(tmp_path / "x", packed, offset, block=7_000)) == TEXT[offset:]
    assert head(tmp_path / "x", packed, 10) == TEXT[:10]


def test_gzip_of_other_tools_and_padding(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(gzip.compress(TEXT, 9) + b"\0" * 512)
    assert b"".join(inflate(tmp_path / "x", "gz")) == TEXT


@pytest.mark.parametrize("packed", ["gz", "zst"])
def test_a_cut_or_foreign_file_is_an_error(tmp_path: Path, packed: str) -> None:
    (tmp_path / "x").write_bytes(bytes(deflate(packed, TEXT))[:-9])
    with pytest.raises(ReadError, match="damaged or cut off"):
        list(inflate(tmp_path / "x", packed))
    (tmp_path / "y").write_bytes(b"not packed at all")
    with pytest.raises(ReadError):
        list(inflate(tmp_path / "y", packed))
