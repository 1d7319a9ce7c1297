"""Lists of FTP servers that have no MLSD, as Unix and Windows servers write them."""

from __future__ import annotations

import pytest

from tongqu.kit.places.ftp import _instant, _parsed
from tongqu.kit.places.place import Entry


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("-rw-r--r--    1 ftp      ftp          1024 Jan 31 23:59 orders 1.csv", Entry("in/orders 1.csv", 1024)),
        ("-rw-r--r--+   1 0 0 5000000000 Jan 31  2024 big.csv.gz", Entry("in/big.csv.gz", 5_000_000_000)),
        ("drwxr-xr-x    2 ftp      ftp          4096 Jan 31 23:59 done", Entry("in/done", folder=True)),
        ("lrwxrwxrwx    1 ftp ftp 7 Jan 31 23:59 latest.csv -> x/y.csv", Entry("in/latest.csv")),
        ("01-31-26  11:59PM                 1024 检验.csv", Entry("in/检验.csv", 1024)),
        ("01-31-2026  11:59PM       <DIR>          done", Entry("in/done", folder=True)),
        ("total 12", None),
        ("drwxr-xr-x    2 ftp      ftp          4096 Jan 31 23:59 ..", None),
    ],
)
def test_lines_of_a_list(line: str, entry: Entry | None) -> None:
    assert _parsed("in", line) == entry


@pytest.mark.parametrize(
    ("text", "seconds"), [("20260131235959", 1769903999), ("20260131235959.123", 1769903999), ("never", 0), ("", 0)]
)
def test_times(text: str, seconds: int) -> None:
    assert _instant(text) == seconds * 1_000_000_000
