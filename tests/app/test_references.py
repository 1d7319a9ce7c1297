"""A whole URL may live in the environment; only its name is shown and kept."""

from __future__ import annotations

from pathlib import Path

from tongqu.testing.command_line import make, query, tongqu


def test_a_url_from_the_environment_moves_data_and_is_shown_by_name(tmp_path: Path) -> None:
    make(tmp_path / "a.db", "t", "id INTEGER PRIMARY KEY", [(1,), (2,)])
    done = tongqu(tmp_path, "sync", "${env:FROM}", "${env:TO}", FROM="sqlite:a.db", TO="sqlite:b.db")
    assert done.code == 0, done.err
    assert query(tmp_path / "b.db", "SELECT count(*) FROM t") == [(2,)]
    assert "${env:FROM}" in tongqu(tmp_path, "runs", "list").out


def test_a_reference_to_nothing_is_refused_by_name(tmp_path: Path) -> None:
    done = tongqu(tmp_path, "sync", "${env:NOWHERE}", "sqlite:b.db", "--json")
    assert (done.code, done.document["problems"][0]["code"]) == (2, "config.secret")


def test_a_reference_to_something_else_than_a_url_is_refused(tmp_path: Path) -> None:
    done = tongqu(tmp_path, "sync", "${env:FROM}", "sqlite:b.db", "--json", FROM="hunter2")
    assert done.code == 2
    assert "hunter2" not in done.out + done.err
