"""Sets rows aside that a target refuses only when a whole generation becomes visible: values that come twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tongqu.core.data import BadRow, Counts, Written
from tongqu.kit.db import Db
from tongqu.kit.ledger import Ledger
from tongqu.kit.sql.landing import Landing

if TYPE_CHECKING:
    from tongqu.kit.sql.quarantining import Quarantining

_MOST = 5_000
_AT_ONCE = 200


def set_aside(sink: Quarantining, db: Db, ledger: Ledger, landing: Landing, at: str) -> list[BadRow]:
    """Move staged rows that repeat a value which must be unique into quarantine, in a transaction of its own; the first
    row of a value stays. Returns them.

    None are moved where the sink cannot name them, or where they are too many to be dirty data (half of the rows, or
    more than 5,000): then the key is wrong, not the rows.
    """
    if not sink.row_id or not landing.staged:
        return []
    stage = sink.places(db, landing)[2]
    db.begin()
    try:
        if not sink.has_table(db, landing.stage):
            db.rollback()
            return []
        ledger.hold(landing.write.sync, landing.write.stream, landing.fence)
        total = int(db.rows(f"SELECT count(*) FROM {stage}")[0][0])
        bad: list[BadRow] = []
        for unique in _unique(landing):
            bad += _repeated(sink, db, landing, stage, unique)
            if len(bad) > _MOST or len(bad) * 2 >= total:
                db.rollback()
                return []
        if bad:
            _note(ledger, landing, bad, at)
        db.commit()
    except BaseException:
        db.rollback()
        raise
    return bad


def without(counts: Counts, bad: Sequence[BadRow]) -> Counts:
    """The counts of staged rows when these have been set aside."""
    return replace(counts, inserted=counts.inserted - len(bad), quarantined=counts.quarantined + len(bad))


def with_refused(written: Written, counts: Counts, bad: Sequence[BadRow]) -> Written:
    """What `finish` did: where every staged row became a row of the target, those that were left."""
    if written == Written():
        written = Written(inserted=counts.inserted)
    return replace(written, refused=list(bad))


def _unique(landing: Landing) -> list[tuple[str, ...]]:
    """The column sets in which no value may come twice, and that arrive as a whole."""
    write, target = landing.write, landing.target
    merges = bool(write.key) and write.mode.value != "replace"  # rows of one key are merged, the last counts
    found: list[tuple[str, ...]] = []
    if target is None:
        found += [tuple(write.key)]
        found += [tuple(index.columns) for index in write.dataset.indexes if index.unique]
    else:
        found += [target.key, *target.unique]
    columns = set(write.dataset.columns)
    sets = [names for names in dict.fromkeys(found) if names and set(names) <= columns]
    return [names for names in sets if not (merges and set(names) == set(write.key))]


def _repeated(sink: Quarantining, db: Db, landing: Landing, stage: str, unique: tuple[str, ...]) -> list[BadRow]:
    names = [name for name in landing.write.dataset.columns if name in landing.types or not landing.types]
    keys = ", ".join(map(db.quote, unique))
    present = " AND ".join(f"{db.quote(name)} IS NOT NULL" for name in unique)
    listed = ", ".join(map(db.quote, names))
    ranked = (
        f"SELECT {sink.row_id} AS _tongqu_id, row_number() OVER (PARTITION BY {keys} ORDER BY {sink.row_id}) "
        f"AS _tongqu_rank, {listed} FROM {stage} WHERE {present}"
    )
    query = f"SELECT _tongqu_id, {listed} FROM ({ranked}) AS r WHERE _tongqu_rank > 1 ORDER BY _tongqu_id"
    found = sink.picked(db, f"{query} LIMIT {_MOST + 1}", names)
    ids = [id for id, _ in found]
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        holes = ", ".join([sink.row_hole] * len(some))
        db.run(f"DELETE FROM {stage} WHERE {sink.row_id} IN ({holes})", some)
    return _bad(landing, unique, [text for _, text in found])


def _bad(landing: Landing, unique: tuple[str, ...], texts: Sequence[str]) -> list[BadRow]:
    """Quarantine records of rows as the target had them, in the shape in which they came."""
    from tongqu.kit.originals import originals, restored, shape_of

    schema = landing.write.dataset.schema
    back = restored(texts, schema)
    exact = dict(zip(back.places, originals(back.rows), strict=True))
    shape = shape_of(schema)
    bad: list[BadRow] = []
    for number, text in enumerate(texts):
        row = json.loads(text, parse_float=str, parse_int=str)
        value = ", ".join(str(row[name]) for name in unique)
        words = f"{', '.join(unique)} {value[:80]!r} comes more than once"
        kept = number in exact
        original = exact.get(number, text)
        bad.append(BadRow("sink", "target.unique", unique[0], value, original, words, shape=shape if kept else ""))
    return bad


def _note(ledger: Ledger, landing: Landing, bad: Sequence[BadRow], at: str) -> None:
    """Store the rows, and put them right in the counts of a split, which a resumed run adds up."""
    write = landing.write
    first = f"{write.run}-{write.stream}-finish-{landing.fence:09d}"
    ledger.quarantine.add(sync=write.sync, run=write.run, stream=write.stream, first=first, rows=bad, at=at)
    splits = ledger.splits(write.sync, write.stream)
    if splits:
        one = next(iter(splits.values()))
        ledger.advance(write.sync, write.stream, landing.fence, replace(one, counts=without(one.counts, bad)), at)
