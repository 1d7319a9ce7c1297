"""Messages that are joined within a time and deduplicated: what is kept is bounded by event time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.engine.state.test_state import asked, fine, same, written

from tongqu.core.errors import InvalidPlanError
from tongqu.engine.state.source import StateSource
from tongqu.testing.log_file import LogFile

INSTANT = "make_timestamp(at * 1000000)"
WITHIN = {"left": "sent_at", "right": "paid_at", "after": "60s", "lateness": "20s"}


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    """Orders, and payments for them; `at` in seconds."""
    made = LogFile(tmp_path / "source.db")
    made.create("orders", "id INTEGER PRIMARY KEY, no INTEGER, at INTEGER")
    made.create("payments", "id INTEGER PRIMARY KEY, no INTEGER, at INTEGER")
    return made


def came(log: LogFile, table: str, *rows: tuple[int, int, int]) -> None:
    """One transaction for each row: id, no, at."""
    for id, no, at in rows:
        log.write(("c", table, {"id": id, "no": no, "at": at}))


def joined(how: str, within: dict[str, str] | None) -> list[dict[str, Any]]:
    bound = {"within": within} if within else {}
    return [
        {"id": "sent", "from": "orders", "derive": {"sent_at": INSTANT}},
        {"id": "orders_sent", "select": ["id", "no", "sent_at"]},
        {"id": "paid", "from": "payments", "derive": {"paid_at": INSTANT, "payment": "id"}},
        {"id": "payments_paid", "select": ["payment", "no", "paid_at"]},
        {"id": "both", "join": {"left": "orders_sent", "right": "payments_paid", "on": "no", "how": how, **bound}},
    ]


def test_two_logs_of_changes_are_joined_within_a_time(log: LogFile) -> None:
    one = asked(log, joined("inner", WITHIN), "orders", "payments")
    came(log, "orders", (1, 10, 0), (2, 20, 30))
    came(log, "payments", (7, 10, 60), (8, 20, 91))
    fine(one.follow())
    assert same(one)
    came(log, "payments", (9, 20, 90))
    came(log, "orders", (3, 10, 55))
    fine(one.follow())
    assert same(one)
    assert len(written(one)) == 3


def test_messages_that_match_are_appended_and_old_ones_forgotten(log: LogFile) -> None:
    kept: list[StateSource] = []
    one = asked(log, joined("inner", WITHIN), "orders", "payments", messages=("orders", "payments"), write="append")
    came(log, "orders", (1, 10, 0), (2, 20, 30))
    came(log, "payments", (7, 10, 60))
    fine(one.follow(check=kept.append))
    assert [(row["id"], row["payment"], row["_op"]) for row in written(one)] == [(1, 7, "u")]
    came(log, "orders", (3, 30, 500))
    came(log, "payments", (8, 20, 80), (9, 30, 510), (5, 20, 85))
    report = one.follow()
    assert report.to_json()["streams"][0]["quarantined"] == 1  # 85 is more than 20 s behind 510
    assert sorted((row["id"], row["payment"]) for row in written(one)) == [(1, 7), (2, 8), (3, 9)]


def test_a_left_join_keeps_what_has_no_match_yet(log: LogFile) -> None:
    bound = {"left": "sent_at", "right": "paid_at", "after": "60s"}
    steps = joined("left", bound)
    steps[-1]["join"] |= {"on": {"no": "payment"}, "suffix": "_paid"}  # the payment's key: at most one matches
    one = asked(log, steps, "orders", "payments")
    came(log, "orders", (1, 7, 0), (2, 8, 30))
    fine(one.follow())
    assert [row["paid_at"] for row in written(one)] == [None, None]
    came(log, "payments", (8, 1, 50))
    fine(one.follow())
    assert same(one)
    assert sorted(row["paid_at"] is None for row in written(one)) == [False, True]


def test_messages_without_a_bound_are_refused(log: LogFile) -> None:
    one = asked(log, joined("inner", None), "orders", "payments", messages=("orders", "payments"))
    with pytest.raises(InvalidPlanError, match="for ever"):
        one.follow()


def test_repeated_messages_come_once(log: LogFile) -> None:
    steps: list[dict[str, Any]] = [
        {"derive": {"ts": INSTANT}},
        {"deduplicate": {"by": ["no"], "expire": {"on": "ts", "after": "100s"}}},
    ]
    one = asked(log, steps, "orders", messages=("orders",))
    came(log, "orders", (1, 10, 0), (2, 10, 5), (3, 20, 50))
    fine(one.follow())
    came(log, "orders", (4, 10, 99), (5, 20, 120))
    fine(one.follow())
    assert sorted((row["no"], row["id"]) for row in written(one)) == [(10, 1), (20, 3)]
    came(log, "orders", (6, 10, 130), (7, 30, 10))
    report = one.follow()
    assert report.to_json()["streams"][0]["quarantined"] == 1  # 10 is more than 100 s behind 130
    assert sorted((row["no"], row["id"]) for row in written(one)) == [(10, 6), (20, 3)]
