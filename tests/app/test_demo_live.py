"""`tongqu demo --live`: a row that is changed in the ERP is in the MES and with a subscriber, with both latencies."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from threading import Timer

import psycopg
import pytest

from tongqu.testing.command_line import inside, query, start, tongqu
from tongqu.testing.services import Postgres

PATIENCE = 60.0


def until(process: subprocess.Popen[str], stream: str, word: str) -> str:
    """The first line of a stream with the word; whoever never says it is killed, and the test fails."""
    watch = Timer(PATIENCE, process.kill)
    watch.start()
    try:
        for line in getattr(process, stream):
            if word in line:
                return str(line)
    finally:
        watch.cancel()
    process.kill()
    pytest.fail(f"{word!r} was never said: {process.communicate()}")


def test_changes_arrive_and_are_pushed(tmp_path: Path) -> None:
    done = tongqu(tmp_path, "demo", "--live", "--auto", "3", "--dir", "live", "--port", "0", "--json")
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert len(done.document["changes"]) >= 3
    for change in done.document["changes"]:
        assert 0 < change["arrived_ms"] < change["pushed_ms"] + 1000
    assert set(done.document["arrived_ms"]) == set(done.document["pushed_ms"]) == {"p50", "p95", "max"}
    data = tmp_path / "live" / "data"
    rows = "SELECT order_no, product, quantity, state, changed_at FROM work_order ORDER BY 1"
    assert query(data / "mes.db", rows) == query(data / "erp.db", rows)


def test_a_second_terminal_changes_a_row(tmp_path: Path) -> None:
    with start(tmp_path, "demo", "--live", "--dir", "live", "--port", "0", "--lang", "en") as first:
        until(first, "stdout", "curl -N http://127.0.0.1:")
        second = inside(tmp_path, "demo", "--live", "--dir", "live", "change", "W1003", "quantity=70", "state=done")
        assert second.code == 0, second.err
        told = until(first, "stderr", "W1003")
        assert "quantity 70, done" in told
        assert "pushed after" in told
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, err
    assert "1 changes" in out
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["change"], 1, "there is no live demo in"),
        (["break"], 2, "change"),
        (["change", "W1001", "colour=red"], 1, "there is no live demo in"),
        (["change", "W1001", "quantity=many"], 2, "not a number"),
    ],
)
def test_what_cannot_be_changed_is_said(tmp_path: Path, words: list[str], code: int, told: str) -> None:
    done = inside(tmp_path, "demo", "--live", "--dir", "nowhere", *words, "--lang", "en")
    assert (done.code, told in done.err) == (code, True), done


def test_its_options_belong_to_it(tmp_path: Path) -> None:
    done = inside(tmp_path, "demo", "--auto", "3")
    assert done.code == 2
    assert "--live" in done.err


def test_the_change_log_of_postgresql_is_followed_and_nothing_stays_behind(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.database()
    done = tongqu(
        tmp_path, "demo", "--live", "--auto", "3", "--dir", "live", "--port", "0", "--json", "--erp", "${env:ERP}",
        ERP=url,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert len(done.document["changes"]) >= 3
    kept = json.dumps([path.read_text(encoding="utf-8") for path in (tmp_path / "live").glob("*.yaml")])
    assert url not in kept
    with psycopg.connect(url) as connection:
        left = connection.execute(
            "SELECT slot_name FROM pg_replication_slots WHERE database = current_database() "
            "UNION SELECT pubname FROM pg_publication UNION SELECT nspname FROM pg_namespace "
            "WHERE nspname LIKE 'tongqu%'"
        ).fetchall()
    assert left == []
    postgres.drop(url.rpartition("/")[2])
