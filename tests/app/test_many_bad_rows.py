"""A run in which every row is bad keeps few of them in memory: they are stored before their chunk is committed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tongqu.core.data import BadRow, Counts
from tongqu.kit.sql.session import SqlSession
from tongqu.testing.command_line import inside, make, query
from tongqu.testing.drills import Command, ended

ROWS = 20_000
PROJECT = """\
project: workshop
connections:
  mes: {type: sqlite, path: mes.db}
  lake: {type: sqlite, path: lake.db}
pipelines:
  bad:
    source: {connection: mes, dataset: t}
    steps: [{check: {v: {min: 1}}}]
    sink: {connection: lake, dataset: good}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose source has only bad rows, all of one chunk."""
    make(tmp_path / "mes.db", "t", "id INTEGER PRIMARY KEY, v INTEGER", ((n, 0) for n in range(ROWS)))
    (tmp_path / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


def stored(folder: Path) -> list[tuple[object, ...]]:
    sql = "SELECT count(*), count(DISTINCT id), count(DISTINCT original) FROM _tongqu_quarantine"
    return query(folder / "lake.db", sql)


def test_all_are_stored_in_order_and_few_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    plain = SqlSession.set_aside

    def counted(self: SqlSession, rows: list[BadRow], counts: Counts) -> bool:
        seen.append((len(rows), counts.quarantined))
        return plain(self, rows, counts)

    monkeypatch.setattr(SqlSession, "set_aside", counted)
    done = inside(folder, "run", "bad", "--json")
    (stream,) = done.document["streams"]
    assert (done.code, stream["read"], stream["quarantined"]) == (3, ROWS, ROWS)
    assert [rows for rows, _ in seen] == [8192, 8192]
    assert [total for _, total in seen] == [8192, 16384]
    assert stored(folder) == [(ROWS, ROWS, ROWS)]
    ids = "SELECT json_extract(original, '$.id') FROM _tongqu_quarantine ORDER BY id"
    assert [id for (id,) in query(folder / "lake.db", ids)] == list(range(ROWS))


def test_what_was_stored_before_a_kill_is_not_there_twice(folder: Path) -> None:
    command = Command(folder / "home", ["run", "bad", "--project", str(folder)])
    with command.start(TONGQU_CRASH_AT="before_commit:1") as process:
        assert ended(process).killed
    assert stored(folder) == [(0, 0, 0)]
    done = inside(folder, "run", "bad", "--json")
    assert (done.code, done.document["attempts"]) == (3, 2)
    assert stored(folder) == [(ROWS, ROWS, ROWS)]
