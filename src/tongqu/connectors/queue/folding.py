"""The rows that the changes of a topic come to: of each key the last one, unless it was deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tongqu.core.errors import InvalidPlanError
from tongqu.core.log import OP, UNCHANGED

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from tongqu.kit.queue.reading import Records
    from tongqu.kit.queue.turn import Topic

_FOLD_ROWS = 500_000


def standing(topic: Topic, records: Iterator[Records | None]) -> np.ndarray[Any, Any]:
    """The records, in order, that are their key's last and no delete. Memory is that of the keys.

    Raises InvalidPlanError where the topic has no key, or where changes tell only some of a row's columns.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    from tongqu.kit.originals import originals

    parts: list[pa.Table] = []
    rows = 0
    for found in records:
        if found is None or found.kind != "rows":
            continue
        _whole(topic, found.rows)
        keys = pa.array(originals(pa.Table.from_batches([found.rows]).select(list(topic.key))), pa.large_string())
        places = pa.array(range(found.first, found.last + 1), pa.int64())
        gone: Any = pc.equal(found.rows.column(OP), pa.scalar("d"))
        signed: Any = pc.if_else(gone, pc.negate(places), places)  # a delete is told by its sign
        parts.append(pa.table({"key": keys, "at": places, "signed": signed}))
        rows += found.rows.num_rows
        if rows > _FOLD_ROWS:
            parts = [_newest(parts)]
            rows = 0
    if not parts:
        import numpy as np

        return np.zeros(0, np.int64)
    signed_all: Any = _newest(parts).column("signed").to_numpy()
    signed_all = signed_all[signed_all > 0]
    signed_all.sort()
    found_all: np.ndarray[Any, Any] = signed_all
    return found_all


def _newest(parts: list[pa.Table]) -> pa.Table:
    """Of each key its newest record."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = pa.concat_tables(parts)
    last = whole.group_by("key").aggregate([("at", "max")])
    kept: Any = pc.is_in(whole.column("at"), value_set=last.column("at_max").combine_chunks())
    return whole.filter(kept)


def _whole(topic: Topic, rows: pa.RecordBatch) -> None:
    import pyarrow.compute as pc

    lacking = UNCHANGED in rows.schema.names and pc.sum(pc.list_value_length(rows.column(UNCHANGED))).as_py()
    if lacking or not topic.key:
        why = "tells only some columns of a row" if lacking else "has no key"
        raise InvalidPlanError(
            f"the topic {topic.name!r} holds changes and {why}, so its rows cannot be told from it",
            path=topic.name,
            hint="follow it with --mode cdc; with --until-caught-up that ends at the last change",
        )
