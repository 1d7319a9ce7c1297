"""What a chunk of changes comes to: of each key the last row, with the columns that the log left out filled in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tongqu.core.log import AT, CONTROL, OP, UNCHANGED

_CREATED = pa.scalar("c")
_DELETED = pa.scalar("d")


@dataclass(frozen=True)
class Net:
    """The changes of a chunk by key. Together with `merged`, they are all of its rows.

    `whole` are rows that are complete, `partial` rows that lack the columns they are listed under, `gone` rows whose
    keys are deleted; all have the dataset's columns and no others.
    """

    whole: pa.Table
    gone: pa.Table
    partial: Sequence[tuple[tuple[str, ...], pa.Table]] = ()
    fresh: pa.Table | None = None
    """Complete rows that were created in this chunk and did not exist before it; None where they are among `whole`."""
    merged: int = 0
    """Rows that a later row of the same key made pointless."""


def plain(rows: pa.Table) -> pa.Table:
    """The rows without the columns that tell of the change."""
    return rows.drop_columns([name for name in CONTROL if name in rows.schema.names])


def net(rows: pa.Table, key: Sequence[str], *, apart: bool = False) -> Net:
    """The net change of rows in the order of the log; `apart` tells new rows from others."""
    columns = [name for name in rows.schema.names if name not in CONTROL]
    codes, groups = _codes(rows, key)
    last = np.zeros(groups, np.int64)
    last[codes] = np.arange(rows.num_rows)  # of repeated places numpy keeps the value that was assigned last
    order = np.sort(last)
    final: Any = pa.array(order)
    ops: Any = rows.column(OP)
    created: Any = pc.equal(ops, _CREATED).to_numpy()
    whole: Any = rows.select(columns)
    lacks = lacking(rows)
    if groups != rows.num_rows:
        whole = whole.take(final)
        ops = ops.take(final)
    missing: dict[str, Any] = {}
    for name, mask in lacks.items():
        whole, left = _filled(whole, rows.column(name), name, (mask, codes, order, groups))
        if left.any():
            missing[name] = left
    deletes: Any = pc.equal(ops, _DELETED)
    deleted = deletes.to_numpy()
    merged = rows.num_rows - groups
    if not deleted.any() and not missing:
        if apart and created.all():
            return Net(whole.slice(0, 0), whole.slice(0, 0), fresh=whole, merged=merged)
        if not (apart and created.any()):
            return Net(whole, whole.slice(0, 0), merged=merged)
    gone = whole.filter(pa.array(deleted))
    partial = list(_partial(whole, missing, ~deleted)) if missing else []
    complete = ~deleted
    for left in missing.values():
        complete &= ~left
    if not (apart and created.any()):
        return Net(whole.filter(pa.array(complete)), gone, partial, merged=merged)
    first = np.zeros(groups, np.int64)
    first[codes[::-1]] = np.arange(rows.num_rows)[::-1]
    new = complete & created[first[codes[order]]]
    return Net(whole.filter(pa.array(complete & ~new)), gone, partial, whole.filter(pa.array(new)), merged)


def layers(rows: pa.Table, key: Sequence[str]) -> Iterator[pa.Table]:
    """The rows in layers in which each key comes once: the first change of every key, then the second ones, …"""
    codes, _ = _codes(rows, key)
    order = np.argsort(codes, kind="stable")
    ranked = codes[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ranks = np.empty(len(codes), np.int64)
    ranks[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(np.r_[starts, len(codes)]))
    for rank in range(int(ranks.max(initial=-1)) + 1):
        places: Any = pa.array(np.flatnonzero(ranks == rank))
        yield rows.take(places)


def newest(rows: pa.Table) -> int | None:
    """The latest commit of these rows, in microseconds since 1970; None where the log does not tell."""
    if AT not in rows.schema.names or rows.num_rows == 0:
        return None
    found: Any = pc.max(rows.column(AT).cast(pa.timestamp("us", "UTC")).cast(pa.int64()))
    value: int | None = found.as_py()
    return value


def key_texts(rows: pa.Table, key: Sequence[str]) -> Any:
    """One text for each row that is the same exactly for the same key."""
    parts: list[Any] = [pc.fill_null(_text(rows.column(name)), "\0") for name in key]
    return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "\x1f")


def _text(column: Any) -> Any:
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return pa.chunked_array([pa.array([None if v is None else v.hex() for v in column.to_pylist()], pa.string())])
    return column.cast(pa.string())


def _codes(rows: pa.Table, key: Sequence[str]) -> tuple[Any, int]:
    """A number from 0 for each row, the same for rows of the same key, and how many there are."""
    if len(key) == 1 and pa.types.is_integer(rows.schema.field(key[0]).type) and not rows.column(key[0]).null_count:
        values = rows.column(key[0]).to_numpy()
        if (values[1:] > values[:-1]).all():  # as they are while rows are only added
            return np.arange(len(values)), len(values)
    codes: Any = None
    for name in key:
        column = rows.column(name)
        encoded: Any = column.combine_chunks().dictionary_encode(null_encoding="encode")
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        own = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        size = len(encoded.dictionary)
        if codes is None:
            codes, groups = own, size
        else:
            _, codes = np.unique(codes * size + own, return_inverse=True)
            groups = int(codes.max(initial=-1)) + 1
    return codes, groups


def lacking(rows: pa.Table) -> dict[str, Any]:
    """For each column that some row lacks: which rows do."""
    if UNCHANGED not in rows.schema.names:
        return {}
    lists: Any = rows.column(UNCHANGED).combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks) if lists.num_chunks else pa.array([], lists.type)
    names, parents = lists.flatten(), pc.list_parent_indices(lists)
    if len(names) == 0:
        return {}
    encoded = names.dictionary_encode()
    kinds, places = encoded.indices.to_numpy(zero_copy_only=False), parents.to_numpy(zero_copy_only=False)
    found = {}
    for number, name in enumerate(encoded.dictionary.to_pylist()):
        mask = np.zeros(rows.num_rows, np.bool_)
        mask[places[kinds == number]] = True
        found[name] = mask
    return found


def _filled(whole: Any, values: Any, name: str, where: tuple[Any, Any, Any, int]) -> tuple[Any, Any]:
    """The last rows with a column's value taken from the last row of the key that has it, and which still lack it."""
    mask, codes, order, groups = where
    known = np.full(groups, -1, np.int64)
    having = np.flatnonzero(~mask)
    known[codes[having]] = having
    source = known[codes[order]]
    lacks = mask[order]
    left = lacks & (source < 0)
    fill = lacks & (source >= 0)
    if fill.any():
        places: Any = pa.array(np.where(fill, source, order))
        number = whole.schema.get_field_index(name)
        whole = whole.set_column(number, whole.schema.field(number), values.take(places))
    return whole, left


def _partial(whole: Any, missing: dict[str, Any], alive: Any) -> Iterator[tuple[tuple[str, ...], pa.Table]]:
    """Rows that lack columns, by the set of columns that they lack."""
    names = list(missing)
    lacks = np.stack([missing[name] & alive for name in names], axis=1)
    places = np.flatnonzero(lacks.any(axis=1))
    if not len(places):
        return
    kinds, which = np.unique(lacks[places], axis=0, return_inverse=True)
    for number, kind in enumerate(kinds):
        absent = tuple(name for name, lacking in zip(names, kind.tolist(), strict=True) if lacking)
        yield absent, whole.take(pa.array(places[which.reshape(-1) == number]))
