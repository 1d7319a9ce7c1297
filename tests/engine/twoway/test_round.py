"""Rounds of two-way sync over systems in memory: what one side changes all have, and nothing is lost without a word."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tongqu.core.errors import FencedError
from tongqu.engine.twoway.packing import Shape, pack
from tongqu.engine.twoway.place import Want
from tongqu.engine.twoway.round import TwoWay, taken
from tongqu.meaning.agreeing import EVERY, Policy
from tongqu.store.agreements import Settlement
from tongqu.store.twoway import Book
from tongqu.testing.places import Died, MemoryPlace

FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int64()),
    pa.field("price", pa.string()),
    pa.field("note", pa.string()),
]
SHAPE = Shape(pa.schema(FIELDS), ("id",))
NAMES = ("erp", "mes", "qms")


class Remembering(Book):
    """A book that also knows every row that was ever agreed on."""

    ever: set[tuple[str, str | None]]

    def _settle(self, database: sqlite3.Connection, name: str, told: Settlement) -> None:
        super()._settle(database, name, told)
        self.ever |= {(one.key, one.row) for one in told.agreed}


class World:
    """Some systems in memory, and the sync between them."""

    def __init__(self, folder: Path, names: tuple[str, ...] = NAMES, **policy: Any):
        self.places = {name: MemoryPlace(name) for name in names}
        ticks, ids = count(1), count(1)
        self.book = Remembering(folder / "two-way.db", lambda: float(next(ticks)))
        self.book.ever = set()
        told: dict[str, Any] = {"master": {EVERY: names[0]}, "takes": frozenset(names)} | policy
        self.sync = TwoWay(
            "s", SHAPE, self.places, Policy(names, **told), self.book, lambda: f"b{next(ids):05}", lambda: 0.0
        )  # fmt: skip
        self.book.stage("s", "two_way")

    def put(self, side: str, id: int, price: str | None, note: str | None = "") -> None:
        """Somebody writes a row at a side."""
        self.places[side].held[str(id)] = pack([str(id), price, note])

    def drop(self, side: str, id: int) -> None:
        """Somebody deletes it."""
        self.places[side].held.pop(str(id), None)

    def at(self, side: str, id: int) -> tuple[str | None, ...] | None:
        """What a side holds: price and note."""
        text = self.places[side].held.get(str(id))
        return None if text is None else tuple(list((SHAPE.row(text) or {}).values())[1:])

    def all(self, id: int) -> set[tuple[str | None, ...] | None]:
        """What the sides hold."""
        return {self.at(side, id) for side in self.places}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path


def test_what_one_side_changes_all_have_and_our_own_writes_are_no_changes(folder: Path) -> None:
    world = World(folder)
    world.put("mes", 1, "10")
    assert world.sync.round().written == 2
    assert world.all(1) == {("10", "")}
    world.put("qms", 1, "11")
    assert world.sync.round().written == 2
    assert world.all(1) == {("11", "")}
    again = world.sync.round()
    assert (again.written, again.changed, again.records) == (0, 0, 0)


@pytest.mark.parametrize(
    ("policy", "agreed"),
    [
        ({"conflict": "master"}, ("1", "new")),
        ({"conflict": "merge"}, ("2", "new")),
        ({"conflict": "master", "master": {EVERY: "erp", "price": "mes"}}, ("2", "new")),
        ({"conflict": "newest", "version": "price"}, ("2", "old")),
    ],
    ids=["master", "merge", "by-field", "newest"],
)
def test_two_sides_change_one_record(folder: Path, policy: dict[str, Any], agreed: tuple[str, str]) -> None:
    world = World(folder, **policy)
    world.put("erp", 1, "1", "old")
    world.sync.round()
    world.put("erp", 1, "1", "new")
    world.put("mes", 1, "2", "old")
    found = world.sync.round()
    assert world.all(1) == {agreed}
    lost = [(one.side, one.key) for one in world.book.overruled("s")]
    assert found.overruled == len(lost) == (0 if agreed == ("2", "new") else 1)


def test_an_edit_at_a_side_that_was_away_does_not_undo_what_was_agreed_meanwhile(folder: Path) -> None:
    world = World(folder, conflict="merge")
    world.put("erp", 1, "1", "old")
    world.sync.round()
    world.places["qms"].away = True
    world.put("mes", 1, "2", "old")
    world.sync.round()
    world.put("qms", 1, "1", "new")
    world.places["qms"].away = False
    world.sync.round()
    assert world.all(1) == {("2", "new")}
    assert world.book.overruled("s") == []


def test_an_edit_while_the_one_before_it_is_being_agreed_on_is_an_edit_of_that(folder: Path) -> None:
    world = World(folder, names=("erp", "mes"), conflict="merge")
    world.put("erp", 1, "0", "0")
    world.sync.round()
    world.put("erp", 1, "1", "0")
    world.put("mes", 1, "0", "1")

    def meanwhile() -> None:  # both systems are edited between what was read there and what is written
        for place in world.places.values():
            place.dies = lambda: None
        world.put("erp", 1, "2", "0")
        world.put("mes", 1, "0", "2")

    for place in world.places.values():
        place.dies = meanwhile
    found = world.sync.round()
    assert (found.stale, found.records, found.differences) == (2, 1, 0)
    assert world.all(1) == {("2", "2")}
    assert world.book.overruled("s") == []


def test_a_side_that_joins_has_deleted_nothing_and_decides_nothing(folder: Path) -> None:
    world = World(folder, names=("erp", "mes"))
    world.sync.tables = {"erp": "erp.parts", "mes": "mes.parts"}
    for id in (1, 2):
        world.put("erp", id, "1")
    world.sync.round()
    qms = MemoryPlace("qms", {"2": pack(["2", "9", ""])})
    world.sync.places = world.places | {"qms": qms}
    world.sync.policy = Policy(NAMES, {EVERY: "erp"}, takes=frozenset(NAMES))
    world.sync.tables = {**world.sync.tables, "qms": "qms.parts"}
    assert world.sync.round().written == 2
    assert world.all(1) == world.all(2) == {("1", "")}
    assert qms.held == world.places["erp"].held
    assert [(one.side, one.key) for one in world.book.overruled("s")] == [("qms", "2")]
    qms.held.clear()
    world.sync.tables = {**world.sync.tables, "qms": "other.parts"}
    world.sync.round()
    assert qms.held == world.places["erp"].held


def test_what_a_system_makes_of_a_row_is_no_edit(folder: Path) -> None:
    world = World(folder, conflict="merge")
    world.places["mes"].makes = lambda text: pack([*text.split("\x1f")[:2], text.split("\x1f")[2][:3]])
    world.put("erp", 1, "1", "abcdef")
    world.sync.round()
    assert world.at("mes", 1) == ("1", "abc")
    found = world.sync.round()
    assert (found.records, found.written, world.at("erp", 1)) == (0, 0, ("1", "abcdef"))
    world.put("mes", 1, "2", "abc")
    world.sync.round()
    assert world.at("erp", 1) == world.at("qms", 1) == ("2", "abcdef")
    world.put("mes", 1, "2", "xyz")
    world.sync.round()
    assert world.all(1) == {("2", "xyz")}


def test_systems_that_answer_each_write_with_a_stamp_come_to_rest(folder: Path) -> None:
    world = World(folder, names=("erp", "mes"), conflict="merge", master={EVERY: "erp", "note": "mes"})
    stamps = count(1)
    world.places["erp"].makes = lambda text: pack([text[0], str(next(stamps)), text.split("\x1f")[2]])
    world.places["mes"].makes = lambda text: pack([*text.split("\x1f")[:2], str(next(stamps))])
    world.put("erp", 1, "0", "")
    for _ in range(8):
        last = world.sync.round()
    assert (last.written, last.records, last.differences) == (0, 0, 0)


def test_a_value_that_one_row_may_hold_moves_to_another(folder: Path) -> None:
    world = World(folder, names=("erp", "mes"))
    mes = world.places["mes"]

    def taken(want: Want) -> bool:
        price = (SHAPE.row(want.new) or {}).get("price")
        return any(key != want.key and (SHAPE.row(row) or {})["price"] == price for key, row in mes.held.items())

    world.put("erp", 1, "a")
    world.put("erp", 2, "b")
    world.sync.round()
    mes.refuses = taken
    world.put("erp", 2, "c")
    world.put("erp", 1, "b")
    assert world.sync.round().refused == 0
    assert mes.held == world.places["erp"].held


def test_a_conflict_waits_until_somebody_chooses(folder: Path) -> None:
    world = World(folder, conflict="manual")
    world.put("erp", 1, "1")
    world.sync.round()
    world.put("erp", 1, "2")
    world.put("mes", 1, "3")
    assert world.sync.round().conflicts == world.sync.round().conflicts == 1
    [waits] = world.book.waiting("s")
    assert world.all(1) == {("2", ""), ("3", ""), ("1", "")}
    assert world.book.rule("s", waits.id, {"use": "mes"}, "wang")
    world.sync.round()
    assert world.all(1) == {("3", "")}
    assert world.book.waiting("s") == []
    assert [one.side for one in world.book.overruled("s")] == ["erp"]


def test_a_choice_does_not_count_when_the_record_has_changed_since(folder: Path) -> None:
    world = World(folder, conflict="manual")
    world.put("erp", 1, "2")
    world.put("mes", 1, "3")
    world.sync.round()
    world.book.rule("s", world.book.waiting("s")[0].id, {"use": "mes"}, "wang")
    world.put("erp", 1, "4")
    world.sync.round()
    [waits] = world.book.waiting("s")
    assert (waits.ruling, world.at("erp", 1)) == ("", ("4", ""))
    world.put("mes", 1, "5")  # between what somebody read and what they choose
    world.sync.round()
    assert not world.book.rule("s", waits.id, {"use": "mes"}, "wang")


def test_what_is_deleted_stays_deleted_where_an_old_copy_comes_back(folder: Path) -> None:
    world = World(folder)
    world.put("erp", 1, "1")
    world.sync.round()
    world.drop("mes", 1)
    world.sync.round()
    assert world.all(1) == {None}
    world.put("qms", 1, "1")  # a backup that was put back
    world.sync.round()
    assert world.all(1) == {None}
    world.put("qms", 1, "9")  # a new record under the old key
    world.sync.round()
    assert world.all(1) == {("9", "")}


def test_a_side_that_was_away_does_not_bring_back_what_was_deleted(folder: Path) -> None:
    world = World(folder)
    world.put("erp", 1, "1")
    world.sync.round()
    world.places["qms"].away = True
    world.drop("erp", 1)
    assert world.sync.round().unreached == {"qms": "connector.connect"}
    world.places["qms"].away = False
    world.sync.round()
    assert world.all(1) == {None}


def test_deleted_rows_are_put_back_where_deletes_are_not_carried(folder: Path) -> None:
    world = World(folder, restores=True)
    world.put("erp", 1, "1")
    world.sync.round()
    world.drop("mes", 1)
    world.sync.round()
    assert world.all(1) == {("1", "")}


def test_only_approved_versions_leave_the_system_they_are_made_in(folder: Path) -> None:
    world = World(folder, approved=("note", "ok"))
    world.put("erp", 1, "1", "ok")
    world.sync.round()
    world.put("mes", 1, "2", "draft")
    assert world.sync.round().held == 1
    assert [world.at(side, 1) for side in NAMES] == [("1", "ok"), ("2", "draft"), ("1", "ok")]
    assert [SHAPE.row(one.row) for one in world.book.newest("s")] == [{"id": "1", "price": "1", "note": "ok"}]
    world.put("mes", 1, "2", "ok")
    world.sync.round()
    assert world.all(1) == {("2", "ok")}
    world.put("qms", 2, "7", "draft")
    world.sync.round()
    assert [world.at(side, 2) for side in NAMES] == [None, None, ("7", "draft")]


def test_a_side_that_people_only_read_has_what_is_approved_and_nothing_else(folder: Path) -> None:
    policy = Policy(NAMES, readers=frozenset(("qms",)))
    world = World(folder, approved=("note", "ok"), readers=policy.readers, takes=taken("two_way", policy))
    world.put("erp", 1, "1", "ok")
    world.sync.round()
    world.put("erp", 1, "2", "draft")
    world.put("qms", 1, "3", "draft")
    world.put("qms", 2, "4", "ok")
    world.sync.round()
    assert (world.at("qms", 1), world.all(2)) == (("1", "ok"), {None})


@pytest.mark.parametrize("compensates", [True, False], ids=["taken-back", "waits"])
def test_a_side_that_refuses_a_record(folder: Path, compensates: bool) -> None:
    world = World(folder)
    world.sync.compensates = compensates
    for id in (1, 2):
        world.put("erp", id, "1")
    world.sync.round()
    world.places["qms"].refuses = lambda want: "99" in (want.new or "")
    world.put("erp", 1, "99")
    world.put("erp", 2, "5")
    found = world.sync.round()
    assert (found.refused, world.all(2)) == (1, {("5", "")})
    assert [world.at(side, 1) for side in NAMES] == [
        ("99", ""), ("1", "") if compensates else ("99", ""), ("1", ""),
    ]  # fmt: skip
    [waits] = world.book.waiting("s")
    assert (waits.kind, waits.key, waits.why) == ("refused", "1", "qms")
    writes = world.places["mes"].writes
    world.sync.round()
    assert world.places["mes"].writes == writes  # it is not tried again and again
    world.places["qms"].refuses = lambda want: False
    world.book.rule("s", waits.id, {"retry": True}, "wang")
    world.sync.round()
    assert (world.all(1), world.book.waiting("s")) == ({("99", "")}, [])


def test_shadow_compares_and_writes_nothing(folder: Path) -> None:
    world = World(folder)
    world.sync.stage = "shadow"
    world.put("erp", 1, "1")
    world.put("mes", 1, "1")
    world.put("qms", 1, "1")
    world.put("erp", 2, "1")
    found = world.sync.round()
    assert (found.differences, found.would, found.written) == (1, {"mes": 1, "qms": 1}, 0)
    assert [place.writes for place in world.places.values()] == [0, 0, 0]
    assert [one.key for one in world.book.newest("s")] == ["1"]


def test_one_way_takes_the_master_s_changes_and_tells_of_the_others(folder: Path) -> None:
    world = World(folder, takes=taken("one_way", Policy(NAMES)))
    world.sync.stage = "one_way"
    for id in (1, 2):
        world.put("erp", id, "1")
    world.sync.round()
    world.put("mes", 1, "5")
    world.put("mes", 2, "6")
    world.put("erp", 2, "7")
    found = world.sync.round()
    assert (found.differences, found.overruled) == (1, 1)
    assert (world.at("mes", 1), world.all(2)) == (("5", ""), {("7", "")})
    assert world.sync.round().differences == 1


def test_who_ran_it_before_writes_nothing_more(folder: Path) -> None:
    world = World(folder)
    world.book.take("s")
    with closing(Book(folder / "two-way.db", lambda: 0.0)) as other:
        other.take("s")
    world.put("mes", 1, "10")
    with pytest.raises(FencedError):
        world.sync.round()
    assert world.at("erp", 1) is None


Edit = tuple[int, int, str | None]
EDITS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 2), st.integers(1, 3), st.one_of(st.none(), st.sampled_from(["a", "b", "c", "d"]))),
        st.sampled_from(["round", "die", "away", "back"]),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=EDITS,
    conflict=st.sampled_from(["master", "merge", "newest", "manual"]),
    seed=st.integers(0, 1 << 16),
)
def test_any_interleaving_converges_and_no_edit_is_lost_without_a_word(
    tmp_path_factory: pytest.TempPathFactory, edits: list[Edit | str], conflict: str, seed: int
) -> None:
    world = World(tmp_path_factory.mktemp("w"), conflict=conflict, version="price")
    chance = random.Random(seed)  # noqa: S311  a test's
    duties: dict[tuple[str, int], str] = {}  # what was written at a side last
    for number, edit in enumerate(edits):
        if edit == "round":
            world.sync.round()
        elif edit == "die":
            _dying(world, chance)
        elif isinstance(edit, str):
            world.places[chance.choice(NAMES)].away = edit == "away"
        else:
            side, id, value = NAMES[edit[0]], edit[1], edit[2]
            if value is None:
                world.drop(side, id)
                duties.pop((side, id), None)
            else:
                world.put(side, id, f"{number:03}", value)
                duties[side, id] = f"{number:03}"
    _settled(world)
    for id in (1, 2, 3):
        assert len(world.all(id)) == 1
    overruled = {(one.key, one.said) for one in world.book.overruled("s")}
    told = {(key, (SHAPE.row(row) or {}).get("price")) for key, row in world.book.ever | overruled}
    assert {(str(id), price) for (_, id), price in duties.items()} <= told
    world.book.close()


def _dying(world: World, chance: random.Random) -> None:
    """A round in a process that dies at some write, and what the next process finds."""
    left = chance.randrange(1, 8)

    def dies() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Died

    for place in world.places.values():
        place.dies = dies
    try:
        with suppress(Died):
            world.sync.round()
    finally:
        for place in world.places.values():
            place.dies = lambda: None


def _settled(world: World) -> None:
    for place in world.places.values():
        place.away = False
    for _ in range(4):
        world.sync.round()
        for waits in world.book.waiting("s"):
            world.book.rule("s", waits.id, {"use": "erp"}, "wang")
    found = world.sync.round()
    assert (found.written, found.stale, found.changed) == (0, 0, 0)


def test_a_write_that_was_done_is_not_done_again() -> None:
    place = MemoryPlace("erp", {"1": "a"})
    want = Want("1", "a", "b")
    assert place.write("x", [want]) == place.write("x", [want]) == [True]
    assert place.writes == 1
