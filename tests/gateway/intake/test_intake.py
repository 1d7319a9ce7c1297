"""Rows sent to `/ingest`: kept at once, written once and in order, whatever happens to the process."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tongqu.testing.command_line import inside, make, query
from tongqu.testing.services.gateway import Gateway

PROJECT = """
project: plant
connections: {db: {type: sqlite, path: lots.db}}
datasets:
  lots: {fields: {plant: {type: string, enum: [A, B]}}}
apis:
  lots:
    source: {connection: db, dataset: lots, key: [id]}
    access: {public: true, write_roles: [anonymous], rows: "plant <> 'B'"}
    write: {insert: true, update: true, ingest: true}
    limit: {requests: 1000000, per: second}
  fixed:
    source: {connection: db, dataset: lots, key: [id]}
    access: {public: true, write_roles: [anonymous]}
    write: {insert: true}
gateway: {limits: {address: {requests: 1000000, per: second}}}
"""
COLUMNS = "id INTEGER PRIMARY KEY, plant TEXT, weight INTEGER CHECK (weight < 100)"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Path]]:
    """A gateway over an empty table, and the table's file; each test has ids of its own."""
    folder = tmp_path_factory.mktemp("intake")
    make(folder / "lots.db", "lots", COLUMNS, [])
    (folder / "tongqu.yaml").write_text(PROJECT, encoding="utf-8")
    with Gateway(folder) as gateway:
        yield gateway, folder / "lots.db"


def row(number: int, plant: str = "A", weight: int = 1) -> dict[str, Any]:
    return {"id": number, "plant": plant, "weight": weight}


def test_rows_are_accepted_at_once_and_written_soon_after(place: tuple[Gateway, Path]) -> None:
    gateway, file = place
    answer = gateway.ask("/ingest/lots", "POST", [row(1), row(2)])
    assert (answer.status, answer.json["rows"]) == (202, 2)
    csv = [("content-type", "text/csv")]
    assert gateway.ask("/ingest/v1/lots", "POST", b"id,plant,weight\n3,A,3\n", csv).status == 202
    gateway.until(lambda _: query(file, "SELECT id FROM lots WHERE id < 10 ORDER BY id") == [(1,), (2,), (3,)])


def test_what_can_be_told_without_the_database_is_refused_at_once(place: tuple[Gateway, Path]) -> None:
    gateway, _ = place
    for path, method, body, code in (
        ("/ingest/lots", "POST", row(10, "C"), "body.invalid"),
        ("/ingest/lots", "POST", {"id": 10, "hidden": 2}, "field.unknown"),
        ("/ingest/lots", "POST", b"no json", "body.malformed"),
        ("/ingest/lots", "GET", None, "method.refused"),
        ("/ingest/fixed", "POST", row(10), "auth.missing"),
        ("/ingest/nothing", "POST", row(10), "auth.missing"),
    ):
        assert gateway.ask(path, method, body).json["code"] == code


def test_a_key_is_taken_once(place: tuple[Gateway, Path]) -> None:
    gateway, file = place
    key = [("idempotency-key", "one")]
    first = gateway.ask("/ingest/lots", "POST", row(20), key)
    again = gateway.ask("/ingest/lots", "POST", row(20), key)
    other = gateway.ask("/ingest/lots", "POST", row(21), key)
    assert (again.status, again.json, again.headers["idempotent-replayed"]) == (202, first.json, "true")
    assert (other.status, other.json["code"]) == (422, "key.reused")
    gateway.until(lambda _: query(file, "SELECT id FROM lots WHERE id BETWEEN 20 AND 29") == [(20,)])


def test_bad_rows_are_laid_aside_and_the_others_written(place: tuple[Gateway, Path]) -> None:
    gateway, file = place
    bad = {4: row(34, weight=1000), 9: row(39, plant="B"), 11: row(33)}  # a check, the row rule, a key that is there
    for number in range(1, 13):
        assert gateway.ask("/ingest/lots", "POST", bad.get(number, row(30 + number))).status == 202
    wanted = [(30 + number,) for number in range(1, 13) if number not in bad]
    gateway.until(lambda _: query(file, "SELECT id FROM lots WHERE id BETWEEN 30 AND 49 ORDER BY id") == wanted)
    kept = gateway.home / "intake.db"
    gateway.until(lambda _: len(query(kept, "SELECT 1 FROM sent WHERE state = 'dead'")) == 3)
    told = query(kept, "SELECT body, problem FROM sent WHERE state = 'dead' ORDER BY position")
    assert [(json.loads(body)["id"], problem) for body, problem in told] == [
        (34, "value.invalid"), (39, "access.denied"), (33, "row.conflict")
    ]  # fmt: skip
    folder = file.parent
    listed = inside(folder, "intake", "list", "--json")
    assert (listed.code, [one["code"] for one in listed.document["dead"]]) == (
        3, ["row.conflict", "access.denied", "value.invalid"]
    )  # fmt: skip
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("DELETE FROM lots WHERE id = 33")
    for one in listed.document["dead"][1:]:
        assert inside(folder, "intake", "drop", str(one["id"]), "--json").document == {"dropped": 1}
    assert inside(folder, "intake", "replay", "--json").document == {"replayed": 1}
    gateway.until(lambda _: query(file, "SELECT weight FROM lots WHERE id = 33") == [(1,)])
    gateway.until(lambda _: inside(folder, "intake", "list").code == 0)


def test_changes_of_one_row_are_written_in_the_order_they_came(place: tuple[Gateway, Path]) -> None:
    gateway, file = place
    merge = [("prefer", "resolution=merge-duplicates")]
    for weight in range(30):
        assert gateway.ask("/ingest/lots", "POST", row(50 + weight % 3, weight=weight), merge).status == 202
    wanted = [(50, 27), (51, 28), (52, 29)]
    sql = "SELECT id, weight FROM lots WHERE id BETWEEN 50 AND 59 ORDER BY id"
    gateway.until(lambda _: query(file, sql) == wanted)


def test_a_kill_loses_nothing_that_was_accepted_and_doubles_nothing(tmp_path: Path) -> None:
    make(tmp_path / "lots.db", "lots", "id INTEGER, plant TEXT, weight INTEGER", [])  # no key: doubles would show
    told = PROJECT.replace(", key: [id]", "")
    (tmp_path / "tongqu.yaml").write_text(told, encoding="utf-8")
    accepted: list[int] = []

    def send(gateway: Gateway, start: int) -> None:
        for number in range(start, start + 100_000):
            try:
                if gateway.ask("/ingest/lots", "POST", row(number, weight=1)).status != 202:
                    return
            except OSError:
                return
            accepted.append(number)

    for round_ in range(2):
        with Gateway(tmp_path) as gateway:
            enough = 150 * (round_ + 1)
            threads = [
                threading.Thread(target=send, args=(gateway, (round_ * 4 + lane) * 1_000_000)) for lane in range(4)
            ]
            for thread in threads:
                thread.start()
            while len(accepted) < enough:
                threading.Event().wait(0.01)
            gateway.stop(signal.SIGKILL)
            for thread in threads:
                thread.join()
    with Gateway(tmp_path) as gateway:
        gateway.until(lambda _: not query(gateway.home / "intake.db", "SELECT 1 FROM sent"))
        assert gateway.stop() == 0
    written = [number for (number,) in query(tmp_path / "lots.db", "SELECT id FROM lots")]
    assert len(set(written)) == len(written)
    assert set(accepted) <= set(written)
