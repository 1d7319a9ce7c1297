"""Every version of a followed dataset's rows is kept: what held at an instant is what the log told, or is not known."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.core.data import Dataset
from tongqu.core.errors import QualityError, SchemaError
from tongqu.core.log import AT, OP, UNCHANGED
from tongqu.engine.kept_versions import KeptVersions
from tongqu.meaning.versions import EVER

PRICES = Dataset(
    "prices", pa.schema({"id": pa.int64(), "price": pa.int64()}).append(pa.field("about", pa.string())), ("id",)
)
CHANGES = pa.schema(
    [
        *PRICES.schema,
        pa.field(OP, pa.string()),
        pa.field(AT, pa.timestamp("us", "UTC")),
        pa.field(UNCHANGED, pa.list_(pa.string())),
    ]
)
Row = dict[str, Any]
Version = tuple[int, int | None, str | None, int, int | None]


def change(op: str, at: int, id: int, price: int | None = None, about: str | None = None, *unsent: str) -> Row:
    return {"id": id, "price": price, "about": about, OP: op, AT: at, UNCHANGED: list(unsent) or None}


def changes(*rows: Row) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=CHANGES)


def opened(folder: Path, *, lateness: int = 0, always: bool = False) -> KeptVersions:
    return KeptVersions(folder / "prices.duckdb", PRICES, lateness=lateness, always=always)


def begun(folder: Path, *rows: tuple[int, int, str], at: int = 100, always: bool = False) -> KeptVersions:
    """A history that begins with these rows, read just before `at`."""
    kept = opened(folder, always=always)
    with kept.change({"n": 0}):
        kept.clear()
        kept.insert(pa.Table.from_pylist([dict(zip(PRICES.columns, row, strict=True)) for row in rows], PRICES.schema))
        kept.loaded(at)
    return kept


def tell(kept: KeptVersions, *pieces: pa.Table | None, now: int = 10_000) -> list[pa.Table] | None:
    with kept.change({"n": 1}):
        return kept.carry(pieces, now)


def versions(kept: KeptVersions) -> list[Version]:
    table = pa.concat_tables([kept._given.schema.empty_table(), *kept.whole()])
    times = [table.column(name).cast(pa.int64()).to_pylist() for name in table.column_names[3:]]
    values = [table.column(name).to_pylist() for name in table.column_names[:3]]
    found = [row for row in zip(*values, *times, strict=True) if row[3] != row[4]]
    return sorted(found, key=lambda row: (row[0], row[3]))


def test_a_version_holds_from_its_commit_until_the_next(tmp_path: Path) -> None:
    with closing(begun(tmp_path, (1, 10, "a"), (2, 20, "b"))) as kept:
        tell(kept, changes(change("u", 200, 1, 11, "a"), change("u", 300, 1, 12, "a"), change("d", 400, 2)))
        tell(kept, changes(change("c", 500, 2, 21, "c")))
        expected = [(1, 10, "a", 100, 200), (1, 11, "a", 200, 300), (1, 12, "a", 300, None),
                    (2, 20, "b", 100, 400), (2, 21, "c", 500, None)]  # fmt: skip
        assert versions(kept) == expected
        assert kept.gaps == [(EVER, 100)] and kept.newest == 500
    with closing(opened(tmp_path)) as again:
        assert versions(again) == expected and (again.gaps, again.newest) == ([(EVER, 100)], 500)


def test_columns_that_did_not_change_come_from_the_version_before(tmp_path: Path) -> None:
    with closing(begun(tmp_path, (1, 10, "a"))) as kept:
        tell(kept, changes(
            change("u", 200, 1, 11, None, "about"), change("u", 300, 1, None, "b", "price"),
            change("u", 400, 1, 12, None, "about"), change("c", 450, 2, 1, "n"),
            change("u", 460, 2, None, None, "about"),
        ))  # fmt: skip
        assert [row[1:3] for row in versions(kept)] == [
            (10, "a"),
            (11, "a"),
            (11, "b"),
            (12, "b"),
            (1, "n"),
            (None, "n"),
        ]
        with pytest.raises(QualityError, match="its row is new"):
            tell(kept, changes(change("u", 500, 3, 1, None, "about")))


def test_emptying_a_table_leaves_a_gap_since_its_instant_is_not_told(tmp_path: Path) -> None:
    with closing(begun(tmp_path, (1, 10, "a"))) as kept:
        tell(kept, changes(change("u", 200, 1, 11, "a")))
        kept.reached = 250
        assert tell(kept, None, changes(change("c", 600, 1, 12, "b")), now=700) is None
        assert versions(kept) == [(1, 10, "a", 100, 200), (1, 11, "a", 200, 250), (1, 12, "b", 600, None)]
        assert kept.gaps == [(EVER, 100), (250, 700)]


def test_after_a_lost_log_the_time_between_is_not_known(tmp_path: Path) -> None:
    with closing(begun(tmp_path, (1, 10, "a"), always=True)) as kept:
        assert kept.gaps == [] and versions(kept) == [(1, 10, "a", EVER, None)]
        tell(kept, changes(change("u", 200, 1, 11, "a")))
        kept.reached = 300
        with kept.change({"n": 0}):
            kept.clear()
            kept.insert(pa.table({"id": [1], "price": [13], "about": ["a"]}, schema=PRICES.schema))
            kept.loaded(900)
        assert versions(kept) == [(1, 10, "a", EVER, 200), (1, 11, "a", 200, 300), (1, 13, "a", 900, None)]
        assert kept.gaps == [(300, 900)]


def test_other_columns_begin_a_new_history_and_nothing_holds_since_ever_in_it(tmp_path: Path) -> None:
    begun(tmp_path, (1, 10, "a"), always=True).close()
    other = Dataset("prices", PRICES.schema.remove(2), ("id",))
    for anew, since in ((False, 900), (True, EVER)):  # who begins everything anew says what is true then
        with closing(KeptVersions(tmp_path / "prices.duckdb", other, lateness=0, always=True, anew=anew)) as kept:
            assert kept.fresh and kept.position is None
            with kept.change({"n": 0}):
                kept.clear()
                kept.insert(pa.table({"id": [1], "price": [13]}, schema=other.schema))
                kept.loaded(900)
            (rows,) = kept.whole()
            assert rows.column(2).cast(pa.int64()).to_pylist() == [since]
            assert kept.gaps == ([] if anew else [(EVER, 900)])


def test_what_ended_long_ago_is_let_go_and_then_not_known(tmp_path: Path) -> None:
    with closing(begun(tmp_path, (1, 10, "a"))) as kept:
        tell(kept, changes(change("u", 200, 1, 11, "a"), change("u", 300, 1, 12, "a")))
        kept.let_go(250)
        assert versions(kept) == [(1, 11, "a", 200, 300), (1, 12, "a", 300, None)]
        kept.let_go(240)
        assert kept.gaps == [(EVER, 250)]


def test_a_log_without_instants_is_refused(tmp_path: Path) -> None:
    with closing(begun(tmp_path)) as kept, pytest.raises(SchemaError, match="when changes were committed"):
        tell(kept, changes({**change("c", 1, 1, 1, "a"), AT: None}))


OPS = st.lists(
    st.tuples(st.sampled_from("cud"), st.integers(1, 3), st.integers(-3, 9), st.integers(0, 9), st.sampled_from("abx")),
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(OPS, st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_any_log_in_any_cuts_gives_what_held_at_every_instant(ops: Sequence[Any], cuts: Sequence[int]) -> None:
    """Against a naive replay: after each change the whole table, as of the greatest instant of its row so far."""
    told: list[Row] = []
    held, expected = {2: (5, "b")}, {2: [(100, (5, "b"))]}  # type: dict[int, tuple[int, str]], dict[int, list[Any]]
    at = 100
    for op, id, step, price, about in ops:
        at += step
        kind = "d" if op == "d" else "u" if id in held else "c"
        if kind == "d" and id not in held:
            continue
        unsent = ("about",) if kind == "u" and about == "x" else ()
        row = None if kind == "d" else (price, held[id][1] if unsent else about)
        told.append(change(kind, at, id, *((price, None if unsent else about) if row else (None, None)), *unsent))
        held.pop(id, None) if row is None else held.update({id: row})
        since = max(at, *(when for when, _ in expected.get(id, [(at, None)])))
        expected.setdefault(id, []).append((since, row))
    with TemporaryDirectory() as folder, closing(begun(Path(folder), (2, 5, "b"))) as kept:
        rest, number = told, 0
        while rest:
            size = cuts[number % len(cuts)]
            tell(kept, changes(*rest[:size]))
            rest, number = rest[size:], number + 1
        found = versions(kept)
        for id, turns in expected.items():
            mine = [(row[3], row[4] or at + 9, row[1:3]) for row in found if row[0] == id]
            for moment in range(90, at + 3):
                last = [row for when, row in turns if when <= moment]
                wanted = [last[-1]] if last and last[-1] is not None else []
                assert [row for since, until, row in mine if since <= moment < until] == wanted
