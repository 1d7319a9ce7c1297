"""Rows of a changing source that steps let pass before and leave out now: their keys, so that the target loses them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tongqu.core.data import Mode, Write, WriteMode

if TYPE_CHECKING:
    import pyarrow as pa

    from tongqu.engine.job import Stream
    from tongqu.engine.segment import Outcome

_PLACE = "_tongqu_place"


class Trail:
    """Follows the rows of one chunk through steps: of which row of the chunk each is made, and which were left out."""

    def __init__(self, rows: int):
        import numpy as np

        self.out: Any = np.arange(rows)
        """For each row that came out so far, its row's place in the chunk."""
        self._left: list[Any] = []

    def follow(self, outcome: Outcome) -> None:
        """Go on with what the next steps made of the rows that came out."""
        if outcome.left is not None:
            self._left.append(self.out[outcome.left])
        if outcome.places is not None:
            self.out = self.out[outcome.places]

    @property
    def left(self) -> Any:
        """The places of the rows that some step left out; refused rows are not among them."""
        import numpy as np

        return np.concatenate(self._left) if self._left else np.empty(0, np.int64)


@dataclass(frozen=True)
class Leaving:
    """How keys of the target are found in rows of the source: `columns` are copied into `key` as they are."""

    columns: tuple[str, ...]
    key: pa.Schema
    steps: tuple[str, ...]
    """The steps that may leave rows out."""

    @property
    def reason(self) -> str:
        """Why rows cannot travel as raw bytes."""
        return f"a row that {' or '.join(map(repr, self.steps))} leaves out is deleted in the target by its key"

    def keys(self, rows: pa.Table, trail: Trail) -> pa.Table | None:
        """The keys of the rows of a chunk that were left out, None if there is none. Of several rows with one key the
        last one decides that was not refused; a row without a key never was in the target."""
        import numpy as np
        import pyarrow as pa

        left = trail.left
        if not len(left):
            return None
        places = np.concatenate([left, trail.out])
        columns: list[Any] = [rows.column(name).take(pa.array(places)).combine_chunks() for name in self.columns]
        keys = pa.Table.from_arrays(columns, schema=self.key)
        last = keys.append_column(_PLACE, pa.array(places)).group_by(self.key.names).aggregate([(_PLACE, "max")])
        deciding = last.column(f"{_PLACE}_max").to_numpy()
        stays = np.isin(left, trail.out)  # a row that a step made several of, and one of those went through
        gone: Any = np.flatnonzero(np.isin(left, deciding) & ~stays & _known(columns, len(left)))
        return keys.take(gone) if len(gone) else None


def _known(columns: Sequence[Any], rows: int) -> Any:
    """Which of the first rows have a value in every column."""
    import numpy as np

    known = np.ones(rows, np.bool_)
    for column in columns:
        if column.null_count:
            known &= column.slice(0, rows).is_valid().to_numpy(zero_copy_only=False)
    return known


def leaving(stream: Stream, write: Write) -> Leaving | str | None:
    """How rows that leave the stream's filters are taken out of its target; the reason why they stay there, as a
    sentence; or None where nothing can leave, or where the stream was asked to keep such rows.

    The target's key must tell rows of the source apart: else a row would be deleted that stands for another one too.
    """
    chain = stream.chain
    by_key = write.mode in (WriteMode.UPSERT, WriteMode.HISTORY)
    if chain is None or stream.mode is Mode.FULL or not by_key or not stream.leaving or not chain.filters:
        return None
    stays = f"a row that changes so that {' or '.join(map(repr, chain.filters))} leaves it out stays as it was"
    if not stream.sink.removes(write):
        return f"{stays}: this target cannot delete single rows"
    copies = chain.copies()
    made = [name for name in write.key if name not in copies]
    if made:
        return f"{stays}: the key column {made[0]!r} is no plain copy of a column of the source"
    own = stream.identity or stream.source_dataset.key
    apart = [name for name in own if name not in {copies[name] for name in write.key}]
    if apart:
        return f"{stays}: another row of the source may have its key, which does not hold {apart[0]!r}"
    import pyarrow as pa

    key = pa.schema([chain.output.schema.field(name).with_nullable(True) for name in write.key])
    return Leaving(tuple(copies[name] for name in write.key), key, chain.filters)
