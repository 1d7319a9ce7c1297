"""The effects of some arriving rows: which, in what order, under what idempotency keys, and how far each is."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tongqu.kit.remote.calls import AtPeer, Planned, Scope
from tongqu.kit.remote.effect import Effects, Op, Outcome, Result

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Work:
    """Some rows on their way to the peer; every list has one entry per row."""

    rows: pa.Table
    texts: list[str]
    """Each row as JSON."""
    ids: list[str]
    bases: list[str]
    keys: list[str]
    digests: list[str]
    ops: list[Op]
    peers: list[str]
    groups: list[str]
    """The value that rows of one group share; empty for none."""
    cursors: list[str]
    """The cursor of each row as a JSON object; empty for none."""
    expected: list[Op | None]
    """Whether an effect will create or update, as far as that is known before."""
    outcomes: list[Outcome | None]
    bundles: list[str] = field(default_factory=list)
    """Rows of one value go in calls of their own; empty if any may go together."""
    unchanged: set[int] = field(default_factory=set)
    """Rows that need not be sent."""
    undone: dict[int, str] = field(default_factory=dict)
    """Rows whose group failed and whose effect does not stand any more, and why."""
    superseded: set[int] = field(default_factory=set)
    """Rows that went in again although the peer has a newer one of their key."""
    standing: dict[str, int] = field(default_factory=dict)
    """Groups of which rows came before, and how many of those stand."""
    half_undone: dict[int, str] = field(default_factory=dict)
    """Rows whose group failed and whose effect is still to be taken back, or could not be."""

    def effects(self, places: Sequence[int]) -> Effects:
        """The effects at these places, which are of one kind."""
        import pyarrow as pa

        return Effects(
            self.ops[places[0]],
            self.rows.take(pa.array(places, pa.int64())),
            [self.ids[place] for place in places],
            [self.keys[place] for place in places],
            [self.peers[place] for place in places],
        )

    def planned(self, places: Sequence[int]) -> Iterator[Planned]:
        """What the ledger notes of these before they are sent."""
        from tongqu.kit.originals import shape_of

        shape = shape_of(self.rows.schema)
        for place in places:
            yield Planned(
                self.ids[place], self.bases[place], self.ops[place], self.keys[place], self.digests[place],
                self.texts[place], shape, self.groups[place], self.cursors[place],
                self.expected[place],
            )  # fmt: skip

    def belong(self, places: Sequence[int], call: int) -> None:
        """Make the rows of a call a group."""
        for place in places:
            self.groups[place] = f"call {call}"

    def went(self, place: int) -> bool:
        """Whether the effect took place and still stands."""
        outcome = self.outcomes[place]
        stands = place not in self.undone and place not in self.half_undone
        return outcome is not None and outcome.result is Result.OK and stands

    def waves(self, places: Sequence[int]) -> list[list[int]]:
        """The places so that no two of a wave have the same key, and those of one key are in order."""
        if not any(self.keys):
            return [list(places)] if places else []
        rank: Counter[str] = Counter()
        found: list[list[int]] = []
        for place in places:
            at = rank[self.keys[place]] if self.keys[place] else 0
            rank[self.keys[place]] += 1
            if at == len(found):
                found.append([])
            found[at].append(place)
        return found

    def calls(self, places: Sequence[int], most: Callable[[Op], int]) -> list[list[int]]:
        """The places as calls: each of one kind, of at most so many, rows of one group beside each other."""
        bundles = self.bundles or [""] * len(self.ids)
        ordered = sorted(places, key=lambda place: (self.ops[place], bundles[place], self.groups[place], place))
        found: list[list[int]] = []
        for place in ordered:
            alike = bool(found) and (self.ops[found[-1][0]], bundles[found[-1][0]]) == (self.ops[place], bundles[place])
            if alike and len(found[-1]) < most(self.ops[place]):
                found[-1].append(place)
            else:
                found.append([place])
        return found


def work_of(rows: pa.Table, key: Sequence[str], op: Op, scope: Scope, *, group: str, cursor: str) -> Work:
    """The effects of rows, their idempotency keys still without the number of the occurrence (see `number`)."""
    from tongqu.kit.originals import originals, shown

    count = rows.num_rows
    texts = originals(rows)
    keys = originals(rows.select(list(key))) if key else [""] * count
    digests = [digest(text) for text in texts]
    prefix = "\0".join((scope.sync, scope.stream, scope.run, scope.split, op.value))
    bases = [digest(f"{prefix}\0{k}\0{d}") for k, d in zip(keys, digests, strict=True)]
    groups = ["" if value is None else value for value in shown(rows.column(group))] if group else [""] * count
    cursors = originals(rows.select([cursor])) if cursor else [""] * count
    none = [None] * count
    return Work(
        rows, texts, [*bases], bases, keys, digests, [op] * count, [""] * count, groups, cursors, [*none], [*none]
    )


def number(work: Work, before: dict[str, int]) -> None:
    """Make the idempotency keys: the digest of what the effect is and of how often it occurred before in this run."""
    seen = Counter(before)
    for place, base in enumerate(work.bases):
        work.ids[place] = digest(f"{base}\0{seen[base]}")
        seen[base] += 1


def digest(text: str) -> str:
    """32 hex digits (BLAKE2b, RFC 7693, 16 bytes) that another text does not have."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def last_of_each(rows: pa.Table, key: Sequence[str]) -> tuple[pa.Table, int]:
    """The last row of each key, in their order, and how many rows were left out."""
    import numpy as np
    import pyarrow as pa

    from tongqu.kit.originals import original_texts

    codes: Any = original_texts(rows.select(list(key))).dictionary_encode()
    if len(codes.dictionary) == rows.num_rows:
        return rows, 0
    backwards = codes.indices.to_numpy()[::-1]
    _, first = np.unique(backwards, return_index=True)
    places = np.sort(rows.num_rows - 1 - first)
    return rows.take(pa.array(places, pa.int64())), rows.num_rows - len(places)


def superseded(work: Work, at_peer: Mapping[str, AtPeer], cursor: str | None) -> set[int]:
    """Rows of which the peer was given one with a greater cursor."""
    from tongqu.kit.originals import restored

    places = [place for place, key in enumerate(work.keys) if key in at_peer and at_peer[key].cursor]
    if not cursor or cursor not in work.rows.column_names or not places:
        return set()
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = work.rows.select([cursor]).schema
    came = restored([at_peer[work.keys[place]].cursor for place in places], schema)
    ours = work.rows.column(cursor).take(pa.array([places[place] for place in came.places], pa.int64()))
    newer: Any = pc.greater(came.rows.column(0), ours)
    return {places[place] for place, is_newer in zip(came.places, newer.to_pylist(), strict=True) if is_newer}
