"""A table that its log has lost is paused alone: the others go on, and read anew it joins them without a gap."""

from __future__ import annotations

from tests.engine.following.conftest import DEADLINE, TABLES, Live, System

from tongqu.engine.report import Report


def statuses(report: Report) -> dict[str, str]:
    return {one.name: one.status for one in report.streams}


def problem(report: Report, stream: str) -> dict[str, str]:
    return next(one.problem for one in report.streams if one.name == stream) or {}


def test_a_dropped_table_is_paused_alone_and_joins_again(system: System) -> None:
    with Live(system) as live:
        for table in TABLES:
            system.arrives(table, 1)
            system.put(table, 2, "second")
            system.arrives(table, 2)
        system.put("b", 3, "before the loss")
        system.arrives("b", 3)
        system.do("DROP TABLE b")
        for number, table in enumerate(("a", "c", "a")):
            system.put(table, 10 + number, "beside it")
            system.arrives(table, 10 + number)
        assert live.lost.wait(DEADLINE)
        system.put("c", 20, "behind it")
        system.arrives("c", 20)
    assert statuses(live.report) == {"a": "stopped", "b": "failed", "c": "stopped"}
    assert problem(live.report, "b")["code"] == "connector.lost_position"
    assert problem(live.report, "b")["hint"].endswith("the same command with --reload b")

    system.put("a", 25, "without it")
    gone = system.follow()
    assert statuses(gone) == {"a": "succeeded", "b": "failed", "c": "succeeded"}
    assert (gone.exit_code, system.rows("a")[-1]) == (1, (25, "without it"))

    system.make("b")
    for id in (1, 2, 9):
        system.put("b", id, "anew")
    system.put("a", 30, "meanwhile")
    still = system.follow()
    assert statuses(still) == {"a": "succeeded", "b": "failed", "c": "succeeded"}
    assert problem(still, "b") == problem(live.report, "b")
    assert system.rows("b") == [(1, "first"), (2, "second"), (3, "before the loss")]
    assert system.rows("a")[-1] == (30, "meanwhile")

    system.put("a", 40, "with it")
    mended = system.follow(reload=["b", "c"])
    assert statuses(mended) == dict.fromkeys(TABLES, "succeeded"), mended.problems
    assert system.rows("b") == [(1, "anew"), (2, "anew"), (9, "anew")]
    system.put("b", 50, "followed")
    system.put("a", 50, "followed")
    assert statuses(system.follow()) == dict.fromkeys(TABLES, "succeeded")
    assert system.rows("b")[-1] == (50, "followed")
    assert [row[0] for row in system.rows("a")] == [1, 2, 10, 12, 25, 30, 40, 50]
    assert [row[0] for row in system.rows("c")] == [1, 2, 11, 20]
