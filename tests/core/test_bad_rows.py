"""Bad rows in columns are the rows they were made of."""

from __future__ import annotations

from dataclasses import astuple

import pyarrow as pa

from tongqu.core.bad_rows import COLUMNS, ENCODED, BadRows, count_refused
from tongqu.core.data import BadRow

ONE = BadRow("check", "check.range", "n", "9", '{"n": 9}', "n '9' is too large", shape="s")
TWO = BadRow("clean", "clean.clamp", "n", None, '{"n": null}', "became 1", "repaired", "s")
THREE = BadRow("read", "data.cast", "", "x", "x", "line 3")


def block(*rows: BadRow) -> BadRows:
    cells = dict(zip(COLUMNS, zip(*map(astuple, rows), strict=True), strict=True))
    arrays = [pa.array(cells[name], pa.string()) for name in COLUMNS]
    made = [a.dictionary_encode() if n in ENCODED else a for n, a in zip(COLUMNS, arrays, strict=True)]
    return BadRows.block(pa.Table.from_arrays(made, names=list(COLUMNS)))


def test_blocks_and_single_rows_are_one_sequence() -> None:
    rows = block(ONE, TWO) + BadRows([THREE]) + block(ONE)
    assert list(rows) == rows == [ONE, TWO, THREE, ONE]
    assert (len(rows), rows[1], rows[2], rows[-1], rows[1:3]) == (4, TWO, THREE, ONE, [TWO, THREE])
    assert rows != [ONE]
    assert not BadRows()


def test_repaired_rows_are_not_counted_as_refused() -> None:
    assert (block(ONE, TWO).refused, count_refused([ONE, TWO, THREE])) == (1, 2)


def test_blocks_of_a_size_hold_every_row_once() -> None:
    rows = block(ONE, TWO, ONE) + BadRows([THREE, TWO])
    parts = [list(BadRows.block(part)) for part in rows.blocks(2)]
    assert parts == [[ONE, TWO], [ONE], [THREE, TWO]]


def test_rows_without_a_shape_get_one() -> None:
    assert [row.shape for row in (block(ONE) + BadRows([THREE])).shaped("t")] == ["s", "t"]


def test_what_is_taken_is_gone() -> None:
    rows = BadRows([ONE])
    rows.append(TWO)
    assert rows.take() == [ONE, TWO]
    assert rows == []
