"""Where a table is cut: by the planner's statistics if they are fresh, by counting rows off otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf

import pytest

from tongqu.connectors.postgres.ranges import Bound, Cuts, Ordering, chunk_end
from tongqu.connectors.postgres.settings import from_url
from tongqu.connectors.postgres.source import PostgresSource
from tongqu.core.data import Read, Split
from tongqu.core.select import Column, Select
from tongqu.testing.psql import execute

BY_ID = Ordering('"t"', ("id",), ("bigint",))
TENTHS = Cuts(tuple(str(n) for n in range(0, 1001, 100)), step=100)
"""1,000 rows with keys up to 1000, as the statistics of an eleventh of them have it."""


def ends(known: Cuts | None, upper: str, rows: int, answers: Sequence[Sequence[Sequence[object]]] = ()) -> list[str]:
    """The ends of all chunks up to `upper`; the database's `answers` come in order."""
    found: list[str] = []
    lower: Bound | None = None
    said = iter(answers)
    while True:
        search = chunk_end(BY_ID, known, lower, [upper], rows)
        try:
            next(search)
            while True:
                search.send(next(said))
        except StopIteration as end:
            bound, last = end.value
        found.append(bound[0])
        if last:
            return found
        lower = bound


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (300, ["300", "700", "1000"]),  # three chunks of about the size, not four of which one is small
        (500, ["500", "1000"]),
        (900, ["1000"]),
        (5000, ["1000"]),
        (100, [str(n) for n in range(100, 1001, 100)]),
    ],
)
def test_fresh_statistics_cut_without_asking(rows: int, expected: list[str]) -> None:
    assert ends(TENTHS, "1000", rows) == expected


def test_rows_above_the_statistics_are_looked_for_and_counted_off() -> None:
    nothing_above: list[list[list[object]]] = [[]]
    assert ends(TENTHS, "1003", 5000, nothing_above) == ["1003"]

    many_above: list[list[list[object]]] = [[["3500"]], [["6000"]], []]
    assert ends(TENTHS, "9000", 5000, many_above) == ["1000", "6000", "9000"]


@pytest.mark.parametrize("known", [None, Cuts(("0", "1000"), step=inf), Cuts(("0", "1000"), step=1000)])
def test_rows_are_counted_off_where_statistics_are_missing_stale_or_coarse(known: Cuts | None) -> None:
    assert ends(known, "1000", 300, [[["300"]], [["600"]], [["900"]], []]) == ["300", "600", "900", "1000"]


def test_a_cut_above_the_end_of_a_split_reads_nothing_beyond_it() -> None:
    condition = BY_ID.condition(["100"], ["500"], within=["250"])

    assert condition == "\"id\" > '100'::bigint AND \"id\" <= '500'::bigint AND \"id\" <= '250'::bigint"


def test_rows_up_to_a_cut_above_the_end_of_a_split_are_read_only_to_its_end(pg_url: str) -> None:
    """What the columnar lane reads when raw bytes were refused whose chunk ended above the split (its end is no key of
    the statistics): rows beyond belong to the next split."""
    execute(
        pg_url, "CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 1000) i; ALTER TABLE t ADD PRIMARY KEY (id)"
    )
    source = PostgresSource(from_url(pg_url))
    [dataset] = source.datasets(["t"])
    split = Split("0", dataset.name, {"lower": None, "upper": ["125"]})

    batches = list(source.read(Read(dataset, split, until={"key": ["500"]})))

    assert sum(batch.rows.num_rows for batch in batches) == 125
    source.close()


KEYS = {
    "bigint": "i * 7",
    'text COLLATE "C"': "chr(65 + i % 50) || i",
    "uuid": "md5(i::text)::uuid",
    "numeric(12,2)": "i / 4.0",
    "timestamptz": "'2026-01-01 00:00:00+08'::timestamptz + i * interval '61.5 seconds'",
}


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("later", ["", "INSERT INTO t SELECT {key}, i FROM generate_series(6001, 8000) i"])
def test_chunks_of_all_splits_are_the_table_once(kind: str, later: str, pg_url: str) -> None:
    key = KEYS[kind]
    execute(pg_url, f"CREATE TABLE t (id {kind} PRIMARY KEY, n int)")
    execute(pg_url, f"INSERT INTO t SELECT {key}, i FROM generate_series(1, 6000) i")
    execute(pg_url, "VACUUM ANALYZE t")
    if later:
        execute(pg_url, later.format(key=key))

    pieces = [piece for split in splits(pg_url) for piece in copied(pg_url, split, 800)]

    assert sorted(n for piece in pieces for n in piece) == list(range(1, (8000 if later else 6000) + 1))
    assert all(0 <= len(piece) <= 2200 for piece in pieces), [len(piece) for piece in pieces]


def source_of(url: str) -> PostgresSource:
    return PostgresSource(from_url(url))


def splits(url: str) -> list[Split]:
    source = source_of(url)
    try:
        return source.splits(source.datasets(["t"])[0], 2)
    finally:
        source.close()


def copied(url: str, split: Split, rows: int) -> list[list[int]]:
    """The numbers in each chunk of a split."""
    source = source_of(url)
    (dataset,) = source.datasets(["t"])
    pieces = []
    try:
        for piece in source.copy_out(Read(dataset, split, chunk_rows=rows), Select((Column("n"),)), "pgcopy-text"):
            pieces.append([int(line) for line in b"".join(piece.chunks).split()])
    finally:
        source.close()
    return pieces


def test_positions_of_stale_cuts_go_on(pg_url: str) -> None:
    execute(pg_url, "CREATE TABLE t (id bigint PRIMARY KEY, n int)")
    execute(pg_url, "INSERT INTO t SELECT i, i FROM generate_series(1, 6000) i")
    execute(pg_url, "VACUUM ANALYZE t")
    split = Split("0", "t", {"lower": ["37"], "upper": ["1333"]})  # of a run that began with other statistics

    pieces = copied(pg_url, split, 300)

    assert [n for piece in pieces for n in sorted(piece)] == list(range(38, 1334))
    assert all(low[-1] < high[0] for low, high in pairwise(sorted(p) for p in pieces if p))
