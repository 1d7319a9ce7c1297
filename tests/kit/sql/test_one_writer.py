"""Sessions of a sink with one writer take turns, whatever becomes of one of them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest

from tongqu.core.errors import WriteError
from tongqu.kit.sql.one_writer import OneWriter
from tongqu.kit.sqlite import SqliteDb, connect


class _File:
    """A database that cannot take back what it did."""

    busy_seconds = 1.0

    def __init__(self, path: Path):
        self.path = str(path)

    def display(self) -> str:
        return self.path


def test_a_turn_ends_though_the_connection_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: SqliteDb) -> None:
        raise WriteError("the connection is lost")

    writer = OneWriter(lambda: connect(_File(tmp_path / "a.db"), "rwc"))
    with closing(writer):
        first = writer.view()
        first.begin()
        with monkeypatch.context() as patch, pytest.raises(WriteError):
            patch.setattr(SqliteDb, "rollback", lost)
            first.close()
        second = Thread(target=writer.view().begin, daemon=True)
        second.start()
        second.join(10)
        assert not second.is_alive()
