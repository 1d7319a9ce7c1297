"""Bad rows in the form in which a ledger stores them: with ids, and each schema once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tongqu.core.bad_rows import COLUMNS, BadRows
from tongqu.core.kernels import pc
from tongqu.kit.originals import constant

_DIGITS = 6
_NUL = "\0"


def stored(rows: BadRows, first: str, same: Mapping[str, str], at_once: int) -> Iterator[pa.Table]:
    """The rows as tables of text, `at_once` rows each at most: `id` (`first` and a number that sorts as rows come), the
    columns of `same` with one value, and those of a bad row.

    `shape` is the schema on the first row of a step that has it, and `=` with that row's id on the others. NUL is
    written as JSON would: several systems have no NUL in texts.
    """
    holders: dict[tuple[str, str], str] = {}
    start = 0
    for block in rows.blocks(at_once):
        numbers = pa.array(np.arange(start, start + block.num_rows)).cast(pa.string())
        ids = pc.binary_join_element_wise(constant(first), pc.utf8_lpad(numbers, _DIGITS, "0"), constant("-"))
        columns: dict[str, Any] = {"id": ids}
        columns |= {name: _repeated(value, block.num_rows) for name, value in same.items()}
        columns |= {name: _storable(_whole(block.column(name))) for name in COLUMNS}
        columns["shape"] = _held(_whole(block.column("step")), _whole(block.column("shape")), ids, holders)
        yield pa.Table.from_pydict(columns)
        start += block.num_rows


def _held(steps: Any, shapes: Any, ids: Any, holders: dict[tuple[str, str], str]) -> Any:
    """For each row its shape, or the name of the row of its step that holds it; null where it has none."""
    known: Sequence[str] = shapes.dictionary.to_pylist()
    names: Sequence[str] = steps.dictionary.to_pylist()
    pairs = steps.indices.to_numpy().astype(np.int64) * len(known) + shapes.indices.to_numpy()
    found, firsts, kinds = np.unique(pairs, return_index=True, return_inverse=True)
    texts: list[str] = []
    holding: list[tuple[int, str]] = []
    missing = np.zeros(len(found), np.bool_)
    for number, (pair, place) in enumerate(zip(found.tolist(), firsts.tolist(), strict=True)):
        step, shape = names[pair // len(known)], known[pair % len(known)]
        missing[number] = not shape
        holder = holders.setdefault((step, shape), ids[place].as_py()) if shape else ""
        if shape and holder == ids[place].as_py():
            holding.append((place, shape))
        texts.append(f"={holder}")
    for place, shape in holding:
        kinds[place] = len(texts)
        missing = np.append(missing, False)
        texts.append(shape)
    indexes: Any = pa.array(kinds.astype(np.int32), mask=missing[kinds])
    return pa.DictionaryArray.from_arrays(indexes, pa.array(texts, pa.string()))


def _repeated(text: str, rows: int) -> Any:
    indexes: Any = pa.array(np.zeros(rows, np.int32))
    return pa.DictionaryArray.from_arrays(indexes, pa.array([text], pa.string()))


def _storable(column: Any) -> Any:
    if isinstance(column, pa.DictionaryArray):
        return pa.DictionaryArray.from_arrays(column.indices, _storable(column.dictionary))
    if not pc.match_substring(column, _NUL).true_count:
        return column
    return pc.replace_substring(column, _NUL, "\\u0000")


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
