"""Which keys a change puts into the feed, whatever the caller asked to be given back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.rest.plant import QUALITY, plant

from tongqu.core.policy import Actor
from tongqu.gateway.asking import Ask, Compare, Joined, Wanted
from tongqu.gateway.exchange import Notes
from tongqu.gateway.live.ledger import FeedLedger
from tongqu.gateway.problems import Problem
from tongqu.gateway.writing import Edit, Writer
from tongqu.store.feed import Feed

ONE = Compare("id", "eq", "1")
LINE = Compare("line_id", "eq", "1")
ROW = {"id": 9, "lot": "L9", "plant": "A"}


def told(folder: Path, *edits: Edit, actor: Actor = QUALITY, api: str = "items") -> list[Any]:
    """Operation and key of what the edits put into the feed."""

    async def whole() -> list[Any]:
        feed = Feed(folder / "feed.db")
        try:
            async with plant(folder) as there:
                writer = Writer(there.reader, FeedLedger(feed))
                for edit in edits:
                    await writer.write(there.api(api), actor, edit, None, Notes())
            assert feed.settle() == 0
            return [(one.op, dict(one.key)) for one in feed.after(0)]
        finally:
            feed.close()

    return asyncio.run(whole())


@pytest.mark.parametrize(
    ("edit", "events"),
    [
        (Edit("insert", [ROW, {**ROW, "id": 10}]), [("insert", "9"), ("insert", "10")]),
        (Edit("insert", [ROW], returning=Ask()), [("insert", "9")]),
        (Edit("insert", [ROW], returning=Ask(wanted=(Wanted("lot"),))), [("insert", "9")]),
        (Edit("upsert", [{**ROW, "id": 1}]), [("update", "1")]),
        (Edit("update", [{"weight": 2}], ONE), [("update", "1")]),
        (Edit("update", [{"weight": 2}], LINE), [("update", "1"), ("update", "2")]),
        (Edit("update", [{"weight": 2}], LINE, returning=Ask()), [("update", "1"), ("update", "2")]),
        (Edit("update", [{"weight": 2}], LINE, returning=Ask(wanted=(Wanted("lot"),))), [("touched", None)]),
        (Edit("update", [{"weight": 2}], Joined("and", (ONE, LINE)), returning=Ask(wanted=(Wanted("lot"),))),
         [("update", "1")]),
        (Edit("delete", (), LINE), [("delete", "1"), ("delete", "2")]),
        (Edit("update", [{"id": 77}], Compare("id", "eq", "5")), [("update", "77"), ("delete", "5")]),
        (Edit("update", [{"weight": 2}], Compare("id", "eq", "4")), []),
    ],
)  # fmt: skip
def test_a_change_is_told_by_the_keys_of_its_rows(tmp_path: Path, edit: Edit, events: list[tuple[str, Any]]) -> None:
    found = told(tmp_path, edit)
    assert sorted(found, key=str) == sorted(((op, {"id": key} if key else {}) for op, key in events), key=str)


def test_a_key_of_several_fields_is_told_whole(tmp_path: Path) -> None:
    edit = Edit("insert", [{"item_id": 1, "no": 7, "word": "x"}])
    assert told(tmp_path, edit, api="defects") == [("insert", {"item_id": "1", "no": "7"})]


def test_a_change_that_is_refused_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"row\.conflict"):
        told(tmp_path, Edit("insert", [{**ROW, "id": 1}]))
    feed = Feed(tmp_path / "feed.db", clock=lambda: 9e12)
    assert (feed.settle(), feed.last()) == (0, 0)
    feed.close()
