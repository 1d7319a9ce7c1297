"""What systems that hold one record agree on."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tongqu.meaning.agreeing import EVERY, Conflict, Known, Policy, Row, decide

SIDES = ("a", "b", "c")
ROWS = st.one_of(st.none(), st.fixed_dictionaries({name: st.sampled_from(["1", "2", "3"]) for name in ("x", "v")}))


def policy(conflict: Conflict = "master", **more: str) -> Policy:
    return Policy(SIDES, {EVERY: "a", **more}, conflict, "v" if conflict == "newest" else "", takes=frozenset(SIDES))


def row(x: str, v: str = "1") -> Row:
    return {"x": x, "v": v}


def test_a_side_that_nobody_changed_is_brought_to_what_another_changed() -> None:
    found = decide(Known(row("1")), {"a": row("1"), "b": row("2"), "c": row("1")}, policy())
    assert (found.row, found.origin) == (row("2"), "b")
    assert found.writes == {"a": (row("1"), row("2")), "c": (row("1"), row("2"))}


def test_a_side_that_lags_behind_has_changed_nothing() -> None:
    known = Known(row("2"), bases={"c": row("1")})
    found = decide(known, {"a": row("2"), "b": row("2"), "c": row("1")}, policy())
    assert (found.changed, found.writes) == ((), {"c": (row("1"), row("2"))})


def test_a_deletion_against_an_edit() -> None:
    now = {"a": None, "b": row("2"), "c": row("1")}
    assert decide(Known(row("1")), now, policy()).row is None
    assert decide(Known(row("1")), now, policy("merge")).row is None  # the master deleted it
    assert decide(Known(row("1")), {**now, "a": row("1"), "c": None}, policy("merge")).row == row("2")
    assert decide(Known(row("1")), now, policy("newest")).row == row("2")


def test_what_was_agreed_while_a_side_was_away_counts_as_much_as_what_it_says() -> None:
    known = Known({"x": "2", "y": "1", "v": "9"}, {"c": {"x": "1", "y": "1", "v": "1"}}, origin="b")
    here = {"x": "3", "y": "4", "v": "2"}
    now: dict[str, Row] = {"a": known.agreed, "b": known.agreed, "c": here}
    for conflict in ("master", "newest"):
        found = decide(known, now, policy(conflict))
        assert (found.row, found.lost) == (known.agreed, {"c": here})
    found = decide(known, now, policy("merge"))
    assert (found.row, found.lost) == ({"x": "2", "y": "4", "v": "9"}, {"c": here})
    found = decide(known, now, policy("merge", x="c"))
    assert (found.row, found.lost) == ({"x": "3", "y": "4", "v": "9"}, {"c": here, "b": known.agreed})
    assert decide(known, now, policy("manual")).asks
    away = Known(known.agreed, {"a": {"x": "1", "y": "1", "v": "1"}}, origin="b")
    found = decide(away, {"a": here, "b": known.agreed}, policy())  # the master decides, and it is told
    assert (found.row, found.lost) == (here, {"b": known.agreed})
    deleted = Known(None, {"c": row("1")}, last=row("1"), origin="a")
    assert decide(deleted, {"a": None, "b": None, "c": row("2")}, policy("merge")).row is None
    assert decide(deleted, {"a": None, "b": None, "c": row("2")}, policy("newest")).row == row("2")


def test_versions_compare_as_numbers_and_as_instants() -> None:
    now = {"a": row("5", "9"), "b": row("6", "10"), "c": row("1", "1")}
    assert decide(Known(row("1", "1")), now, policy("newest")).row == row("6", "10")
    later = {"a": row("5", "2026-01-02 00:00:00"), "b": row("6", "2026-01-10 00:00:00")}
    assert decide(Known(row("1", "2026-01-01 00:00:00")), later, policy("newest")).row == later["b"]


@settings(max_examples=60, deadline=None)
@given(
    agreed=ROWS,
    base=ROWS,
    now=st.fixed_dictionaries(dict.fromkeys(SIDES, ROWS)),
    conflict=st.sampled_from(["master", "newest", "merge"]),
)
def test_after_the_writes_there_is_nothing_more_to_decide(
    agreed: Row, base: Row, now: dict[str, Row], conflict: Conflict
) -> None:
    found = decide(Known(agreed, bases={"c": base}), now, policy(conflict))
    after = {side: found.writes[side][1] if side in found.writes else now[side] for side in SIDES}
    assert all(held == found.row for held in after.values())
    again = decide(Known(found.row), after, policy(conflict))
    assert (again.row, again.writes, again.changed) == (found.row, {}, ())
